"""Integers that refer to a table, and the UUIDs beside them: kept equal from the first moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.names import TableName
from phasegate.migrate.model import Operation
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.reference_column import ReferenceColumn
from phasegate.migrate.operations.reference_steps import make_operations
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.references import Reference, find_references
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

USERS, ORDERS = TableName("public", "users"), TableName("public", "orders")
TABLES = (
    "CREATE TABLE users (id serial PRIMARY KEY, name text);"
    "CREATE TABLE orders (id serial PRIMARY KEY,"
    " user_id integer NOT NULL REFERENCES users ON UPDATE CASCADE ON DELETE CASCADE,"
    " buyer integer REFERENCES users ON DELETE SET NULL);"
    "CREATE INDEX ON orders (user_id);"
    "INSERT INTO users (name) SELECT 'x' FROM generate_series(1, 300);"
    "INSERT INTO orders (user_id, buyer)"
    " SELECT n % 300 + 1, CASE WHEN n % 3 = 0 THEN n % 300 + 1 END FROM generate_series(1, 2000) n"
)
UNEQUAL = (
    "SELECT count(*) FROM orders o LEFT JOIN users u ON u.id = o.user_id"
    " LEFT JOIN users b ON b.id = o.buyer"
    " WHERE u.uuid IS DISTINCT FROM o.user_uuid OR b.uuid IS DISTINCT FROM o.buyer_uuid"
)
SHAPE = (
    "SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"
    " AND NOT attisdropped UNION SELECT conname FROM pg_constraint"
    " UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'phasegate'::regnamespace"
    " ORDER BY 1"
)


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(TABLES)
    with open_migrating(any_database, tmp_path, ("public.users",)) as found:
        yield found


def fill_parent(migrating: Migrating, table: TableName = USERS, column: str = "uuid") -> None:
    for operation in parent_operations(table, column):
        migrating.apply(operation)


def parent_operations(table: TableName, column: str) -> tuple[Operation, ...]:
    return (
        UuidColumn(table, column),
        Backfill(table, column),
        UniqueIndex(table, column),
        NotNull(table, column),
    )


def references(migrating: Migrating, table: TableName = USERS) -> tuple[Reference, ...]:
    return find_references(migrating.catalog(), table, "uuid")


def apply_all(migrating: Migrating, table: TableName = USERS) -> int:
    """All references; actions that are no loop and no proof."""
    sent = 0
    for reference in references(migrating, table):
        for operation in make_operations(reference, migrating.catalog()):
            plan = operation.plan_remaining(migrating.catalog())
            assert operation.find_refusals(migrating.catalog()) == ()
            migrating.apply(operation)
            sent += sum(action.work is None for action in plan)
    return sent


def undo_all(migrating: Migrating) -> None:
    for reference in reversed(references(migrating)):
        for operation in reversed(make_operations(reference, migrating.catalog())):
            migrating.undo(operation)


def test_started_twice_undone_and_begun_again(
    migrating: Migrating,
) -> None:
    fill_parent(migrating)
    before = migrating.database.execute(SHAPE)
    assert [one.uuid for one in references(migrating)] == ["buyer_uuid", "user_uuid"]
    assert apply_all(migrating) > 6
    assert migrating.database.execute(UNEQUAL) == [(0,)]
    assert apply_all(migrating) == 0
    keys = migrating.database.execute(
        "SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint"
        " WHERE conrelid = 'orders'::regclass AND contype = 'f' AND conname LIKE '%uuid%'"
        " ORDER BY conname"
    )
    assert [(one.split("ON UPDATE ")[1], valid) for one, valid in keys] == [
        ("CASCADE ON DELETE SET NULL", True),
        ("CASCADE ON DELETE CASCADE", True),
    ]
    assert migrating.database.execute(
        "SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = 'orders'::regclass"
        " AND attname LIKE '%uuid' ORDER BY 1"
    ) == [("buyer_uuid", False), ("user_uuid", True)]
    assert migrating.database.execute(
        "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%orders%(user_uuid)'"
    ) == [(1,)]
    undo_all(migrating)
    assert migrating.database.execute(SHAPE) == before
    undo_all(migrating)
    assert migrating.database.execute(SHAPE) == before
    apply_all(migrating)
    assert migrating.database.execute(UNEQUAL) == [(0,)]


PAIRS = (
    "SELECT o.user_id, o.user_uuid = u.uuid FROM orders o JOIN users u ON u.id = o.user_id"
    " WHERE o.id > 2000 ORDER BY o.id"
)
UUID_OF = "(SELECT uuid FROM users WHERE id = {})"
KEPT = {
    "by integer": "INSERT INTO orders (user_id) VALUES (7)",
    "by UUID": f"INSERT INTO orders (user_uuid) VALUES ({UUID_OF.format(7)})",
    "by both": f"INSERT INTO orders (user_id, user_uuid) VALUES (7, {UUID_OF.format(7)})",
    "integer changed": "INSERT INTO orders (user_id) VALUES (8); UPDATE orders SET user_id = 7"
    " WHERE id > 2000",
    "UUID changed": "INSERT INTO orders (user_id) VALUES (8); UPDATE orders SET user_uuid ="
    f" {UUID_OF.format(7)} WHERE id > 2000",
    "parent's UUID changed": "INSERT INTO orders (user_id) VALUES (7);"
    "UPDATE users SET uuid = gen_random_uuid() WHERE id = 7",
    "parent's integer changed": "INSERT INTO users (id) VALUES (777);"
    "INSERT INTO orders (user_id) VALUES (777); DELETE FROM orders WHERE user_id = 7;"
    "UPDATE orders SET buyer = NULL WHERE buyer = 7; DELETE FROM users WHERE id = 7;"
    "UPDATE users SET id = 7 WHERE id = 777",
    "child first in one statement": "WITH o AS (INSERT INTO orders (user_id) VALUES (7))"
    " UPDATE users SET name = 'y' WHERE id = 7",
    "as a replica": "SET session_replication_role = replica;"
    "INSERT INTO orders (user_id) VALUES (7)",
}


REFUSED = {
    "inserted": f"INSERT INTO orders (user_id, user_uuid) VALUES (7, {UUID_OF.format(8)})",
    "updated": f"UPDATE orders SET user_id = 7, user_uuid = {UUID_OF.format(8)} WHERE id = 1",
    "one taken away": "UPDATE orders SET buyer = NULL, buyer_uuid = gen_random_uuid() WHERE id = 3",
}


def test_whichever_is_written_the_other_follows_and_no_two_disagree(migrating: Migrating) -> None:
    fill_parent(migrating)
    for reference in references(migrating):
        migrating.apply(ReferenceColumn(reference))
    try_statements(migrating.database)
    apply_all(migrating)
    try_statements(migrating.database)


def try_statements(database: Database) -> None:
    """Each by itself, and taken back."""
    with psycopg.connect(database.conninfo()) as connection:
        for case, written in KEPT.items():
            connection.execute(written.encode())
            assert connection.execute(PAIRS.encode()).fetchall() == [(7, True)], case
            connection.rollback()
        for written in REFUSED.values():
            with pytest.raises(
                psycopg.errors.IntegrityConstraintViolation, match="name different rows"
            ):
                connection.execute(written.encode())
            connection.rollback()


DEFERRED = (
    "CREATE TABLE users (id integer PRIMARY KEY);"
    "CREATE TABLE orders (id serial PRIMARY KEY,"
    " user_id integer NOT NULL REFERENCES users DEFERRABLE INITIALLY DEFERRED);"
    "INSERT INTO users SELECT generate_series(1, 9);"
    "INSERT INTO orders (user_id) SELECT generate_series(1, 9)"
)


def test_a_child_before_its_parent_is_filled_at_commit_or_refused(
    database: Database, tmp_path: Path
) -> None:
    database.execute(DEFERRED)
    with open_migrating(database, tmp_path, ("public.users",)) as migrating:
        fill_parent(migrating)
        apply_all(migrating)
        assert apply_all(migrating) == 0
    database.execute(
        "WITH o AS (INSERT INTO orders (user_id) VALUES (20)) INSERT INTO users VALUES (20);"
        "INSERT INTO orders (user_id, user_uuid) VALUES (21, md5('x')::uuid);"
        "INSERT INTO users VALUES (21, md5('x')::uuid)"
    )
    assert database.execute(
        "SELECT count(*) FROM orders o JOIN users u ON u.id = o.user_id"
        " WHERE u.uuid = o.user_uuid AND u.id >= 20"
    ) == [(2,)]
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="different rows"):
        database.execute(
            "INSERT INTO orders (user_id, user_uuid) VALUES (30, md5('y')::uuid);"
            "INSERT INTO users VALUES (30, md5('z')::uuid), (31, md5('y')::uuid)"
        )
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.execute("INSERT INTO orders (user_id) VALUES (40)")


def test_a_cycle_and_a_table_that_refers_to_itself(database: Database, tmp_path: Path) -> None:
    database.execute(
        "CREATE TABLE users (id serial PRIMARY KEY, boss_id integer NOT NULL REFERENCES users,"
        " team_id integer);"
        "CREATE TABLE teams (id serial PRIMARY KEY, lead_id integer REFERENCES users);"
        "ALTER TABLE users ADD FOREIGN KEY (team_id) REFERENCES teams ON DELETE SET NULL;"
        "INSERT INTO users (boss_id) SELECT n FROM generate_series(1, 50) n;"
        "INSERT INTO teams (lead_id) VALUES (1), (2); UPDATE users SET team_id = 1"
    )
    with open_migrating(database, tmp_path, ("public.users", "public.teams")) as migrating:
        for name in (USERS, TableName("public", "teams")):
            fill_parent(migrating, name)
            apply_all(migrating, name)
            assert apply_all(migrating, name) == 0
    database.execute(
        "INSERT INTO users (id, boss_id) VALUES (60, 60), (61, 62), (62, 61);"
        "UPDATE users SET boss_id = id WHERE id = 5;"
        "UPDATE users SET boss_id = id + 1 WHERE id = 6;"
        "UPDATE users SET uuid = gen_random_uuid() WHERE id IN (5, 61);"
        "DELETE FROM teams WHERE id = 1"
    )
    assert database.execute(
        "SELECT count(*), count(u.team_id), count(u.team_uuid) FROM users u"
        " JOIN users b ON b.id = u.boss_id AND b.uuid = u.boss_uuid"
    ) == [(53, 0, 0)]
