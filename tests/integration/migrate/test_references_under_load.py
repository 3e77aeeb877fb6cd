"""References and the swap under the statements of the application before and after."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import ColumnName, TableName
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.reference_backfill import ReferenceProof, find_unequal
from phasegate.migrate.operations.reference_column import ReferenceColumn
from phasegate.migrate.operations.reference_key import ReferenceKey
from phasegate.migrate.operations.reference_steps import make_operations
from phasegate.migrate.operations.swap_primary import SwapPrimary
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.references import find_references, refuse_references
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

USERS = TableName("public", "users")
TABLES = (
    "CREATE TABLE users (id serial PRIMARY KEY, name text, boss_id integer REFERENCES users);"
    "CREATE TABLE orders (id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users"
    " ON DELETE CASCADE, total integer);"
    "CREATE INDEX ON orders (user_id);"
    "INSERT INTO users (name) SELECT 'x' FROM generate_series(1, 1000);"
    "UPDATE users SET boss_id = id / 10 WHERE id >= 10;"
    "INSERT INTO orders (user_id, total) SELECT n % 1000 + 1, 0 FROM generate_series(1, 3000) n"
)
OLD = (
    "INSERT INTO users (name, boss_id) VALUES ('new', {n}) ON CONFLICT (id) DO NOTHING",
    "INSERT INTO orders (user_id, total) VALUES ({n}, 1), ({m}, 2)",
    "UPDATE orders SET user_id = {m} WHERE id = {n}",
    "UPDATE orders SET total = total + 1 WHERE user_id = {n}",
    "UPDATE users SET boss_id = NULL WHERE id = {n}",
    "DELETE FROM orders WHERE id = {n}",
    "DELETE FROM users WHERE id = (SELECT max(id) FROM users WHERE id > 1000)"
    " AND NOT EXISTS (SELECT FROM users AS b WHERE b.boss_id = users.id)",
)
NEW = (
    "INSERT INTO orders (user_uuid, total) SELECT uuid, 3 FROM users WHERE id = {n}",
    "UPDATE orders SET user_uuid = (SELECT uuid FROM users WHERE id = {m}) WHERE id = {n}",
    "INSERT INTO orders (user_id, user_uuid) SELECT id, uuid FROM users WHERE id = {n}",
    "INSERT INTO users (name, boss_uuid) SELECT 'new', uuid FROM users WHERE id = {n}",
)


class Traffic:
    """Two clients that send statements at random, each by itself; what failed is kept."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.statements: tuple[str, ...] = OLD
        self.failed: list[str] = []
        self.sent = 0
        self.over = threading.Event()

    def run(self, seed: int) -> None:
        """Until it is over."""
        pick = random.Random(seed)  # noqa: S311
        with psycopg.connect(self.database.conninfo(), autocommit=True) as connection:
            while not self.over.is_set():
                statement = pick.choice(self.statements)
                sql = statement.format(n=pick.randint(1, 900), m=pick.randint(1, 900))
                try:
                    connection.execute(sql.encode())
                    self.sent += 1
                except psycopg.errors.DeadlockDetected:
                    # Two clients that lock the same rows in another order; not of our making.
                    continue
                except psycopg.Error as error:
                    self.failed.append(f"{sql}: {error}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs."""
        threads = [threading.Thread(target=self.run, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()


def fill_parent(migrating: Migrating, table: TableName, column: str = "uuid") -> None:
    for operation in (
        UuidColumn(table, column),
        Backfill(table, column),
        UniqueIndex(table, column),
        NotNull(table, column),
    ):
        migrating.apply(operation)


def apply_references(migrating: Migrating, table: TableName, column: str = "uuid") -> int:
    references = find_references(migrating.catalog(), table, column)
    for reference in references:
        for operation in make_operations(reference, migrating.catalog()):
            assert operation.find_refusals(migrating.catalog()) == ()
            migrating.apply(operation)
    return len(references)


def test_no_statement_of_either_application_fails_at_any_moment(
    database: Database, tmp_path: Path
) -> None:
    database.execute(TABLES)
    traffic = Traffic(database)
    with open_migrating(database, tmp_path, ("public.users",)) as migrating, traffic.running():
        fill_parent(migrating, USERS)
        for reference in find_references(migrating.catalog(), USERS, "uuid"):
            migrating.apply(ReferenceColumn(reference))
        traffic.statements = OLD + NEW
        assert apply_references(migrating, USERS) == 2
        swap = SwapPrimary(USERS, "id", "uuid", unread=True)
        migrating.apply(swap)
        apply_references(migrating, USERS)
        migrating.undo(swap)
        apply_references(migrating, USERS)
    assert traffic.failed == []
    assert traffic.sent > 100


@pytest.mark.long
def test_hostile_names_go_all_the_way_and_back(database: Database, tmp_path: Path) -> None:
    parent, child = TableName('s"1.ä', 'Ü "p" {x}' + "x" * 45), TableName("public", "select %s $1")
    key, column = 'Id "{0}"', "Ünder — " + "y" * 40
    database.execute(
        f"CREATE SCHEMA {quote(parent.schema)};"
        f"CREATE TABLE {qualify(parent)} ({quote(key)} bigint PRIMARY KEY);"
        f"CREATE TABLE {qualify(child)} ({quote(column)} integer NOT NULL REFERENCES"
        f" {qualify(parent)}); CREATE INDEX ON {qualify(child)} ({quote(column)});"
        f"INSERT INTO {qualify(parent)} VALUES (1), (2);"
        f"INSERT INTO {qualify(child)} VALUES (1), (2)"
    )
    with open_migrating(database, tmp_path, ()) as migrating:
        migrating.names = (parent,)
        fill_parent(migrating, parent, "U u")
        assert apply_references(migrating, parent, "U u") == 1
        swap = SwapPrimary(parent, key, "U u", unread=True)
        assert swap.find_refusals(migrating.catalog()) == ()
        migrating.apply(swap)
        assert migrating.apply(swap) == 0
        migrating.undo(swap)
        [reference] = find_references(migrating.catalog(), parent, "U u")
        database.execute(f"INSERT INTO {qualify(child)} ({quote(column)}) VALUES (2)")
        assert find_unequal(migrating.connection, reference, migrating.catalog()) == []
        for operation in reversed(make_operations(reference, migrating.catalog())):
            migrating.undo(operation)
            assert migrating.undo(operation) == 0


def test_a_partitioned_child_is_indexed_and_constrained_part_by_part(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE users (id serial PRIMARY KEY);"
        "INSERT INTO users SELECT n FROM generate_series(1, 9) n;"
        "CREATE TABLE orders (k integer, user_id integer NOT NULL REFERENCES users)"
        " PARTITION BY LIST (k); CREATE INDEX ON orders (user_id);"
        "CREATE TABLE orders1 PARTITION OF orders FOR VALUES IN (1);"
        "CREATE TABLE orders2 PARTITION OF orders FOR VALUES IN (2);"
        "INSERT INTO orders SELECT n % 2 + 1, n % 9 + 1 FROM generate_series(1, 99) n"
    )
    with open_migrating(any_database, tmp_path, ("public.users",)) as migrating:
        fill_parent(migrating, USERS)
        apply_references(migrating, USERS)
        [reference] = find_references(migrating.catalog(), USERS, "uuid")
        operations = make_operations(reference, migrating.catalog())
        for operation in operations:
            left = operation.plan_remaining(migrating.catalog())
            assert all(one.work is not None for one in left), operation
        any_database.execute(
            "CREATE TABLE orders3 PARTITION OF orders FOR VALUES IN (3);"
            "INSERT INTO orders2 (k, user_id) VALUES (2, 4); INSERT INTO orders VALUES (3, 5)"
        )
        assert find_unequal(migrating.connection, reference, migrating.catalog()) == []
        for operation in reversed(operations):
            migrating.undo(operation)
            assert operation.plan_undo(migrating.catalog()) == ()


def send(migrating: Migrating, action: Action, *, force_rollback: bool = False) -> None:
    """Only this one, with no journal; rolled back as if the session had been killed."""
    with ExitStack() as stack:
        if action.transactional:
            stack.enter_context(migrating.connection.transaction(force_rollback=force_rollback))
        for statement in action.statements:
            migrating.connection.execute(statement.encode())


@pytest.mark.long
def test_killed_between_any_two_actions_it_goes_on(database: Database, tmp_path: Path) -> None:
    database.execute(TABLES)
    with open_migrating(database, tmp_path, ("public.users",)) as migrating:
        fill_parent(migrating, USERS)
        for reference in find_references(migrating.catalog(), USERS, "uuid"):
            for operation in make_operations(reference, migrating.catalog()):
                while sends := operation.plan_remaining(migrating.catalog()):
                    if sends[0].work is not None:
                        migrating.apply(operation)
                        break
                    if sends[0].transactional:
                        send(migrating, sends[0], force_rollback=True)
                        assert operation.plan_remaining(migrating.catalog()) == sends
                    send(migrating, sends[0])
            assert find_unequal(migrating.connection, reference, migrating.catalog()) == []


def test_what_was_changed_behind_the_triggers_fails_the_proof_by_name(
    database: Database, tmp_path: Path
) -> None:
    database.execute(TABLES)
    with open_migrating(database, tmp_path, ("public.users",)) as migrating:
        fill_parent(migrating, USERS)
        apply_references(migrating, USERS)
        _, reference = sorted(
            find_references(migrating.catalog(), USERS, "uuid"), key=lambda one: one.uuid
        )
        column = ReferenceColumn(reference)
        database.execute(
            "ALTER TABLE orders DISABLE TRIGGER phasegate_sync_user_uuid;"
            "UPDATE orders SET user_uuid = (SELECT uuid FROM users WHERE id = 5) WHERE id = 1"
        )
        with pytest.raises(StepFailed, match=r"(?s)is left: give public\.orders.*user_id = 2 has"):
            migrating.apply(ReferenceProof(reference, (column,)))
        assert migrating.apply(column) == 1
        [(name, value, _, expected, there)] = find_unequal(
            migrating.connection, reference, migrating.catalog()
        )
        assert (name, value, there) == ("user_id", "2", True)
        assert database.execute("SELECT uuid::text FROM users WHERE id = 2") == [(expected,)]


def test_what_cannot_be_is_refused(database: Database, tmp_path: Path) -> None:
    database.execute(
        TABLES + ";CREATE UNIQUE INDEX ON users (id, name);"
        "CREATE TABLE pairs (user_id integer, name text,"
        " FOREIGN KEY (user_id, name) REFERENCES users (id, name));"
        "CREATE TABLE twice (user_id integer REFERENCES users, user_uuid text);"
        "CREATE TABLE orphans (user_id integer); INSERT INTO orphans VALUES (-1);"
        "ALTER TABLE orphans ADD FOREIGN KEY (user_id) REFERENCES users NOT VALID;"
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    )
    with open_migrating(database, tmp_path, ("public.users",)) as migrating:
        catalog = migrating.catalog()
    [pair] = refuse_references(catalog, USERS, "uuid", {})
    assert "of several columns" in pair.found
    one = {reference.child.table: reference for reference in find_references(catalog, USERS, "u")}
    [typed] = ReferenceColumn(one["twice"]).find_refusals(catalog)
    assert "of type text" in typed.found
    [unproved] = ReferenceKey(one["orphans"]).find_refusals(catalog)
    assert "not proved" in unproved.found
    weak = replace(catalog, superuser=False, bypasses=False, member_of=frozenset({"postgres"}))
    [forced] = ReferenceColumn(one["orders"]).find_refusals(weak)
    assert "row security is forced" in forced.found
    given = {ColumnName("public", "orders", "user_id"): "customer"}
    named = find_references(catalog, USERS, "uuid", given)
    assert "customer" in {reference.uuid for reference in named}
