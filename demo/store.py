"""What the application asks of PostgreSQL: a few connections opened once, and its statements.

Version 1 knows users by their integer, version 2 by their UUID; all else is the same, so the key's
column is the only thing that differs in the statements. Version 1 runs on the legacy and on the
expanded schema, version 2 on the expanded one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

CONNECTIONS = 4
WAIT_SECONDS = 2.0
SESSION = "SET statement_timeout = '5s'; SET search_path = public"

Key = int | UUID
Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True)
class Version:
    """How one version names a user. `parse_key` raises ValueError on what is no key."""

    column: str
    parse_key: Callable[[str], Key]


VERSIONS = {1: Version("id", int), 2: Version("uuid", UUID)}

LIST_KEYS = SQL("SELECT {key} FROM users ORDER BY id LIMIT %s")
PERMISSIONS = SQL("""
    SELECT p.name
    FROM users u
    JOIN user_roles ur ON u.id = ur.user_id
    JOIN role_permissions rp ON ur.role_id = rp.role_id
    JOIN permissions p ON rp.permission_id = p.id
    WHERE u.{key} = %s AND ur.valid_until > NOW()
""")
INSERT_USER = SQL("INSERT INTO users (email, name) VALUES (%s, %s) RETURNING {key}")
RENAME_USER = SQL("UPDATE users SET name = %s, updated_at = now() WHERE {key} = %s")
LOG_IN = SQL("""
    INSERT INTO audit_logs (category, action, actor, subject)
    SELECT 'auth', 'login', 'user:' || {key}, 'user:' || {key}
    FROM users WHERE {key} = %s
""")
LOG_EVENT = SQL(
    "INSERT INTO audit_logs (category, action, actor, subject, details) VALUES (%s, %s, %s, %s, %s)"
)


class Pool:
    """A fixed number of connections; a broken one is opened anew by whoever needs it next.
    `slowest` is the longest time in seconds that one was lent, which is that of one statement.

    Raises psycopg.Error where the server does, TimeoutError where none came free in two seconds.
    """

    def __init__(self, conninfo: str, application_name: str) -> None:
        self._conninfo = conninfo
        self._application_name = application_name
        self._idle: asyncio.Queue[Connection | None] = asyncio.Queue()
        self.slowest = 0.0

    async def open(self) -> None:
        """Open every connection; the server must be there at the start."""
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await self._connect())

    async def close(self) -> None:
        """Close what is idle; called when no request is left."""
        while not self._idle.empty():
            connection = self._idle.get_nowait()
            if connection is not None:
                await connection.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit."""
        async with asyncio.timeout(WAIT_SECONDS):
            connection = await self._idle.get()
        try:
            if connection is None or connection.closed:
                connection = None
                connection = await self._connect()
            lent = time.monotonic()
            yield connection
            self.slowest = max(self.slowest, time.monotonic() - lent)
        finally:
            self._idle.put_nowait(connection)

    async def _connect(self) -> Connection:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo,
            autocommit=True,
            application_name=self._application_name,
            connect_timeout=2,
        )
        await connection.execute(SESSION)
        return connection


class Store:
    """The application's questions, in one version's statements. Raises what `Pool` raises."""

    def __init__(self, pool: Pool, version: int) -> None:
        self._pool = pool
        self._column = Identifier(VERSIONS[version].column)
        self.parse_key = VERSIONS[version].parse_key

    async def ping(self) -> None:
        """Answer, or raise."""
        async with self._pool.connection() as connection:
            await connection.execute("SELECT 1")

    async def fetch_keys(self, limit: int) -> list[str]:
        """The keys of the oldest users, at most `limit`."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(self._own(LIST_KEYS), (limit,))).fetchall()
        return [str(row[0]) for row in rows]

    async def fetch_permissions(self, key: Key) -> list[str]:
        """Names of what the user may do now, sorted; empty for an unknown user."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(self._own(PERMISSIONS), (key,))).fetchall()
        return sorted({row[0] for row in rows})

    async def insert_user(self, email: str, name: str) -> str:
        """The new user's key; psycopg.errors.UniqueViolation where the address is taken."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(self._own(INSERT_USER), (email, name))).fetchone()
        assert row is not None
        return str(row[0])

    async def rename_user(self, key: Key, name: str) -> bool:
        """False where there is no such user."""
        async with self._pool.connection() as connection:
            return (await connection.execute(self._own(RENAME_USER), (name, key))).rowcount == 1

    async def log_in(self, key: Key) -> bool:
        """Write the login to the audit log; False, and nothing written, for an unknown user."""
        async with self._pool.connection() as connection:
            return (await connection.execute(self._own(LOG_IN), (key,))).rowcount == 1

    async def log_event(self, category: str, action: str, who: str, **details: str) -> None:
        """Write one event of the application itself to the audit log."""
        async with self._pool.connection() as connection:
            await connection.execute(LOG_EVENT, (category, action, who, who, Jsonb(details)))

    def _own(self, statement: SQL) -> Composed:
        return statement.format(key=self._column)
