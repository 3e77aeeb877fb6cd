"""A rehearsal: all of it done on a copy, measured beside a load, and the target left as it was."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg
import pytest

from phasegate import cli
from phasegate.contract.errors import PlanRefused
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.migrate.catalog import fetch_catalog
from phasegate.migrate.control import RunControl
from phasegate.migrate.journal import Journal
from phasegate.migrate.opening import fetch_identity
from phasegate.migrate.preflight import fetch_findings
from phasegate.migrate.programs import find_programs
from phasegate.migrate.rehearsal import Rehearsal, find_predicting, list_rehearsals
from phasegate.migrate.rehearsal_copy import Copy
from phasegate.migrate.rehearsal_load import Load, plan_statements
from phasegate.migrate.rehearse import rehearse
from phasegate.migrate.sessions import open_session
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters
from tests.fixtures.planned import make_legacy, users_settings

T = TableName("public", "t")
STEPS = [
    "01-add-uuid-fields",
    "populate-uuids",
    "02-add-indexes",
    "06-add-constraints",
    "prove-uuids",
]


@dataclass(frozen=True)
class Told:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """`phasegate migrate` in this process, with the configuration of the folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHASEGATE_CONFIG", str(tmp_path / "phasegate.yaml"))

    def called(*arguments: str) -> Told:
        code = 0
        try:
            cli.main(["migrate", *arguments], program="phasegate")
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capfd.readouterr()
        return Told(code, told.out, told.err)

    return called


def configure(database: Database, folder: Path, table: str = "public.users") -> None:
    (folder / "phasegate.yaml").write_text(
        f"database: {{url: '{database.conninfo()}'}}\n"
        f"tables: [{{name: {table}}}]\n"
        "migrate: {mode: maintenance, backup: {directory: ./backups}}\n"
    )


def dump_schema(database: Database) -> str:
    newest = max(find_programs(), key=lambda one: one.major)
    told = subprocess.run(
        [newest.folder / "pg_dump", "-s", database.conninfo()],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    # Each dump of the newest releases has another key in it.
    return "\n".join(line for line in told.splitlines() if "restrict " not in line)


def copies(database: Database) -> list[str]:
    query = "SELECT datname FROM pg_database WHERE datname LIKE 'phasegate_rehearsal%'"
    return [name for (name,) in database.execute(query)]


def as_copy(database: Database) -> Copy:
    """The test's own database, as one that was restored."""
    return Copy(
        conninfo=connect_parameters(database), where="here", server="PostgreSQL", predicts=True,
        identity="1/1/mono", database="mono", dump_seconds=0, restore_seconds=0, notes=(),
    )  # fmt: skip


def test_on_a_scratch_server_and_the_target_is_left_as_it_was(
    call: Callable[..., Told], database: Database, tmp_path: Path
) -> None:
    make_legacy(database, 2_000)
    configure(database, tmp_path)
    before, rows = dump_schema(database), database.execute("SELECT sum(id) FROM users")
    scratch = database.server.conninfo()
    done = call("rehearse", "--database-url", scratch, "--rate", "100", "--seconds", "0.3")
    assert done.code == 0, done.err
    assert dump_schema(database) == before
    assert database.execute("SELECT sum(id) FROM users") == rows
    assert copies(database) == []
    [path] = (tmp_path / "backups").glob("rehearsal_*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    found = msgspec.json.decode(path.read_bytes(), type=Rehearsal)
    assert [one.step for one in found.steps if one.step in STEPS] == STEPS
    assert found.predicts
    assert (found.errors, found.failed) == ({}, "")
    assert found.tables[0].rows == 2_000
    [populate] = [one for one in found.steps if one.step == "populate-uuids"]
    # Rows that the load updated first have got theirs by the trigger.
    assert 0 < populate.rows <= 2_000
    assert populate.wal_bytes > 2_000 * 16
    assert populate.disk_bytes > 0
    assert all(one.seconds > 0 for one in found.steps)
    assert found.before.statements > 0
    page = path.with_suffix(".html").read_text()
    assert page.count("<svg") == 3
    assert database.server.password not in path.read_text() + page + done.out + done.err
    # Nothing else is left beside them: no dump, no journal.
    assert sorted(one.suffix for one in (tmp_path / "backups").iterdir()) == [".html", ".json"]
    # The preflight knows from it that the window was rehearsed.
    settings = load_settings(tmp_path / "phasegate.yaml", {})
    with open_session(connect_parameters(database)) as connection:
        findings = fetch_findings(
            connection, settings, settings.named_tables, fetch_identity(connection)
        )
    [duration] = [one for one in findings if one.name == "duration"]
    assert (duration.value, duration.found) == (1.0, f"rehearsed in {found.seconds:.0f} s")


def test_plan_tells_the_seconds_of_a_rehearsal_and_a_window_that_is_over_stops_the_run(
    call: Callable[..., Told], database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    database.execute("CREATE TABLE other (id int PRIMARY KEY)")
    configure(database, tmp_path, "public.t")
    assert "seconds   unknown: no rehearsal" in call("plan", "--no-measure").out
    done = call("rehearse", "--database-url", database.server.conninfo(), "--rate", "0")
    assert done.code == 0, done.err
    told = msgspec.json.decode(call("plan", "--no-measure", "--format", "json").out)
    seconds = {one["step"]: one["rehearsed_seconds"] for one in told["steps"]}
    assert all(seconds[name] > 0 for name in STEPS)
    assert seconds["backup"] is None
    with psycopg.connect(database.conninfo()) as holder:
        # The backup waits behind it until the window is over.
        holder.execute("LOCK TABLE other IN ACCESS EXCLUSIVE MODE")
        release = threading.Timer(1.2, holder.commit)
        release.start()
        stopped = call("run", "--window", "1s", "--yes")
        release.join()
    assert stopped.code == 5, stopped.err
    assert "the window of 1 s is over" in stopped.err
    assert "next: phasegate migrate resume" in stopped.err
    assert list((tmp_path / "backups").glob("*.dump*")) == []


def test_on_a_throw_away_server_its_seconds_are_no_duration(
    call: Callable[..., Told], database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, email text NOT NULL UNIQUE)")
    database.execute("INSERT INTO t SELECT n, 'e' || n FROM generate_series(1, 500) AS n")
    # A copy inherits the journal; the migration of this one has begun.
    with open_session(connect_parameters(database)) as connection:
        journal = Journal(connection, tmp_path / "elsewhere", "another")
        journal.open()
        journal.write(Event.ACTION, step="populate-uuids", facts={"rows": 9_000_000})
        identity = fetch_identity(connection)
    configure(database, tmp_path, "public.t")
    done = call("rehearse", "--seconds", "0.2")
    assert done.code == 0, done.err
    assert "not a duration" in done.out
    assert "note: the migration of the target has begun" in done.out
    folder = tmp_path / "backups"
    [path] = folder.glob("rehearsal_*.json")
    found = msgspec.json.decode(path.read_bytes(), type=Rehearsal)
    assert (found.predicts, found.errors) == (False, {})
    assert [one.step for one in found.steps if one.step in STEPS] == STEPS
    assert max(one.rows for one in found.steps) <= 500
    assert "Seconds of each step" not in path.with_suffix(".html").read_text()
    assert list_rehearsals(folder, identity) == [found]
    assert find_predicting(folder, identity) is None
    assert list_rehearsals(folder, "another/1/postgres") == []


def test_a_signal_leaves_no_copy_behind(
    call: Callable[..., Told], database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    configure(database, tmp_path, "public.t")
    killed = tmp_path / "backups" / "rehearsal-x1y2z3"
    killed.mkdir(parents=True)
    seen: list[str] = []

    def stop() -> None:
        limit = time.monotonic() + 20
        while not seen and time.monotonic() < limit:
            seen.extend(copies(database))
        if seen:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    url = database.server.conninfo()
    told = call("rehearse", "--database-url", url, "--seconds", "60")
    thread.join()
    assert seen
    assert told.code == 5, told.err
    assert copies(database) == []
    # What a kill left behind may be of one that runs: it is told and left.
    assert list((tmp_path / "backups").iterdir()) == [killed]
    assert f"left by a rehearsal that was killed, or is at work: {killed};" in told.err


def test_a_scratch_server_that_is_not_there_is_told_before_anything_is_dumped(
    call: Callable[..., Told], database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    configure(database, tmp_path, "public.t")
    url = database.conninfo(password="wrong-and-secret")
    told = call("rehearse", "--database-url", url)
    assert told.code == 4
    assert "phasegate: --database-url: " in told.err
    assert "dump the database" not in told.err
    assert "wrong-and-secret" not in told.err + told.out
    told = call("rehearse", "--database-url", "postgresql://u:wrong-and-secret@[h/x")
    assert told.code == 2
    assert "wrong-and-secret" not in told.err + told.out


def test_a_step_that_fails_on_the_copy_is_told(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, -1);"
        "ALTER TABLE t ADD CHECK (n > 0) NOT VALID"
    )
    settings = Settings(tables=(dataclasses.replace(users_settings().tables[0], name=T),))
    found = rehearse(
        settings, as_copy(database), rate=0, alone=0, control=RunControl(None), say=lambda _: None
    )
    assert found.failed.startswith("populate-uuids: ")
    assert "t_n_check" in found.failed
    assert found.steps[-1].step == "populate-uuids"


def test_tables_that_a_step_makes_beside_the_named_ones_are_known(database: Database) -> None:
    """A copy in another order, and permission tables that are there already."""
    make_legacy(database, rows=10)
    database.execute(
        "CREATE TABLE t (a boolean, id bigint PRIMARY KEY, b boolean, n bigint, c boolean,"
        " m bigint, d boolean); INSERT INTO t SELECT true, n, true, n, true, n, true"
        " FROM generate_series(1, 99) n; ANALYZE t"
    )
    plain = users_settings()
    table = dataclasses.replace(plain.tables[0], name=T, reorder=True)
    moving = dataclasses.replace(plain.migrate, permission_tables=True)
    settings = dataclasses.replace(plain, tables=(*plain.tables, table), migrate=moving)
    found = rehearse(
        settings, as_copy(database), rate=0, alone=0, control=RunControl(None), say=lambda _: None
    )
    assert found.failed == ""
    assert "05-reorder-columns" in [one.step for one in found.steps]
    assert database.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
        " ORDER BY attnum LIMIT 3"
    ) == [("id",), ("n",), ("m",)]


def test_what_the_plan_refuses_is_not_rehearsed(database: Database) -> None:
    database.execute("CREATE TABLE users (id int, uuid text)")
    with pytest.raises(PlanRefused, match="uuid"):
        rehearse(
            users_settings(), as_copy(database), rate=0, alone=0, control=RunControl(None),
            say=lambda _: None,
        )  # fmt: skip


def test_load_tells_who_waited_for_which_lock_and_changes_no_value(any_database: Database) -> None:
    any_database.execute(
        'CREATE TABLE "od%d" ("k $1" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, '
        "mail varchar(40) UNIQUE, twice int GENERATED ALWAYS AS (1) STORED);"
        "INSERT INTO \"od%d\" (mail) SELECT 'm' || n FROM generate_series(1, 300) AS n;"
        "CREATE TABLE once (id int PRIMARY KEY CHECK (id = 1)); INSERT INTO once VALUES (1);"
        "CREATE TABLE vacant (id uuid PRIMARY KEY); ANALYZE"
    )
    conninfo = connect_parameters(any_database)
    names = [TableName("public", name) for name in ("od%d", "once", "vacant")]
    with open_session(conninfo) as connection:
        catalog = fetch_catalog(connection, names)
    before = any_database.execute('SELECT array_agg(mail ORDER BY mail) FROM "od%d"')
    load = Load(conninfo, plan_statements(catalog), 200)
    assert sorted(load.notes)[0].startswith("the load has no insert in public.once: new row for")
    assert sorted(load.notes)[1] == "the load leaves out public.vacant: it is empty"
    with load.running():
        time.sleep(0.2)
        begin = time.monotonic()
        with psycopg.connect(any_database.conninfo()) as holder:
            holder.execute('LOCK TABLE "od%d" IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.4)')
        end = time.monotonic()
        with psycopg.connect(any_database.conninfo()) as holder:
            holder.execute('UPDATE "od%d" SET mail = mail; SELECT pg_sleep(0.3)')
        rows = load.facts(end, time.monotonic())
    assert load.errors == {}
    quiet, held = load.facts(load.began, begin - 0.01), load.facts(begin, end)
    assert quiet.statements > 5
    assert held.longest_seconds is not None
    assert held.longest_seconds > 0.3
    assert held.longest_statement.endswith('in public."od%d"')
    # Who waits is counted in every step that it waits in.
    assert load.facts(begin + 0.35, end).longest_seconds == held.longest_seconds
    assert held.lock_wait_seconds > 0.25
    assert held.lock_wait.endswith('on public."od%d"')
    assert rows.lock_wait.startswith("a row ")
    assert load.mover_wait(begin, end) == 0
    assert max(one.longest_seconds for one in load.moments()) == held.longest_seconds
    assert any_database.execute('SELECT array_agg(mail ORDER BY mail) FROM "od%d"') == before
