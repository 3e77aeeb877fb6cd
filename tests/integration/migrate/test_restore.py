"""The immediate way back: every row, right and setting as before, and the old database kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from phasegate.contract.errors import Interrupted, PlanRefused, StepFailed
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.migrate.backup import Backup, find_backup
from phasegate.migrate.context import NothingStops
from phasegate.migrate.database_facts import DatabaseFacts, fetch_facts
from phasegate.migrate.journal import Journal, read_file
from phasegate.migrate.opening import reconcile
from phasegate.migrate.operations.backup import MakeBackup, ProveBackup
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.restore import restore_beside
from phasegate.migrate.row_facts import count_rows, digest_rows, fetch_tables, prepare_session
from phasegate.migrate.sessions import open_session
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, connect_parameters, open_migrating
from tests.integration.migrate.test_backup import SCHEMA, make_settings

T = TableName("public", "t")
ROLE = "restored reader"
DATABASE_SETTINGS = """
ALTER DATABASE {0} SET search_path = "$user", public, "S 1";
ALTER DATABASE {0} SET work_mem = '5MB';
ALTER DATABASE {0} SET phasegate.name = 'it''s \\ here';
ALTER ROLE "restored reader" IN DATABASE {0} SET search_path = '';
ALTER DATABASE {0} CONNECTION LIMIT 77;
REVOKE CONNECT ON DATABASE {0} FROM PUBLIC;
GRANT CONNECT ON DATABASE {0} TO "restored reader" WITH GRANT OPTION;
COMMENT ON DATABASE {0} IS 'the one that is restored';
GRANT SELECT ON parted TO "restored reader";
ALTER TABLE t OWNER TO "restored reader";
CREATE POLICY mine ON t TO "restored reader" USING (true);
"""
RIGHTS = (
    "SELECT relacl::text, relowner::regrole::text FROM pg_class"
    " WHERE relname IN ('t', 'parted') ORDER BY relname"
)


@pytest.fixture
def prepared(any_database: Database, tmp_path: Path) -> Iterator[tuple[Migrating, Backup]]:
    """A database with a proved backup."""
    any_database.execute(
        f'DO $$BEGIN CREATE ROLE "{ROLE}"; EXCEPTION WHEN duplicate_object THEN NULL; END$$'
    )
    settings = DATABASE_SETTINGS.format(any_database.name)
    yield from backed_up(any_database, SCHEMA + settings, tmp_path)
    any_database.server.drop_database(any_database.name)
    any_database.server.execute(f'DROP ROLE "{ROLE}"')


@pytest.fixture
def simple(database: Database, tmp_path: Path) -> Iterator[tuple[Migrating, Backup]]:
    """A small one, on PostgreSQL 18 alone."""
    schema = "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)"
    yield from backed_up(database, schema, tmp_path)


def backed_up(database: Database, schema: str, folder: Path) -> Iterator[tuple[Migrating, Backup]]:
    database.execute(schema)
    settings = make_settings(database, folder, database.server.conninfo())
    with open_migrating(database, folder, ("public.t",), settings) as migrating:
        migrating.apply(MakeBackup((T,)))
        migrating.apply(ProveBackup())
        backup = find_backup(folder, "identity")
        assert backup is not None
        yield migrating, backup
    server = database.server
    for (name,) in server.execute("SELECT datname FROM pg_database WHERE datname ~ '_before_'"):
        server.drop_database(name)


def restore(migrating: Migrating, backup: Backup, **more: Any) -> str:
    folder = migrating.settings.migrate.backup.directory
    conninfo = connect_parameters(migrating.database)
    return restore_beside(conninfo, backup, folder, say=migrating.said.append, **more).kept


def look(database: Database) -> tuple[str, DatabaseFacts, list[Any]]:
    with open_session(connect_parameters(database)) as connection:
        prepare_session(connection)
        tables = [one for one in fetch_tables(connection) if one.schema != "phasegate"]
        digest = digest_rows(count_rows(connection, tables, (), NothingStops()))
        return digest, fetch_facts(connection), database.execute(RIGHTS)


def test_rows_rights_and_settings_are_as_before(prepared: tuple[Migrating, Backup]) -> None:
    migrating, backup = prepared
    before = look(migrating.database)
    migrating.apply(UuidColumn(T, "uuid"))
    migrating.database.execute("UPDATE t SET name = 'changed'; DELETE FROM t WHERE id > 1000")
    kept = restore(migrating, backup, by="anna", lost=3000)
    assert look(migrating.database) == before
    server = migrating.database.server
    assert server.execute("SELECT count(*) FROM t", kept) == [(1000,)]
    with open_session(connect_parameters(migrating.database)) as connection:
        entries = connection.execute(
            "SELECT id::text, event, facts FROM phasegate.journal ORDER BY number"
        ).fetchall()
        reconcile(Journal(connection, migrating.journal.file.parent, ""))
    kept_in_file = read_file(migrating.journal.file)
    assert {one.id for one in kept_in_file} == {one[0] for one in entries}
    [*_, (_, event, facts)] = entries
    assert event == Event.RESTORED
    assert (facts["kept"], facts["lost"], facts["file"]) == (kept, 3000, backup.file)


def test_what_is_bound_to_the_database_refuses(simple: tuple[Migrating, Backup]) -> None:
    migrating, backup = simple
    database = migrating.database
    database.execute("BEGIN; DELETE FROM t; PREPARE TRANSACTION 'held back'")
    database.execute(
        "CREATE SUBSCRIPTION bound CONNECTION 'dbname=x' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)"
    )
    unproved = structs.replace(backup, proof=None)
    try:
        with pytest.raises(PlanRefused) as refused:
            restore(migrating, unproved)
    finally:
        database.execute("ROLLBACK PREPARED 'held back'")
        database.execute("DROP SUBSCRIPTION bound")
    told = str(refused.value)
    assert "prepared transaction held back" in told
    assert "subscription bound" in told
    assert "never proved" in told


def test_a_restore_that_fails_leaves_everything_as_it_was(
    simple: tuple[Migrating, Backup],
) -> None:
    migrating, backup = simple
    database = migrating.database
    before = database.server.execute("SELECT oid, datname FROM pg_database ORDER BY oid")
    others = tuple(structs.replace(one, rows=7) for one in backup.tables)
    with pytest.raises(StepFailed, match="restored with other rows"):
        restore(migrating, structs.replace(backup, tables=others))

    def stays() -> None:
        raise Interrupted("the application does not let go")

    with pytest.raises(Interrupted):
        restore(migrating, backup, drained=stays)
    after = database.server.execute("SELECT oid, datname FROM pg_database ORDER BY oid")
    assert after == before
    assert database.execute("SELECT id FROM t") == [(1,)]


def test_sessions_that_come_again_do_not_hold_the_swap_up(
    simple: tuple[Migrating, Backup],
) -> None:
    migrating, backup = simple
    database = migrating.database
    database.execute("INSERT INTO t VALUES (2)")
    over, refused = threading.Event(), []

    def come_again() -> None:
        while not over.is_set():
            try:
                with psycopg.connect(database.conninfo(), autocommit=True) as connection:
                    while not over.is_set():
                        connection.execute("SELECT pg_sleep(0.01)")
            except psycopg.Error as error:
                refused.append(error)

    threads = [threading.Thread(target=come_again) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        restore(migrating, backup)
        assert database.execute("SELECT id FROM t") == [(1,)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert refused
