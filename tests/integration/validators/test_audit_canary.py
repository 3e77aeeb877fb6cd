"""A canary on real servers: what it finds, what it leaves alone, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.audit_proofs import Canary
from phasegate.validators.audit_canary import try_canary
from tests.fixtures.audited import audit_table, make_users, read_audit
from tests.fixtures.database import Database

WATCH = "[{table: public.users, canary: {id: 1}}]"
ROLE = "canary_judge"


def attempt(database: Database, folder: Path, watch: str = WATCH, **user: str) -> Canary:
    audit = read_audit(folder, watch)
    with psycopg.connect(database.conninfo(**user), autocommit=True) as connection:
        found = try_canary(connection, audit.watch[0], audit)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    return found


def state(database: Database) -> list[object]:
    return database.execute(
        "SELECT (SELECT array_agg(u::text || u.xmin ORDER BY id) FROM users u), "
        "(SELECT count(*) FROM audit_logs)"
    )


def test_an_update_that_is_audited_is_proved_and_leaves_nothing(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    any_database.execute("INSERT INTO audit_logs (line) SELECT 'login' FROM generate_series(1, 9)")
    before = state(any_database)
    found = attempt(any_database, tmp_path)
    assert (found.doubt, found.updated, found.log_rows, found.rollbacks) == ("", 1, 1, 1)
    assert found.column == "name"  # neither key nor indexed
    assert state(any_database) == before
    [[held]] = any_database.execute(
        "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() "
        "AND relation IN ('users'::regclass, 'audit_logs'::regclass)"
    )
    assert held == 0


@pytest.mark.parametrize(
    "spoil",
    [
        "DROP TRIGGER audit_row_change ON users",
        "ALTER TABLE users DISABLE TRIGGER audit_row_change",
        "ALTER TABLE users ENABLE REPLICA TRIGGER audit_row_change",
        "CREATE OR REPLACE FUNCTION audit_row_change() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'",
    ],
    ids=["dropped", "disabled", "replica", "body"],
)
def test_an_update_that_is_not_audited_is_seen(
    any_database: Database, tmp_path: Path, spoil: str
) -> None:
    make_users(any_database)
    any_database.execute(spoil)
    found = attempt(any_database, tmp_path)
    assert (found.doubt, found.updated, found.log_rows) == ("", 1, 0)


def test_rows_of_a_subtransaction_and_of_a_deferred_trigger_count(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    any_database.execute(
        "DROP TRIGGER audit_row_change ON users;"
        "CREATE FUNCTION guarded() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN "
        "BEGIN INSERT INTO public.audit_logs (line) VALUES ('sub'); "
        "EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN NULL; END $body$;"
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION guarded()"
    )
    assert attempt(any_database, tmp_path).log_rows == 1


def test_rows_that_others_write_meanwhile_do_not_count(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    conninfo = any_database.conninfo()
    any_database.execute(
        "DROP TRIGGER audit_row_change ON users; CREATE EXTENSION IF NOT EXISTS dblink;"
        "CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN "
        f"PERFORM dblink_exec('{conninfo}', 'INSERT INTO public.audit_logs (line) VALUES (1)'); "
        "RETURN NULL; END $body$;"
        "CREATE TRIGGER elsewhere AFTER UPDATE ON users "
        "FOR EACH ROW EXECUTE FUNCTION elsewhere()"
    )
    assert attempt(any_database, tmp_path).log_rows == 0
    assert any_database.execute("SELECT count(*) FROM audit_logs WHERE line = '1'") == [(1,)]


@pytest.mark.parametrize(
    ("watch", "expected"),
    [
        ("[{table: public.users, canary: {id: 99}}]", "there is no row of public.users with id"),
        ("[{table: public.users, canary: {name: n}}]", "there is more than one row"),
        ("[{table: public.users, canary: {id: x}}]", "the update failed: InvalidText"),
        ("[{table: public.users, canary: {no: 1}}]", "the update failed: UndefinedColumn"),
        ("[{table: public.nobody, canary: {id: 1}}]", "there is no table public.nobody"),
    ],
    ids=["missing", "several", "type", "column", "table"],
)
def test_a_row_that_is_not_one_proves_nothing(
    any_database: Database, tmp_path: Path, watch: str, expected: str
) -> None:
    make_users(any_database)
    found = attempt(any_database, tmp_path, watch)
    assert (found.updated, found.log_rows) == (0, 0)
    assert found.doubt.startswith(expected), found.doubt


def test_a_locked_row_is_not_waited_for(any_database: Database, tmp_path: Path) -> None:
    make_users(any_database)
    with psycopg.connect(any_database.conninfo()) as other:
        other.execute("UPDATE users SET name = 'x' WHERE id = 1")
        began = time.monotonic()
        found = attempt(any_database, tmp_path)
        assert time.monotonic() - began < 2
        other.rollback()
    assert found.doubt == "the row or a table was locked for longer than 100 ms"


def test_of_the_log_only_the_newest_partition_is_read(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    with psycopg.connect(any_database.conninfo()) as other:
        other.execute("LOCK TABLE audit_logs_before")
        found = attempt(any_database, tmp_path)
        other.rollback()
    assert (found.doubt, found.log_rows) == ("", 1)


def test_a_role_with_nothing_but_the_named_grants_is_enough(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    any_database.execute(
        f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD 'pw';"
        f"ALTER ROLE {ROLE} SET phasegate.backfill = 'on'; GRANT USAGE ON SCHEMA public TO {ROLE}"
    )
    try:
        as_role = {"user": ROLE, "password": "pw"}
        for _ in range(3):
            found = attempt(any_database, tmp_path, **as_role)
            if not found.doubt:
                break
            assert found.remedy.startswith("GRANT "), found
            any_database.execute(found.remedy.replace("…", ROLE))
        assert (found.doubt, found.log_rows) == ("", 1)
    finally:
        any_database.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")


def test_names_of_any_kind(any_database: Database, tmp_path: Path) -> None:
    make_users(any_database)
    any_database.execute(
        'CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."T ""x"" é" ("i d" int, "w""{0} %s" text);'
        'INSERT INTO "a.b"."T ""x"" é" VALUES (1, \'v\')'
    )
    audit_table(any_database, "a.b", 'T "x" é')
    watch = """[{table: '"a.b"."T ""x"" é"', canary: {"i d": 1, 'w"{0} %s': v}}]"""
    found = attempt(any_database, tmp_path, watch)
    assert (found.doubt, found.log_rows) == ("", 1)


KILLED = """
import sys, psycopg
from pathlib import Path
from tests.fixtures.audited import read_audit
from phasegate.validators.audit_canary import try_canary
audit = read_audit(Path(sys.argv[1]), sys.argv[2])
with psycopg.connect(sys.argv[3], autocommit=True) as connection:
    try_canary(connection, audit.watch[0], audit)
"""


def test_killed_in_the_middle_it_leaves_neither_row_nor_lock(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    any_database.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';"
        "CREATE TRIGGER slow AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    before = state(any_database)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), WATCH, any_database.conninfo()],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    try:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        for _ in range(100):
            if any_database.execute(sleeping) == [(1,)]:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the canary never came to its trigger")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = time.monotonic()
    while any_database.execute(sleeping) != [(0,)]:
        assert time.monotonic() - killed < 4
        time.sleep(0.05)
    any_database.execute("SELECT FROM users WHERE id = 1 FOR UPDATE NOWAIT")
    any_database.execute("BEGIN; LOCK TABLE users, audit_logs NOWAIT; COMMIT")
    assert state(any_database) == before
