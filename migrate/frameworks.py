"""Migrations that the application's framework began and did not end, by its own status table.

A schema that another tool left half-way is nothing to build on: what it goes on with may undo ours.
Each framework keeps its table in a schema of the user's choice, so every schema is searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Refusal


@dataclass(frozen=True)
class Framework:
    """`query` names what is unfinished in its table `{table}`; empty where the table cannot tell:
    Django writes its row only when a migration is done, in the same transaction."""

    name: str
    table: str
    columns: frozenset[str]
    query: str
    remedy: str


FRAMEWORKS = (
    Framework(
        "Prisma",
        "_prisma_migrations",
        frozenset({"migration_name", "finished_at", "rolled_back_at", "started_at"}),
        "SELECT migration_name::text FROM {table} "
        "WHERE finished_at IS NULL AND rolled_back_at IS NULL ORDER BY started_at",
        "prisma migrate resolve, then prisma migrate deploy",
    ),
    Framework(
        "Alembic",
        "alembic_version",
        frozenset({"version_num"}),
        "SELECT 'heads ' || string_agg(version_num, ', ' ORDER BY version_num) FROM {table} "
        "HAVING count(*) > 1",
        "alembic merge heads, then alembic upgrade head",
    ),
    Framework(
        "Flyway",
        "flyway_schema_history",
        frozenset({"success", "script", "installed_rank"}),
        "SELECT script::text FROM {table} WHERE NOT success ORDER BY installed_rank",
        "flyway repair, then flyway migrate",
    ),
    Framework(
        "Liquibase",
        "databasechangeloglock",
        frozenset({"locked", "lockedby"}),
        "SELECT 'lock held by ' || COALESCE(lockedby, 'an unknown client') FROM {table} "
        "WHERE locked",
        "see that no liquibase is running, then liquibase release-locks",
    ),
    Framework("Django", "django_migrations", frozenset({"app", "name"}), "", ""),
)


@dataclass(frozen=True)
class FrameworkState:
    """One status table that was found, and what it says is unfinished."""

    framework: Framework
    table: TableName
    unfinished: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.framework.name} ({qualify(self.table)}): {', '.join(self.unfinished)}"


def fetch_states(connection: Connection) -> tuple[FrameworkState, ...]:
    """Every framework's table in the database. Raises psycopg.Error where one may not be read: a
    table that is not read proves nothing."""
    rows = connection.execute(
        load_sql("frameworks")["tables"].encode(), ([one.table for one in FRAMEWORKS],)
    ).fetchall()
    states = []
    for schema, name, columns in rows:
        for framework in FRAMEWORKS:
            # A table of the user's own may bear the name and be something else.
            if framework.table != name or not framework.columns <= set(columns):
                continue
            table = TableName(schema, name)
            found: tuple[str, ...] = ()
            if framework.query:
                query = framework.query.format(table=qualify(table))
                found = tuple(what for (what,) in connection.execute(query.encode()).fetchall())
            states.append(FrameworkState(framework, table, found))
    return tuple(states)


def find_unfinished(connection: Connection) -> tuple[str, ...]:
    """Each framework with unfinished migrations, as a sentence. Raises as `fetch_states`."""
    return tuple(str(state) for state in fetch_states(connection) if state.unfinished)


def find_refusals(connection: Connection) -> tuple[Refusal, ...]:
    """Why no plan can be made: unfinished migrations, or a status table that is not readable."""
    try:
        states = fetch_states(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        found = str(error.diag.message_primary)
        return (Refusal("the framework's migrations", found, "grant SELECT on its status table"),)
    return tuple(
        Refusal(
            qualify(state.table),
            f"{state.framework.name} has unfinished migrations: {', '.join(state.unfinished)}",
            state.framework.remedy,
        )
        for state in states
        if state.unfinished
    )
