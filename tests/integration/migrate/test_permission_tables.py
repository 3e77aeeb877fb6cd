"""The permission tables are made where they are missing, and never changed where they are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.operations.permission_tables import PermissionTables
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

SCHEMA = "My App"
TABLES = PermissionTables(TableName(SCHEMA, "users"))
GUIDE = """
EXPLAIN (ANALYZE, COSTS OFF) SELECT p.name
FROM "My App".users u
JOIN "My App".user_roles ur ON u.id = ur.user_id
JOIN "My App".role_permissions rp ON ur.role_id = rp.role_id
JOIN "My App".permissions p ON rp.permission_id = p.id
WHERE u.uuid = '00000000-0000-4000-8000-000000000007' AND ur.valid_until > NOW()
"""


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(f'CREATE SCHEMA "{SCHEMA}"')
    any_database.execute(
        f'CREATE TABLE "{SCHEMA}".users (id bigint PRIMARY KEY, uuid uuid NOT NULL UNIQUE)'
    )
    names = (f"{SCHEMA}.users", *(f"{SCHEMA}.{name.table}" for name in TABLES.names()))
    with open_migrating(any_database, tmp_path, names) as found:
        yield found


def fill(migrating: Migrating) -> None:
    for statement in (
        "INSERT INTO {}.users SELECT n,"
        " ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid"
        " FROM generate_series(1, 5000) n",
        "INSERT INTO {}.permissions (name) SELECT 'p' || n FROM generate_series(1, 300) n",
        "INSERT INTO {}.roles (name) SELECT 'r' || n FROM generate_series(1, 100) n",
        "INSERT INTO {0}.role_permissions SELECT r.id, p.id FROM {0}.roles r"
        " JOIN {0}.permissions p ON p.id % 100 = r.id % 100",
        "INSERT INTO {}.user_roles (user_id, role_id) SELECT n, n % 100 + 1"
        " FROM generate_series(1, 5000) n",
    ):
        migrating.database.execute(statement.format(f'"{SCHEMA}"'))
    migrating.database.execute("ANALYZE")


def test_the_guides_query_runs_on_them_by_indexes_alone(migrating: Migrating) -> None:
    assert TABLES.find_refusals(migrating.catalog()) == ()
    assert migrating.apply(TABLES) == 1
    assert migrating.apply(TABLES) == 0
    fill(migrating)
    plan = "\n".join(line for (line,) in migrating.database.execute(GUIDE))
    assert "rows=3" in plan
    assert "Seq Scan on user_roles" not in plan
    assert "Seq Scan on users" not in plan
    with pytest.raises(StepFailed, match="user_roles holds rows, which only you may drop"):
        migrating.undo(TABLES)


def test_undone_while_empty_and_made_again(migrating: Migrating) -> None:
    migrating.apply(TABLES)
    assert migrating.undo(TABLES) == 1
    assert migrating.undo(TABLES) == 0
    assert migrating.apply(TABLES) == 1


def test_what_is_there_is_adopted_and_the_rest_fits_it(migrating: Migrating) -> None:
    migrating.database.execute(
        f'CREATE TABLE "{SCHEMA}".roles (id smallint PRIMARY KEY, title text)'
    )
    assert migrating.apply(TABLES) == 1
    role = migrating.catalog().relations[TableName(SCHEMA, "user_roles")].column("role_id")
    assert role is not None
    assert role.type == "smallint"
    migrating.undo(TABLES)
    assert migrating.catalog().get(TableName(SCHEMA, "roles")) is not None


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("user_roles (user_id bigint, role_id int)", "it is there without valid_until"),
        ("roles (id int, name text)", "its primary key is not id"),
    ],
)
def test_another_shape_is_refused(migrating: Migrating, table: str, found: str) -> None:
    migrating.database.execute(f'CREATE TABLE "{SCHEMA}".{table}')
    assert any(one.found.startswith(found) for one in TABLES.find_refusals(migrating.catalog()))
