"""What the application's framework left unfinished is found, wherever its table stands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Settings
from phasegate.contract.settings_migrate import Hook, Hooks, Migrate
from phasegate.migrate.frameworks import fetch_states, find_refusals, find_unfinished
from phasegate.migrate.operations.framework import FrameworkMigrate
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

PRISMA = """
CREATE TABLE {}._prisma_migrations (
    migration_name text, started_at timestamptz DEFAULT now(),
    finished_at timestamptz, rolled_back_at timestamptz)
"""


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    with open_migrating(any_database, tmp_path, ()) as found:
        yield found


def seed(migrating: Migrating, *statements: str) -> None:
    for statement in statements:
        migrating.connection.execute(statement.encode())


def test_a_prisma_migration_that_never_ended_is_refused_by_its_name(migrating: Migrating) -> None:
    seed(migrating, 'CREATE SCHEMA "My App"', PRISMA.format('"My App"'))
    insert = "INSERT INTO \"My App\"._prisma_migrations (migration_name, {}) VALUES ('{}', now())"
    seed(migrating, insert.format("finished_at", "1_done"))
    seed(migrating, insert.format("rolled_back_at", "2_taken_back"))
    assert find_refusals(migrating.connection) == ()
    seed(migrating, insert.format("started_at", "3_half_done"))
    [refusal] = find_refusals(migrating.connection)
    assert refusal.object == '"My App"._prisma_migrations'
    assert refusal.found == "Prisma has unfinished migrations: 3_half_done"
    assert "prisma migrate resolve" in refusal.remedy


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (
            (
                "CREATE TABLE public.alembic_version (version_num text PRIMARY KEY)",
                "INSERT INTO public.alembic_version VALUES ('b'), ('a')",
            ),
            "Alembic (public.alembic_version): heads a, b",
        ),
        (
            (
                "CREATE TABLE public.flyway_schema_history"
                " (installed_rank int, script text, success boolean)",
                "INSERT INTO public.flyway_schema_history VALUES"
                " (1, 'V1.sql', true), (2, 'V2.sql', false)",
            ),
            "Flyway (public.flyway_schema_history): V2.sql",
        ),
        (
            (
                "CREATE TABLE public.databasechangeloglock (locked boolean, lockedby text)",
                "INSERT INTO public.databasechangeloglock VALUES (true, 'ci (10.0.0.7)')",
            ),
            "Liquibase (public.databasechangeloglock): lock held by ci (10.0.0.7)",
        ),
    ],
)
def test_each_framework_tells_what_is_unfinished(
    migrating: Migrating, statements: tuple[str, ...], found: str
) -> None:
    seed(migrating, statements[0])
    assert find_unfinished(migrating.connection) == ()
    seed(migrating, statements[1])
    assert find_unfinished(migrating.connection) == (found,)


def test_django_is_seen_and_a_table_of_the_same_name_is_not_taken_for_one(
    migrating: Migrating,
) -> None:
    seed(
        migrating,
        "CREATE TABLE public.django_migrations (id int, app text, name text, applied timestamptz)",
        "CREATE TABLE public.alembic_version (something text)",
    )
    [state] = fetch_states(migrating.connection)
    assert (state.framework.name, state.unfinished) == ("Django", ())


def test_a_status_table_that_may_not_be_read_is_refused(migrating: Migrating) -> None:
    seed(migrating, PRISMA.format("public"))
    with migrating.connection.transaction(force_rollback=True):
        seed(migrating, "SET LOCAL ROLE pg_monitor")
        [refusal] = find_refusals(migrating.connection)
    assert "permission denied" in refusal.found


@pytest.mark.parametrize("fixed", [True, False])
def test_a_framework_that_says_success_and_leaves_something_fails_the_step(
    migrating: Migrating, fixed: bool
) -> None:
    seed(
        migrating,
        PRISMA.format("public"),
        "INSERT INTO public._prisma_migrations (migration_name) VALUES ('4_half')",
    )
    code = "import os, psycopg; psycopg.connect(os.environ['URL'], autocommit=True).execute("
    code += f"'UPDATE public._prisma_migrations SET finished_at = now() WHERE {fixed}')"
    hook = Hook(
        command=(sys.executable, "-c", code),
        environment={"URL": Secret(migrating.database.conninfo())},
    )
    settings = replace(Settings(), migrate=Migrate(hooks=Hooks(framework_migrate=hook)))
    if fixed:
        assert migrating.apply(FrameworkMigrate(), settings=settings) == 1
        return
    with pytest.raises(StepFailed, match=r"succeeded, and unfinished is Prisma .*4_half"):
        migrating.apply(FrameworkMigrate(), settings=settings)


def test_the_plan_and_the_run_are_refused_by_the_name_of_the_migration(
    database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE users (id integer PRIMARY KEY);"
        "CREATE TABLE _prisma_migrations (migration_name text, finished_at timestamptz,"
        " rolled_back_at timestamptz, started_at timestamptz);"
        "INSERT INTO _prisma_migrations VALUES ('20260101_half', NULL, NULL, now())"
    )
    config = tmp_path / "phasegate.yaml"
    config.write_text("tables: [{name: public.users}]\n", encoding="utf-8")
    environ = os.environ | {"DATABASE_URL": database.conninfo()}
    for arguments in (["plan", "--no-measure"], ["run", "--yes"]):
        done = subprocess.run(
            [*(sys.executable, "-m", "phasegate.migrate"), *arguments, "--config", str(config)],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "20260101_half" in done.stderr
    assert database.execute("SELECT count(*) FROM pg_attribute WHERE attname = 'uuid'") == [(0,)]
