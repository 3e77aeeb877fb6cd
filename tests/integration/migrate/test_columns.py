"""The UUID column, its index and NOT NULL: after start, second start, kill, resume and undo."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.model import Operation
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

HOSTILE = TableName('s" 1.ä', 'select "Ü' + "x" * 44)
COLUMN_STATE = (
    "SELECT a.attnotnull, a.atttypid::regtype::text, pg_get_expr(d.adbin, d.adrelid)"
    " FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
    " WHERE a.attrelid = 't'::regclass AND a.attname = 'uuid'"
)


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, name text);"
        "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 500) n"
    )
    with open_migrating(any_database, tmp_path, ("public.t",)) as found:
        yield found


def fill(database: Database, table: str = "t") -> None:
    database.execute(f"UPDATE {table} SET uuid = gen_random_uuid() WHERE uuid IS NULL")


T = TableName("public", "t")
COLUMN, INDEX, NOT_NULL = UuidColumn(T, "uuid"), UniqueIndex(T, "uuid"), NotNull(T, "uuid")


def test_the_column_comes_without_a_rewrite_and_goes_again(migrating: Migrating) -> None:
    database = migrating.database
    [(before,)] = database.execute("SELECT relfilenode FROM pg_class WHERE relname = 't'")
    assert migrating.apply(COLUMN) == 1
    assert database.execute("SELECT relfilenode FROM pg_class WHERE relname = 't'") == [(before,)]
    assert database.execute(COLUMN_STATE) == [(False, "uuid", "gen_random_uuid()")]
    assert migrating.apply(COLUMN) == 0
    assert migrating.undo(COLUMN) == 1
    assert database.execute(COLUMN_STATE) == []
    assert database.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE 'fill%'") == [(0,)]
    assert migrating.undo(COLUMN) == 0
    assert migrating.apply(COLUMN) == 1


def test_an_explicit_null_does_not_beat_it_also_not_on_a_replica(migrating: Migrating) -> None:
    migrating.apply(COLUMN)
    migrating.database.execute(
        "INSERT INTO t (id, uuid) VALUES (1001, NULL);"
        "SET session_replication_role = replica;"
        "INSERT INTO t (id, uuid) VALUES (1002, NULL); UPDATE t SET uuid = NULL WHERE id = 1001"
    )
    assert migrating.database.execute(
        "SELECT count(uuid), count(DISTINCT uuid) FROM t WHERE id > 1000"
    ) == [(2, 2)]


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER phasegate_fill_uuid ON t",
        "ALTER TABLE t ENABLE TRIGGER phasegate_fill_uuid",
        "ALTER TABLE t DISABLE TRIGGER phasegate_fill_uuid",
        "ALTER TABLE t ALTER COLUMN uuid DROP DEFAULT",
        "CREATE OR REPLACE FUNCTION phasegate.fill_public_t_uuid() RETURNS trigger"
        " LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "DROP TRIGGER phasegate_fill_uuid ON t; CREATE TRIGGER phasegate_fill_uuid BEFORE INSERT"
        " ON t FOR EACH ROW EXECUTE FUNCTION phasegate.fill_public_t_uuid()",
    ],
)
def test_what_was_damaged_is_repaired_and_nothing_else(migrating: Migrating, damage: str) -> None:
    migrating.apply(COLUMN)
    migrating.database.execute(damage)
    assert migrating.apply(COLUMN) == 1
    migrating.database.execute("INSERT INTO t (id, uuid) VALUES (1001, NULL)")
    migrating.database.execute("UPDATE t SET uuid = NULL WHERE id = 1001")
    assert migrating.database.execute("SELECT count(uuid) FROM t") == [(1,)]
    assert migrating.apply(COLUMN) == 0


def test_a_column_that_was_there_is_adopted_and_stays(migrating: Migrating) -> None:
    migrating.database.execute("ALTER TABLE t ADD COLUMN uuid uuid")
    assert migrating.apply(COLUMN) == 1
    assert migrating.apply(COLUMN) == 0
    assert migrating.undo(COLUMN) == 1
    assert migrating.database.execute(COLUMN_STATE) == [(False, "uuid", None)]


def test_who_was_given_the_key_alone_is_given_the_new_one_too(migrating: Migrating) -> None:
    database = migrating.database
    database.execute('CREATE ROLE "A reader"; GRANT SELECT (id) ON t TO "A reader"')
    try:
        migrating.apply(COLUMN)
        assert migrating.apply(COLUMN) == 0
        assert database.execute(
            "SELECT has_column_privilege('A reader', 't', 'uuid', 'SELECT'),"
            " has_column_privilege('A reader', 't', 'name', 'SELECT')"
        ) == [(True, False)]
    finally:
        database.execute('DROP OWNED BY "A reader"; DROP ROLE "A reader"')


def test_version_7_is_made_by_the_server_or_by_a_function_of_ours(migrating: Migrating) -> None:
    column = UuidColumn(T, "uuid", 7)
    migrating.apply(column)
    assert migrating.apply(column) == 0
    for number in range(1001, 1004):
        migrating.database.execute(f"INSERT INTO t (id) VALUES ({number}); SELECT pg_sleep(0.003)")
    [(in_order, version, variant, age)] = migrating.database.execute(
        "SELECT array_agg(uuid ORDER BY id) = array_agg(uuid ORDER BY uuid),"
        " min(substr(uuid::text, 15, 1)), min(substr(uuid::text, 20, 1)),"
        " max(abs(extract(epoch FROM now()) * 1000"
        "   - ('x' || lpad(left(replace(uuid::text, '-', ''), 12), 16, '0'))::bit(64)::bigint))"
        " FROM t WHERE id > 1000"
    )
    assert (in_order, version) == (True, "7")
    assert variant in "89ab"
    assert age < 5_000


def test_every_partition_and_every_child_gets_the_trigger(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE t (id integer, k integer) PARTITION BY LIST (k);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE plain (id integer); CREATE TABLE heir () INHERITS (plain)"
    )
    with open_migrating(any_database, tmp_path, ("public.t", "public.plain")) as migrating:
        for name in ("t", "plain"):
            column = UuidColumn(TableName("public", name), "uuid")
            assert migrating.apply(column) == 1
            assert migrating.apply(column) == 0
        any_database.execute(
            "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
            "INSERT INTO t1 (id, k) VALUES (1, 1); INSERT INTO t2 (id, k) VALUES (1, 2);"
            "INSERT INTO heir (id, uuid) VALUES (1, NULL)"
        )
        assert any_database.execute(
            "SELECT (SELECT count(uuid) FROM t), (SELECT count(uuid) FROM plain)"
        ) == [(2, 1)]
        for name in ("t", "plain"):
            assert migrating.undo(UuidColumn(TableName("public", name), "uuid")) == 1


def test_hostile_names_go_all_the_way_and_back(any_database: Database, tmp_path: Path) -> None:
    from phasegate.migrate.identifiers import qualify, quote  # noqa: PLC0415

    table = qualify(HOSTILE)
    column = "Order — by"
    any_database.execute(
        f"CREATE SCHEMA {quote(HOSTILE.schema)}; CREATE TABLE {table} (id integer PRIMARY KEY)"
    )
    operations: list[Operation] = [
        UuidColumn(HOSTILE, column),
        UniqueIndex(HOSTILE, column),
        NotNull(HOSTILE, column),
    ]
    with open_migrating(any_database, tmp_path, ()) as migrating:
        migrating.names = (HOSTILE,)
        for operation in operations:
            assert operation.find_refusals(migrating.catalog()) == ()
            migrating.apply(operation)
            assert migrating.apply(operation) == 0
        any_database.execute(f"INSERT INTO {table} (id, {quote(column)}) VALUES (1, NULL)")
        for operation in reversed(operations):
            migrating.undo(operation)
            assert migrating.undo(operation) == 0


def test_the_index_is_built_once_and_its_debris_is_cleared(migrating: Migrating) -> None:
    migrating.apply(COLUMN)
    fill(migrating.database)
    holder = psycopg.connect(migrating.database.conninfo())
    holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM t LIMIT 1")
    cancelled = threading.Thread(target=cancel_index, args=(migrating.database,))
    cancelled.start()
    with pytest.raises(StepFailed, match="canceling statement"):
        migrating.apply(INDEX)
    cancelled.join()
    holder.close()
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 't_uuid_key'::regclass"
    assert migrating.database.execute(valid) == [(False,)]
    assert migrating.apply(INDEX) == 2
    assert migrating.database.execute(valid) == [(True,)]
    assert migrating.apply(INDEX) == 0
    assert migrating.undo(INDEX) == 1
    assert migrating.apply(INDEX) == 1


def cancel_index(database: Database) -> None:
    """As soon as it has left its mark in the catalog."""
    for _ in range(200):
        if database.execute("SELECT 1 FROM pg_class WHERE relname = 't_uuid_key'"):
            break
        time.sleep(0.02)
    database.execute(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE%'"
    )


def test_duplicates_fail_the_index_and_leave_nothing_that_the_next_try_takes_for_done(
    migrating: Migrating,
) -> None:
    migrating.apply(COLUMN)
    migrating.database.execute("UPDATE t SET uuid = md5('same')::uuid WHERE id < 3")
    with pytest.raises(StepFailed, match=r"is duplicated|could not create unique index"):
        migrating.apply(INDEX)
    migrating.database.execute("UPDATE t SET uuid = gen_random_uuid() WHERE id < 3")
    migrating.apply(INDEX)
    assert migrating.apply(INDEX) == 0


def test_an_index_of_another_name_does_as_well(migrating: Migrating) -> None:
    migrating.apply(COLUMN)
    migrating.database.execute("CREATE UNIQUE INDEX mine ON t (uuid)")
    assert migrating.apply(INDEX) == 0
    assert migrating.undo(INDEX) == 0


def test_not_null_is_proved_before_it_is_set_and_resumes_between(migrating: Migrating) -> None:
    migrating.apply(COLUMN)
    fill(migrating.database)
    steps = len(NOT_NULL.plan_remaining(migrating.catalog()))
    for left in range(steps, 0, -1):
        action = NOT_NULL.plan_remaining(migrating.catalog())[0]
        assert len(NOT_NULL.plan_remaining(migrating.catalog())) == left
        for statement in action.statements:
            migrating.connection.execute(statement.encode())
    assert migrating.apply(NOT_NULL) == 0
    assert migrating.database.execute(COLUMN_STATE)[0][0] is True
    assert migrating.database.execute(
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass"
        " AND (contype = 'c' OR NOT convalidated)"
    ) == [(0,)]
    assert migrating.undo(NOT_NULL) == 1
    assert migrating.undo(NOT_NULL) == 0
    assert migrating.apply(NOT_NULL) == steps


def test_a_null_that_is_left_fails_the_proof(migrating: Migrating) -> None:
    migrating.apply(COLUMN)
    with pytest.raises(StepFailed, match=r"null values|violated by some row"):
        migrating.apply(NOT_NULL)
    fill(migrating.database)
    migrating.apply(NOT_NULL)
    assert migrating.database.execute(COLUMN_STATE)[0][0] is True


REFUSED = {
    "no such table": ("", "there is no such table"),
    "a view": ("CREATE VIEW t AS SELECT 1 AS id", "it is a view"),
    "wrong type": ("CREATE TABLE t (id int, uuid text)", "is of type text"),
    "generated": (
        "CREATE TABLE t (id int, uuid uuid GENERATED ALWAYS AS (md5('x')::uuid) STORED)",
        "the column is generated",
    ),
    "a partition": (
        "CREATE TABLE p (id int) PARTITION BY LIST (id);"
        "CREATE TABLE t PARTITION OF p FOR VALUES IN (1)",
        "it is a partition of public.p",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    database: Database, tmp_path: Path, kind: str
) -> None:
    made, said = REFUSED[kind]
    if made:
        database.execute(made)
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        [refusal] = COLUMN.find_refusals(migrating.catalog())
    assert said in refusal.found
    assert refusal.remedy


def test_whoever_does_not_own_the_table_or_cannot_see_every_row_is_refused(
    database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        catalog = migrating.catalog()
    from dataclasses import replace  # noqa: PLC0415

    weak = replace(catalog, superuser=False, bypasses=False, member_of=frozenset(), role="weak")
    found: Any = [one.found for one in COLUMN.find_refusals(weak)]
    assert any("owned by postgres" in one for one in found)
    assert any("row security is forced" in one for one in found)
    partitioned = [one.kind for one in catalog.relations.values()]
    assert partitioned == ["r"]
