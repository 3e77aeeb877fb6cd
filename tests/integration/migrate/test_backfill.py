"""The backfill: nothing is missed, nothing is done twice, nobody is held up for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.errors import Interrupted
from phasegate.contract.names import TableName
from phasegate.migrate import ranges
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.ranges import gaps
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, PausedAfter, open_migrating

T = TableName("public", "t")
COLUMN, BACKFILL = UuidColumn(T, "uuid"), Backfill(T, "uuid")
ROWS = 20_000
COUNTS = "SELECT count(*) - count(uuid), count(*) - count(DISTINCT uuid) FROM t"
AUDITED = """
CREATE TABLE log (id integer);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('phasegate.backfill', true), '') = 'on' THEN RETURN NULL; END IF;
    INSERT INTO log VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION audit();
"""


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, name text, touched integer NOT NULL DEFAULT 0);"
        f"INSERT INTO t SELECT n, repeat('x', 60) FROM generate_series(1, {ROWS}) n"
    )
    with open_migrating(any_database, tmp_path, ("public.t",)) as found:
        found.apply(COLUMN)
        yield found


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "FIRST_PAGES", 10)
    monkeypatch.setattr(ranges, "MOST_PAGES", 20)
    monkeypatch.setattr(ranges, "VACUUM_PAGES", 50)


def test_every_row_gets_its_own_and_the_table_does_not_double(migrating: Migrating) -> None:
    database = migrating.database
    database.execute(AUDITED)
    [(before,)] = database.execute("SELECT pg_relation_size('t')")
    assert migrating.apply(BACKFILL) == 1
    assert database.execute(COUNTS) == [(0, 0)]
    assert database.execute("SELECT count(*) FROM log") == [(0,)]
    [(after,)] = database.execute("SELECT pg_relation_size('t')")
    assert after < 1.7 * before
    [(rows, pieces)] = database.execute("SELECT sum(rows), count(*) FROM phasegate.pieces")
    assert (rows, pieces > 10) == (ROWS, True)
    database.execute("UPDATE t SET touched = 1 WHERE id = 1")
    assert database.execute("SELECT id FROM log") == [(1,)]
    migrating.apply(NotNull(T, "uuid"))
    assert migrating.apply(BACKFILL) == 0
    migrating.undo(COLUMN)
    migrating.apply(COLUMN)
    migrating.apply(BACKFILL)
    assert database.execute(COUNTS) == [(0, 0)]
    assert not any("again" in line for line in migrating.said)


def test_what_the_old_application_writes_meanwhile_is_missed_nowhere(migrating: Migrating) -> None:
    over = threading.Event()
    written = []

    def write() -> None:
        with psycopg.connect(migrating.database.conninfo(), autocommit=True) as connection:
            number = ROWS
            while not over.is_set():
                number += 1
                connection.execute(
                    "INSERT INTO t (id, name, uuid) VALUES (%s, 'late', NULL)", (number,)
                )
                connection.execute(
                    "UPDATE t SET touched = touched + 1, name = name || 'y' WHERE id = %s",
                    (number * 7919 % ROWS + 1,),
                )
                written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        migrating.apply(BACKFILL)
    finally:
        over.set()
        writer.join()
    assert len(written) > 10
    assert migrating.database.execute(COUNTS) == [(0, 0)]
    assert migrating.database.execute("SELECT count(*), sum(touched) FROM t") == [
        (ROWS + len(written), len(written))
    ]


def test_rows_that_others_lock_are_postponed_and_not_forgotten(migrating: Migrating) -> None:
    holder = psycopg.connect(migrating.database.conninfo())
    holder.execute("SELECT * FROM t WHERE id IN (1, 9000) FOR UPDATE")
    timer = threading.Timer(2.5, holder.rollback)
    timer.start()
    migrating.apply(BACKFILL)
    timer.join()
    holder.close()
    assert migrating.database.execute(COUNTS) == [(0, 0)]


def test_a_pause_ends_it_between_ranges_and_it_goes_on(migrating: Migrating) -> None:
    with pytest.raises(Interrupted, match="paused"):
        migrating.apply(BACKFILL, control=PausedAfter(10))
    done = dict(migrating.database.execute("SELECT id, uuid FROM t WHERE uuid IS NOT NULL"))
    assert 0 < len(done) < ROWS
    migrating.apply(BACKFILL)
    after = dict(migrating.database.execute("SELECT id, uuid FROM t"))
    assert {key: after[key] for key in done} == done
    assert migrating.database.execute("SELECT sum(rows) FROM phasegate.pieces") == [(ROWS,)]
    assert any("goes on at" in line for line in migrating.said)


WORKER = """
import sys
from pathlib import Path
from phasegate.migrate import ranges
from tests.fixtures import migrating as fixture
from tests.integration.migrate.test_backfill import BACKFILL
import psycopg
ranges.FIRST_PAGES, ranges.MOST_PAGES, ranges.VACUUM_PAGES = 5, 5, 100
class Reached:
    def conninfo(self, **_):
        return sys.argv[1]
with fixture.open_migrating(Reached(), Path(sys.argv[2]), ("public.t",)) as found:
    found.apply(BACKFILL)
"""


def test_killed_five_times_it_redoes_no_committed_range(
    migrating: Migrating, tmp_path: Path
) -> None:
    database = migrating.database
    known: dict[int, object] = {}
    for number in range(5):
        target = (number + 1) * ROWS // 6
        child = subprocess.Popen(
            [sys.executable, "-c", WORKER, database.conninfo(), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": "."},
        )
        for _ in range(1_000):
            [(rows,)] = database.execute("SELECT coalesce(sum(rows), 0) FROM phasegate.pieces")
            if rows >= target or child.poll() is not None:
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        found = dict(database.execute("SELECT id, uuid FROM t WHERE uuid IS NOT NULL"))
        assert {key: found[key] for key in known} == known
        known = found
    assert len(known) > ROWS // 6
    migrating.apply(BACKFILL)
    found = dict(database.execute("SELECT id, uuid FROM t"))
    assert {key: found[key] for key in known} == known
    assert database.execute(COUNTS) == [(0, 0)]
    assert database.execute("SELECT sum(rows) FROM phasegate.pieces") == [(ROWS,)]


def test_resumed_near_the_end_it_does_little_more_than_what_is_left(
    migrating: Migrating, tmp_path: Path
) -> None:
    """Killed where 95 % is committed: what the second process writes and reads is what was left."""
    database = migrating.database
    [(pages,)] = database.execute("SELECT pg_relation_size('t') / 8192")
    done = "SELECT coalesce(sum(rows), 0), count(*) FROM phasegate.pieces"
    with psycopg.connect(database.conninfo()) as holder:
        # Ranges that are held by somebody are postponed, so it comes no further than this.
        holder.execute("SELECT FROM t WHERE id > %s FOR UPDATE", (ROWS * 96 // 100,))
        child = subprocess.Popen(
            [sys.executable, "-c", WORKER, database.conninfo(), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": "."},
        )
        try:
            deadline = time.monotonic() + 60
            while database.execute(done)[0][0] < ROWS * 95 // 100:
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            child.kill()
            child.wait()
    [(rows, before)] = database.execute(done)
    kept = dict(database.execute("SELECT id, uuid FROM t WHERE uuid IS NOT NULL"))
    migrating.apply(BACKFILL)
    [(all_rows, after)] = database.execute(done)
    [(read,)] = database.execute(
        "SELECT sum(upper - lower) FROM (SELECT upper, lower FROM phasegate.pieces"
        f" ORDER BY finished DESC LIMIT {after - before}) AS p"
    )
    assert (all_rows, all_rows - rows <= ROWS // 20) == (ROWS, True)
    assert read <= pages // 10
    found = dict(database.execute("SELECT id, uuid FROM t"))
    assert {key: found[key] for key in kept} == kept
    assert database.execute(COUNTS) == [(0, 0)]


def test_partitions_and_children_are_filled_each_by_itself(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE t (id integer, k integer) PARTITION BY LIST (k);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2) PARTITION BY LIST (k);"
        "CREATE TABLE t3 PARTITION OF t2 FOR VALUES IN (2);"
        "INSERT INTO t SELECT n, 1 + n % 2 FROM generate_series(1, 2000) n"
    )
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        migrating.apply(COLUMN)
        migrating.apply(BACKFILL)
    assert any_database.execute(COUNTS) == [(0, 0)]


def test_names_may_hold_braces_and_percents(database: Database, tmp_path: Path) -> None:
    database.execute(
        'CREATE TABLE "t{0}" (id integer);INSERT INTO "t{0}" SELECT generate_series(1, 100)'
    )
    name, column = TableName("public", "t{0}"), "{uuid} %s"
    with open_migrating(database, tmp_path, ("public.t{0}",)) as migrating:
        migrating.apply(UuidColumn(name, column))
        migrating.apply(Backfill(name, column))
    [(missing,)] = database.execute('SELECT count(*) FROM "t{0}" WHERE "{uuid} %s" IS NULL')
    assert missing == 0


def test_rows_that_are_hidden_from_us_are_an_error_and_never_none(
    database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE ROLE mover LOGIN PASSWORD 'mover'; GRANT CREATE ON SCHEMA public TO mover;"
        "CREATE TABLE t (id integer PRIMARY KEY, uuid uuid); INSERT INTO t VALUES (1), (2);"
        "ALTER TABLE t OWNER TO mover; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY none ON t USING (false)"
    )
    try:
        with psycopg.connect(database.conninfo("mover", "mover"), autocommit=True) as connection:
            connection.execute("SET row_security = off")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                ranges.count_left(connection, "SELECT count(*) FROM public.t WHERE uuid IS NULL")
    finally:
        database.execute("DROP TABLE t; DROP OWNED BY mover; DROP ROLE mover")


TRIGGERS = {
    "moves time stamps": ("BEFORE UPDATE", "NEW.touched := NEW.touched + 1; RETURN NEW;", True),
    "rejects updates": ("BEFORE UPDATE", "RAISE EXCEPTION 'no';", True),
    "for inserts only": ("AFTER INSERT", "RETURN NULL;", False),
}


@pytest.mark.parametrize("kind", TRIGGERS)
def test_triggers_of_others_are_looked_at_first(
    database: Database, tmp_path: Path, kind: str
) -> None:
    when, body, refused = TRIGGERS[kind]
    database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, touched integer);"
        f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f'CREATE TRIGGER "My trigger" {when} ON t FOR EACH ROW EXECUTE FUNCTION f()'
    )
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        found = BACKFILL.find_refusals(migrating.catalog())
        accepted = Backfill(T, "uuid", accepted=("My trigger",))
        assert accepted.find_refusals(migrating.catalog()) == ()
    assert bool(found) is refused
    if refused:
        assert 'trigger "My trigger"' in found[0].object


@pytest.mark.parametrize(
    ("finished", "left"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(3, 5), (0, 2)], [(2, 3), (5, 10)]),
        ([(0, 4), (2, 6)], [(6, 10)]),
        ([(8, 20)], [(0, 8)]),
    ],
)
def test_gaps(finished: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    assert gaps(finished, 10) == left
