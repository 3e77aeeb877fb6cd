"""What a dead migration, a restore, or somebody in a hurry left, found on a real database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.migration import Event
from phasegate.migrate.control import RUNNER_LOCK, SESSION_LOCK
from phasegate.migrate.journal import Journal
from phasegate.migrate.sessions import open_session
from tests.fixtures.database import Database
from tests.fixtures.doctored import Doctor
from tests.fixtures.migrating import connect_parameters

CONFIG = "tables: [{name: public.users}]\n"
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid, email text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int);
INSERT INTO users SELECT n, gen_random_uuid(), NULLIF('x', 'x') FROM generate_series(1, 10) n;
"""


@pytest.fixture
def doctor(database: Database, tmp_path: Path) -> Doctor:
    database.execute(TABLES)
    made = Doctor(tmp_path, {"DATABASE_URL": database.conninfo()})
    made.configure(CONFIG)
    return made


def run_remedy(database: Database, remedy: str) -> None:
    for line in remedy.splitlines():
        if line.endswith(";"):
            for statement in line.removesuffix(";").split("; "):
                database.execute(statement)


class TestRuns:
    def test_a_run_that_ended_without_a_word(
        self, database: Database, doctor: Doctor, tmp_path: Path
    ) -> None:
        assert "no migration has been begun" in doctor.see("runs").findings[0]["evidence"]
        with open_session(connect_parameters(database)) as connection:
            journal = Journal(connection, tmp_path, "1/1/db", "anna")
            journal.open()
            entry = {"phase": "", "step": "", "operation": "", "what": "run", "checksum": ""}
            journal.write(Event.RUN_STARTED, **entry)
            fault = doctor.see("runs").fault
            assert "anna" in fault["evidence"]
            assert fault["remedy"].startswith("phasegate migrate resume")
            journal.write(Event.RUN_ENDED, **entry)
        assert doctor.see("runs").code == 0

    def test_the_lock_of_a_runner_and_the_session_of_a_dead_one(
        self, database: Database, doctor: Doctor
    ) -> None:
        with _holding(database, RUNNER_LOCK, shared=False) as pid:
            seen = doctor.see("runs")
            assert (seen.code, f"pid {pid}" in seen.findings[0]["evidence"]) == (0, True)
        with _holding(database, SESSION_LOCK, shared=True) as pid:
            [fault] = doctor.see("runs").faults("warning")
            assert f"pid {pid}" in fault["evidence"]
            assert "runner is gone" in fault["evidence"]
        assert doctor.see("runs").faults("warning") == []


@contextmanager
def _holding(database: Database, lock: int, *, shared: bool) -> Iterator[int]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        name = "pg_advisory_lock_shared" if shared else "pg_advisory_lock"
        connection.execute(f"SELECT {name}(%s)".encode(), (lock,))
        yield connection.info.backend_pid


def test_an_index_whose_build_broke_off(database: Database, doctor: Doctor) -> None:
    database.execute("INSERT INTO users SELECT 11, uuid FROM users WHERE id = 1")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY users_uuid_key ON users (uuid)")
    fault = doctor.see("indexes").fault
    assert "users_uuid_key on users is invalid" in fault["evidence"].replace("public.", "")
    database.execute("DELETE FROM users WHERE id = 11")
    run_remedy(database, fault["remedy"])
    assert doctor.see("indexes").code == 0


def test_a_constraint_that_nobody_validated(database: Database, doctor: Doctor) -> None:
    database.execute("ALTER TABLE users ADD CONSTRAINT present CHECK (id > 0) NOT VALID")
    database.execute("ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID")
    faults = doctor.see("constraints").faults()
    assert len(faults) == 2
    for fault in faults:
        run_remedy(database, fault["remedy"])
    assert doctor.see("constraints").code == 0


def test_a_trigger_that_is_disabled(database: Database, doctor: Doctor) -> None:
    database.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
                     " $$ BEGIN RETURN NEW; END $$")  # fmt: skip
    for name in ("theirs", "phasegate_audit"):
        database.execute(f"CREATE TRIGGER {name} BEFORE UPDATE ON users EXECUTE FUNCTION f()")
    assert doctor.see("triggers").code == 0
    database.execute("ALTER TABLE users DISABLE TRIGGER USER")
    for fault in doctor.see("triggers").faults():
        run_remedy(database, fault["remedy"])
    assert doctor.see("triggers").code == 0
    enabled = database.execute("SELECT tgname, tgenabled FROM pg_trigger ORDER BY tgname")
    assert enabled == [("phasegate_audit", "A"), ("theirs", "O")]


def test_checks_of_foreign_keys_that_are_disabled(database: Database, doctor: Doctor) -> None:
    database.execute("ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users")
    database.execute("ALTER TABLE users DISABLE TRIGGER ALL")
    fault = doctor.see("triggers").fault
    run_remedy(database, fault["remedy"])
    assert doctor.see("triggers").code == 0


def test_copies_of_a_restore_and_of_a_rewrite(database: Database, doctor: Doctor) -> None:
    kept = f"{database.name}_before_20260101T000000Z"
    decoy = f"{database.name}_before_lunch"
    for name in (kept, decoy):
        database.server.create_database(name)
    database.execute("CREATE TABLE users_phasegate_reorder (id int)")
    try:
        faults = doctor.see("copies").faults("warning")
        assert [one["evidence"].partition(",")[0] for one in faults] == [
            f"database {kept}" if kept.islower() else f'database "{kept}"',
            "public.users_phasegate_reorder",
        ]
        run_remedy(database, faults[0]["remedy"])
        database.execute("DROP TABLE users_phasegate_reorder")
        assert doctor.see("copies").faults("warning") == []
    finally:
        for name in (kept, decoy):
            database.server.drop_database(name)


def test_a_server_that_hangs_is_waited_for_once(database: Database, doctor: Doctor) -> None:
    began = time.monotonic()
    database.server.freeze()
    try:
        seen = doctor.see()
    finally:
        database.server.thaw()
    assert time.monotonic() - began < 15
    assert seen.code == 4
    assert {one["cannot"] for one in seen.faults("unknown")} == {"unreachable"}


def test_the_whole_is_quick_and_reads_only(database: Database, doctor: Doctor) -> None:
    database.execute("ANALYZE; CREATE UNIQUE INDEX ON users (uuid)")
    before = database.execute("SELECT pg_current_wal_insert_lsn()")
    began = time.monotonic()
    seen = doctor.see()
    assert seen.code == 0, seen.faults() + seen.faults("unknown")
    assert time.monotonic() - began < 15
    # What a backend notes in a page of the catalog that it reads may be logged; a write would be
    # a commit.
    [[written]] = database.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before[0])
    assert written < 100_000
