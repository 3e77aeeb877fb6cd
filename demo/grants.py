"""The exporter's role in the demo: the least that it needs, and nothing that writes.

Called again after the schema was expanded: new columns and tables have grants of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier, Literal

MEASURED = ("permissions", "role_permissions", "user_roles")
# The audit log as it stands, and its partitions once it has some.
AUDIT_TABLES = """
    SELECT relname FROM pg_class WHERE oid = 'public.audit_logs'::regclass
    UNION ALL
    SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'public.audit_logs'::regclass
"""
USER_KEYS = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = 'public.users'::regclass AND attname IN ('id', 'uuid') AND NOT attisdropped
"""


@dataclass(frozen=True)
class Role:
    """A login of the demo's own."""

    name: str
    password: str


async def create_role(connection: AsyncConnection[Any], role: Role) -> None:
    """Create it, with the right to read statistics; psycopg.errors.InsufficientPrivilege."""
    await connection.execute(
        SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE pg_monitor").format(
            Identifier(role.name), Literal(role.password)
        )
    )


async def grant_reading(connection: AsyncConnection[Any], database: str, role: str) -> None:
    """Let the role see the keys of users, the tables of its lookups and the audit log."""
    to = Identifier(role)
    for statement in (
        SQL("GRANT CONNECT ON DATABASE {} TO {}").format(Identifier(database), to),
        SQL("GRANT USAGE ON SCHEMA public TO {}").format(to),
        SQL("GRANT SELECT ON {} TO {}").format(SQL(", ").join(map(Identifier, MEASURED)), to),
    ):
        await connection.execute(statement)
    columns = await _column(connection, USER_KEYS)
    await connection.execute(
        SQL("GRANT SELECT ({}) ON users TO {}").format(_identifiers(columns), to)
    )
    for table in await _column(connection, AUDIT_TABLES):
        await connection.execute(
            SQL("GRANT SELECT (id, created_at, category) ON {} TO {}").format(Identifier(table), to)
        )


async def _column(connection: AsyncConnection[Any], query: str) -> list[str]:
    return [row[0] for row in await (await connection.execute(query.encode())).fetchall()]


def _identifiers(names: list[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))
