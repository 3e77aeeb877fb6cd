"""The hard budget of connections to one server, and the bounded way to ask it something.

Connection storms and abandoned statements are the commonest outage that an exporter causes, so:
never more than `limit` connections whatever happens above, a cancel at the server before a
connection is given up, and a slot that is free again only once its connection is closed.

Every question is one pipeline: settings and query share an implicit transaction, so each query
carries its own time-outs, `search_path` and `application_name`, and neither the role's settings
nor a pooler in transaction mode can change what it means.
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from phasegate.contract.errors import CollectError, SourceError

T = TypeVar("T")
Text = sql.Composed | str
Parameters = Mapping[str, Any] | None
Connection = psycopg.AsyncConnection[Any]
Conninfo = Callable[[], Awaitable[Mapping[str, str]]]

LOCK_TIMEOUT_MS = 100
CANCEL_SECONDS = 0.5
HANDSHAKE_SECONDS = 1.0
PREPARE_AFTER = 2

SETTINGS = """
SELECT
    pg_catalog.set_config('application_name', %(application)s, true),
    pg_catalog.set_config('statement_timeout', %(statement_ms)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_ms)s, true),
    pg_catalog.set_config('transaction_read_only', 'on', true),
    pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('timezone', 'UTC', true),
    pg_catalog.set_config('datestyle', 'ISO, YMD', true)
"""

REASONS: tuple[tuple[type[Exception], str], ...] = (
    (psycopg.errors.LockNotAvailable, "lock_timeout"),
    (psycopg.errors.QueryCanceled, "statement_timeout"),
    (psycopg.errors.InsufficientPrivilege, "privilege"),
    (psycopg.errors.InvalidPassword, "authentication"),
    (psycopg.errors.InvalidAuthorizationSpecification, "authentication"),
    (psycopg.errors.TooManyConnections, "too_many_connections"),
    (psycopg.errors.SyntaxErrorOrAccessRuleViolation, "undefined_object"),
    (psycopg.OperationalError, "unreachable"),
    (psycopg.Error, "database_error"),
    (TimeoutError, "timeout"),
    (OSError, "unreachable"),
)


def failure_reason(error: BaseException) -> str:
    """A short word for the label of an error; `internal` where the fault is ours."""
    if isinstance(error, CollectError):
        return error.reason
    if isinstance(error, SourceError):
        return "secret"
    text = str(error)
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        # libpq reports the server's refusals during connection as text only.
        if "too many clients" in text or "remaining connection slots" in text:
            return "too_many_connections"
        if "authentication failed" in text or "no password supplied" in text:
            return "authentication"
    return next((word for kind, word in REASONS if isinstance(error, kind)), "internal")


class Session:
    """One borrowed connection with a deadline (event-loop time, seconds)."""

    def __init__(self, connection: Connection, application: str, deadline: float) -> None:
        self._connection = connection
        self._application = application
        self._deadline = deadline

    async def rows(self, query: Text, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Every row as a tuple."""
        [rows] = await self.batch((query, parameters))
        return rows

    async def batch(self, *questions: tuple[Text, Parameters]) -> list[list[tuple[Any, ...]]]:
        """The rows of each question, all sent at once: one transaction, one round trip."""
        return await self._bounded(self._ask(questions, tuple_row))

    async def dicts(self, query: Text, parameters: Parameters = None) -> list[dict[str, Any]]:
        """Every row as a mapping; for the few-row queries."""
        [rows] = await self._bounded(self._ask([(query, parameters)], dict_row))
        return rows

    async def _ask(
        self, questions: Sequence[tuple[Text, Parameters]], factory: Any
    ) -> list[list[Any]]:
        remaining_ms = max(10, int(1000 * (self._deadline - time.monotonic())))
        settings = {
            "application": self._application,
            "statement_ms": str(remaining_ms),
            "lock_ms": str(min(LOCK_TIMEOUT_MS, max(5, remaining_ms // 2))),
        }
        cursors = [self._connection.cursor(row_factory=factory) for _ in questions]
        async with self._connection.pipeline() as pipeline:
            await self._connection.execute(SETTINGS, settings)
            for cursor, (query, parameters) in zip(cursors, questions, strict=True):
                await cursor.execute(query, parameters)
            # At once, so that the server ends the transaction, and with it every lock, also if
            # this process is stopped before it reads the answer.
            await pipeline.sync()
            return [await cursor.fetchall() for cursor in cursors]

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=self._deadline - time.monotonic())
        except asyncio.CancelledError:
            await asyncio.shield(self._abandon(task))
            raise
        if not task.done():
            await self._abandon(task)
            raise CollectError(self._application, "timeout", "no answer within the deadline")
        return task.result()

    async def _abandon(self, task: asyncio.Future[T]) -> None:
        """Cancel at the server; if even that is not answered, cut the socket under libpq.

        Cancelling the task alone would let psycopg wait for the server without a limit.
        """
        with suppress(Exception):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._connection.cancel_safe(timeout=1)
        await asyncio.wait({task}, timeout=CANCEL_SECONDS / 2)
        if not task.done():
            with suppress(OSError, psycopg.Error):
                cut = socket.socket(fileno=os.dup(self._connection.pgconn.socket))
                cut.shutdown(socket.SHUT_RDWR)
                cut.close()
            await asyncio.wait({task}, timeout=CANCEL_SECONDS / 2)
        if task.done() and not task.cancelled():
            task.exception()
        await self._connection.close()


class Backends:
    """At most `limit` connections to one server, opened when asked for and kept for reuse."""

    def __init__(self, conninfo: Conninfo, limit: int, connect_timeout: float) -> None:
        self._conninfo = conninfo
        self._connect_timeout = connect_timeout
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[Connection]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def session(self, collector: str, timeout: float) -> AsyncIterator[Session]:
        """Borrow a connection for at most `timeout` seconds, the wait for it included.

        Raises CollectError, psycopg.Error, OSError or TimeoutError; `failure_reason` names them.
        """
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise CollectError(collector, "no_backend", "all connections are in use") from None
        opening = asyncio.create_task(self._take_or_open())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + timeout):
                connection = await asyncio.shield(opening)
        except BaseException:
            # A connect that is cut in the handshake leaves a backend at the server that waits for
            # a password: it goes on within its own limit, and the slot is taken until it is over.
            opening.add_done_callback(self._discard)
            raise
        try:
            yield Session(connection, f"phasegate/{collector}"[:63], deadline)
        finally:
            await self._give_back(connection)
            self._slots.release()

    async def close(self) -> None:
        """Close what is idle; what is borrowed closes when it is given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()
        # What is in its handshake ends it first: cut there, it would hold a backend for a minute.
        if self._opening:
            await asyncio.wait(self._opening, timeout=HANDSHAKE_SECONDS)
            await asyncio.sleep(0)  # lets their callbacks run, which close them
        await asyncio.gather(*self._closing)

    def _discard(self, opening: asyncio.Task[Connection]) -> None:
        """Close a connection that came too late, then free its slot."""

        async def close() -> None:
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            self._slots.release()

        closing = asyncio.create_task(close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _take_or_open(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if _alive(connection):
                return connection
            await connection.close()
        # psycopg's own limit, in whole seconds from 2 on: it closes what it gives up.
        limit = str(max(2, math.ceil(self._connect_timeout)))
        keywords: dict[str, Any] = {**await self._conninfo(), "connect_timeout": limit}
        connection = await psycopg.AsyncConnection.connect(
            **keywords,
            application_name="phasegate/exporter",
            client_encoding="utf8",
            autocommit=True,
            prepare_threshold=None,
        )
        try:
            cursor = await connection.execute("SELECT pg_catalog.pg_backend_pid()")
            # A pooler gives its clients numbers of its own, and may change the server under us.
            if await cursor.fetchone() == (connection.pgconn.backend_pid,):
                connection.prepare_threshold = PREPARE_AFTER
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _give_back(self, connection: Connection) -> None:
        usable = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if usable and not self._closed and not connection.closed:
            self._idle.append(connection)
        else:
            await connection.close()


def _alive(connection: Connection) -> bool:
    """Whether an idle connection is still one: a server that went away leaves bytes to read."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
