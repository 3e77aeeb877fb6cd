"""The audit log: partitioned without a copy, kept ready ahead, written by triggers of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from phasegate.contract.names import TableName
from phasegate.migrate.model import Operation
from phasegate.migrate.operations.audit_triggers import AuditTriggers
from phasegate.migrate.operations.partition_audit import PartitionAudit
from phasegate.migrate.operations.premake import Premake
from phasegate.migrate.periods import parse_bound
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating
from tests.fixtures.planned import make_legacy

LOG, USERS = TableName("public", "audit_logs"), TableName("public", "users")
PARTITION = PartitionAudit(LOG, "created_at", "month", "category")
PREMAKE = Premake(LOG, "month", 3)
TRIGGERS = AuditTriggers(LOG, "created_at", (USERS,), "category")
ALL: tuple[Operation, ...] = (PARTITION, PREMAKE, TRIGGERS)
SCHEMA = """
SELECT c.relname, c.relkind, pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
    ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid ORDER BY 1),
    ARRAY(SELECT pg_get_triggerdef(t.oid) || t.tgenabled::text FROM pg_trigger t
          WHERE t.tgrelid = c.oid ORDER BY 1),
    ARRAY(SELECT k.conname || pg_get_constraintdef(k.oid) FROM pg_constraint k
          WHERE k.conrelid = c.oid ORDER BY 1),
    c.relacl::text
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1
"""


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    make_legacy(any_database, 4_000)
    with open_migrating(any_database, tmp_path, ("public.users", "public.audit_logs")) as found:
        yield found


def test_the_table_becomes_the_first_partition_and_nothing_is_copied(migrating: Migrating) -> None:
    database = migrating.database
    [(before,)] = database.execute("SELECT relfilenode FROM pg_class WHERE relname = 'audit_logs'")
    rows = "SELECT count(*), sum(hashtext(audit_logs::text)::bigint) FROM audit_logs"
    held = database.execute(rows)
    for operation in ALL:
        assert operation.find_refusals(migrating.catalog()) == ()
        migrating.apply(operation)
        assert migrating.apply(operation) == 0
    assert database.execute(rows) == held
    assert database.execute(
        "SELECT relfilenode FROM pg_class WHERE relname = 'audit_logs_legacy'"
    ) == [(before,)]
    catalog = migrating.catalog()
    log = catalog.relations[LOG]
    assert log.partition_key == "RANGE (created_at)"
    assert log.primary_key == ("id", "created_at")
    assert {index.name.table for index in log.indexes} == {
        *("audit_logs_pkey", "audit_logs_created_at_idx", "audit_logs_category_created_at_idx")
    }
    assert all(index.valid for index in log.indexes)
    [identity] = [column.identity for column in log.columns if column.name == "id"]
    assert identity == "d"
    database.execute(
        "INSERT INTO audit_logs (category, action, actor, subject) VALUES ('a', 'b', 'c', 'd')"
    )
    [(largest, count)] = database.execute("SELECT max(id), count(*) FROM audit_logs")
    assert (largest > held[0][0], count) == (True, held[0][0] + 1)


def test_a_second_pass_leaves_the_schema_as_it_is(migrating: Migrating) -> None:
    for operation in ALL:
        migrating.apply(operation)
    before = migrating.database.execute(SCHEMA)
    for operation in ALL:
        assert migrating.apply(operation) == 0
    assert migrating.database.execute(SCHEMA) == before


def test_it_goes_on_after_a_kill_at_each_action(migrating: Migrating) -> None:
    """Each action by itself, as if the runner had died after every one."""
    for operation in ALL:
        sent = 0
        while left := operation.plan_remaining(migrating.catalog()):
            for statement in left[0].statements:
                if left[0].transactional:
                    with migrating.connection.transaction():
                        for one in left[0].statements:
                            migrating.connection.execute(one.encode())
                    break
                migrating.connection.execute(statement.encode())
            sent += 1
            assert sent < 20
    assert migrating.catalog().relations[LOG].kind == "p"


def test_writers_lose_nothing_while_it_is_swapped(migrating: Migrating) -> None:
    over = threading.Event()
    written: list[int] = []
    failed: list[Exception] = []

    def write() -> None:
        with psycopg.connect(migrating.database.conninfo(), autocommit=True) as connection:
            while not over.is_set():
                try:
                    connection.execute(
                        "INSERT INTO audit_logs (category, action, actor, subject)"
                        " VALUES ('late', 'b', 'c', 'd')"
                    )
                except psycopg.Error as error:
                    failed.append(error)
                    return
                written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for operation in ALL:
            migrating.apply(operation)
    finally:
        over.set()
        writer.join()
    assert failed == []
    assert migrating.database.execute(
        "SELECT count(*) FROM audit_logs WHERE category = 'late'"
    ) == [(len(written),)]


def test_owner_grants_triggers_sequence_and_comment_come_along(migrating: Migrating) -> None:
    database = migrating.database
    database.execute(
        'CREATE ROLE "Log owner"; CREATE ROLE reader; ALTER TABLE audit_logs OWNER TO "Log owner";'
        "GRANT SELECT, INSERT ON audit_logs TO reader WITH GRANT OPTION;"
        "GRANT SELECT (id) ON audit_logs TO PUBLIC; COMMENT ON TABLE audit_logs IS 'it''s ours';"
        "ALTER TABLE audit_logs ADD CONSTRAINT short CHECK (length(action) < 50);"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'kept'; END $$;"
        "CREATE TRIGGER keep BEFORE DELETE ON audit_logs FOR EACH ROW EXECUTE FUNCTION keep();"
        "ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER keep"
    )
    try:
        migrating.apply(PARTITION)
        migrating.apply(PREMAKE)
        catalog = migrating.catalog()
        log = catalog.relations[LOG]
        assert (log.owner, log.comment) == ("Log owner", "it's ours")
        assert set(log.grants) == {("reader", "SELECT", True), ("reader", "INSERT", True)}
        assert [one.enabled for one in log.triggers] == ["A"]
        assert log.constraint("short") is not None
        for child in log.children:
            assert catalog.relations[child].owner == "Log owner"
            assert catalog.relations[child].trigger("keep") is not None
        with pytest.raises(psycopg.errors.RaiseException, match="kept"):
            database.execute("DELETE FROM audit_logs")
    finally:
        database.execute(
            'DROP OWNED BY "Log owner", reader CASCADE; DROP ROLE "Log owner"; DROP ROLE reader'
        )


def test_every_change_is_written_and_a_backfill_of_an_owner_is_not(migrating: Migrating) -> None:
    database = migrating.database
    for operation in ALL:
        migrating.apply(operation)
    database.execute(
        "CREATE ROLE app LOGIN PASSWORD 'app'; GRANT ALL ON users, user_roles TO app;"
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app"
    )
    try:
        with psycopg.connect(database.conninfo("app", "app"), autocommit=True) as app:
            app.execute("INSERT INTO users (email, name) VALUES ('new', 'New')")
            app.execute("SET phasegate.backfill = 'on'")
            app.execute("UPDATE users SET name = 'Newer' WHERE email = 'new'")
            app.execute("DELETE FROM users WHERE email = 'new'")
        database.execute(
            "SET phasegate.backfill = 'on'; UPDATE users SET name = 'silent' WHERE id = 1;"
            "SET session_replication_role = replica; UPDATE users SET name = 'x' WHERE id = 2;"
            "RESET phasegate.backfill; UPDATE users SET name = 'told' WHERE id = 3;"
            "TRUNCATE users CASCADE"
        )
        assert database.execute(
            "SELECT action, actor, subject FROM audit_logs WHERE category = 'data' ORDER BY id"
        ) == [
            ("insert", "database:app", "users:4001"),
            ("update", "database:app", "users:4001"),
            ("delete", "database:app", "users:4001"),
            ("update", "database:postgres", "users:3"),
            ("truncate", "database:postgres", "users:"),
        ]
        migrating.undo(TRIGGERS)
        assert migrating.undo(TRIGGERS) == 0
        assert migrating.apply(TRIGGERS) == 2
    finally:
        database.execute("DROP OWNED BY app; DROP ROLE app")


@pytest.mark.parametrize("length", ["day", "week", "month"])
def test_partitions_are_the_same_in_every_time_zone_and_gaps_are_filled(
    migrating: Migrating, length: str
) -> None:
    migrating.apply(PARTITION)
    premake = Premake(LOG, length, 2)
    end = datetime(2027, 12, 31, 23, 30, tzinfo=UTC)
    migrating.connection.execute("SET timezone = 'Pacific/Kiritimati'")
    for moment in (end, end.replace(year=2028)):
        catalog = replace(migrating.catalog(), now=moment.timestamp())
        for action in premake.plan_remaining(catalog):
            for statement in action.statements:
                migrating.connection.execute(statement.encode())
    migrating.connection.execute("SET timezone = 'UTC'")
    catalog = replace(migrating.catalog(), now=end.timestamp())
    assert premake.plan_remaining(catalog) == ()
    log = catalog.relations[LOG]
    bounds: list[Any] = sorted(
        bound for one in log.children if (bound := parse_bound(catalog.relations[one].bound))
    )
    assert all(a.end <= b.start for a, b in pairwise(bounds))
    assert {bound.start.hour for bound in bounds[1:]} == {0}
    assert any(bound.start <= end < bound.end for bound in bounds)


REFUSED = {
    "a foreign key": (
        "ALTER TABLE audit_logs ADD COLUMN u integer REFERENCES users",
        "ALTER TABLE audit_logs DROP COLUMN u",
        "each new partition would lock",
    ),
    "a view": (
        "CREATE VIEW v AS SELECT id FROM audit_logs",
        "DROP VIEW v",
        "it would go on to mean",
    ),
    "a rule that guards it": (
        "CREATE RULE r AS ON DELETE TO audit_logs DO INSTEAD NOTHING",
        "DROP RULE r ON audit_logs",
        "it would go on to mean",
    ),
    "a function bound to it": (
        "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM audit_logs; END",
        "DROP FUNCTION f",
        "it would go on to mean",
    ),
    "a function of its rows": (
        "CREATE FUNCTION f(audit_logs) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION f",
        "it would go on to mean",
    ),
    "a publication of all": (
        "CREATE PUBLICATION p FOR ALL TABLES",
        "DROP PUBLICATION p",
        "names that no subscriber knows",
    ),
    "an invalid index": (
        "CREATE INDEX broken ON audit_logs (actor);"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass",
        "DROP INDEX broken",
        "an invalid index",
    ),
    "a unique index": (
        "CREATE UNIQUE INDEX mine ON audit_logs (subject, id)",
        "DROP INDEX mine",
        "without the time",
    ),
    "a reference": (
        "CREATE TABLE r (a integer REFERENCES audit_logs)",
        "DROP TABLE r",
        "a foreign key to the log",
    ),
    "row security": (
        "ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE audit_logs DISABLE ROW LEVEL SECURITY",
        "it has row security",
    ),
    "a taken name": (
        "CREATE TABLE audit_logs_legacy (id int)",
        "DROP TABLE audit_logs_legacy",
        "the name is taken",
    ),
    "another time": (
        "ALTER TABLE audit_logs ALTER created_at TYPE timestamp",
        "SELECT 1",
        "of type timestamp without time zone",
    ),
}


def test_what_would_break_is_refused_with_its_object_and_remedy(migrating: Migrating) -> None:
    migrating.names = (*migrating.names, TableName("public", "audit_logs_legacy"))
    for make, unmake, said in REFUSED.values():
        migrating.database.execute(make)
        found = PARTITION.find_refusals(migrating.catalog())
        migrating.database.execute(unmake)
        assert any(said in one.found for one in found), (said, found)
        assert all(one.remedy and one.object for one in found)
