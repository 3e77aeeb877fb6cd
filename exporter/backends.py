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
END_SECONDS = 0.25
PREPARE_AFTER = 2
SETTLE_TRIES = 5

# Behind a pooler in transaction mode, where the next client would inherit what a session sets. It
# takes no snapshot, after which it would come too late.
READ_COMMITTED = "SET transaction_isolation TO 'read committed'"
WHO_SERVES = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SELECT pg_catalog.pg_backend_pid(); COMMIT"
)
# What a role's own settings would do before `SETTINGS` has run, or to others: as serializable, our
# reads could fail their writes, and on a standby no query runs at all.
SESSION = """
SET statement_timeout TO 0;
SET default_transaction_isolation TO 'read committed';
SET jit TO off
"""
TRANSACTION_TIMEOUT_SINCE = 170000

SETTINGS = """
SELECT
    pg_catalog.set_config('application_name', %(application)s, true),
    pg_catalog.set_config('statement_timeout', %(statement_ms)s, true),
    pg_catalog.set_config('lock_timeout', %(lock_ms)s, true),
    pg_catalog.set_config('transaction_read_only', 'on', true),
    pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
    pg_catalog.set_config('row_security', 'off', true),
    pg_catalog.set_config('timezone', 'UTC', true),
    pg_catalog.set_config('datestyle', 'ISO, YMD', true),
    pg_catalog.set_config('extra_float_digits', '1', true),
    pg_catalog.set_config('quote_all_identifiers', 'off', true)
"""

# By the beginning of an SQLSTATE; the longest counts.
STATES = {
    "08": "unreachable",
    "28": "authentication",
    "42": "undefined_object",
    "42501": "privilege",
    "3D": "undefined_object",
    "3F": "undefined_object",
    "53300": "too_many_connections",
    "55P03": "lock_timeout",
    "57014": "statement_timeout",
    "57P": "unreachable",
}
# libpq reports the server's refusals during connection as text only.
REFUSALS = (
    ("too many clients", "too_many_connections"),
    ("too many connections for", "too_many_connections"),
    ("remaining connection slots", "too_many_connections"),
    ("authentication failed", "authentication"),
    ("no password supplied", "authentication"),
    ("is not permitted to log in", "authentication"),
    ("no pg_hba.conf entry", "authentication"),
    ("permission denied for database", "privilege"),
)


def failure_reason(error: BaseException) -> str:
    """A short word for the label of an error; `internal` where the fault is ours."""
    if isinstance(error, CollectError):
        return error.reason
    if isinstance(error, SourceError):
        return "secret"
    text = str(error)
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        if isinstance(error, psycopg.errors.QueryCanceled) and "user request" in text:
            return "cancelled"
        found = [start for start in STATES if error.sqlstate.startswith(start)]
        return STATES[max(found, key=len)] if found else "database_error"
    if isinstance(error, psycopg.OperationalError):
        return next((reason for words, reason in REFUSALS if words in text), "unreachable")
    if isinstance(error, psycopg.Error):
        return "database_error"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "unreachable" if isinstance(error, OSError) else "internal"


class Session:
    """One borrowed connection with a deadline (event-loop time, seconds)."""

    def __init__(self, connection: Connection, application: str, deadline: float) -> None:
        self._connection = connection
        self._application = application
        self._deadline = deadline
        self.failed = False

    async def rows(self, query: Text, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Every row as a tuple."""
        [rows] = await self.batch((query, parameters))
        return rows

    async def batch(self, *questions: tuple[Text, Parameters]) -> list[list[tuple[Any, ...]]]:
        """The rows of each question, all sent at once: one transaction, one round trip.

        What gives no rows (PREPARE) gives an empty list.
        """
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
        pooled = self._connection.prepare_threshold is None
        async with self._connection.pipeline() as pipeline:
            if pooled:
                await self._connection.execute(READ_COMMITTED)
            await self._connection.execute(SETTINGS, settings)
            for cursor, (query, parameters) in zip(cursors, questions, strict=True):
                await cursor.execute(query, parameters)
            # At once, so that the server ends the transaction, and with it every lock, also if
            # this process is stopped before it reads the answer.
            await pipeline.sync()
        # Only now every answer is in, and with it whether it has rows at all.
        return [await c.fetchall() if c.description else [] for c in cursors]

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
        if task.exception() is not None:
            # psycopg takes for prepared what the server skipped after the error: whatever else this
            # session asks goes without, and the connection is not kept.
            self.failed, self._connection.prepare_threshold = True, None
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
        await _end(self._connection)


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
        self._refused: tuple[float, Exception] | None = None

    @asynccontextmanager
    async def session(self, collector: str, timeout: float) -> AsyncIterator[Session]:
        """Borrow a connection for at most `timeout` seconds, the wait for it included.

        Raises CollectError, psycopg.Error, OSError or TimeoutError; `failure_reason` names them.
        """
        asked = time.monotonic()
        deadline = asked + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise CollectError(collector, "no_backend", "all connections are in use") from None
        opening = asyncio.create_task(self._take_or_open(asked))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + timeout):
                connection = await asyncio.shield(opening)
        except BaseException:
            # A connect that is cut in the handshake leaves a backend at the server that waits for
            # a password: it goes on within its own limit, and the slot is taken until it is over.
            opening.add_done_callback(self._keep_late)
            raise
        session = Session(connection, f"phasegate/{collector}"[:63], deadline)
        try:
            yield session
        finally:
            await self._give_back(connection, usable=not session.failed)
            self._slots.release()

    async def close(self) -> None:
        """Close what is idle; what is borrowed closes when it is given back."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*map(_end, idle))
        # What is in its handshake ends it first: cut there, it would hold a backend for a minute.
        if self._opening:
            await asyncio.wait(self._opening, timeout=HANDSHAKE_SECONDS)
            await asyncio.sleep(0)  # lets their callbacks run, which close them
        await asyncio.gather(*self._closing)

    def _keep_late(self, opening: asyncio.Task[Connection]) -> None:
        """Keep a connection that came too late for the next who asks, then free its slot.

        Closed instead, a server that needs longer for it than a scrape has would never be measured.
        """

        async def keep() -> None:
            if not opening.cancelled() and opening.exception() is None:
                await self._give_back(opening.result())
            self._slots.release()

        closing = asyncio.create_task(keep())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _take_or_open(self, asked: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if _alive(connection):
                return connection
            await _end(connection)
        # What was refused since the caller asked is refused to the caller too: a dozen collectors
        # must not become a dozen failed logins in each scrape.
        if self._refused is not None and self._refused[0] >= asked:
            raise self._refused[1]
        began = time.monotonic()
        try:
            return await self._open()
        except Exception as error:
            self._refused = began, error
            raise

    async def _open(self) -> Connection:
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
            await settle_within_limits(connection)
        except BaseException:
            await _end(connection)
            raise
        return connection

    async def _give_back(self, connection: Connection, *, usable: bool = True) -> None:
        idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if usable and idle and not self._closed and not connection.closed:
            self._idle.append(connection)
        else:
            await _end(connection)


async def settle_within_limits(connection: Connection) -> None:
    """A role's own limit holds until it is lifted, and a busy server may not keep a millisecond:
    what it cuts is tried again."""
    for _ in range(SETTLE_TRIES - 1):
        try:
            return await _settle(connection)
        except psycopg.errors.QueryCanceled:
            await connection.rollback()
    return await _settle(connection)


async def _settle(connection: Connection) -> None:
    """Free a session of our own from its role's settings; a pooler's is left as it is."""
    cursor = await connection.execute(WHO_SERVES)
    cursor.nextset()
    # A pooler gives its clients numbers of its own, and may change the server under us.
    if await cursor.fetchone() == (connection.pgconn.backend_pid,):
        await connection.execute(SESSION)
        if connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            await connection.execute("SET transaction_timeout TO 0")
        connection.prepare_threshold = PREPARE_AFTER


async def _end(connection: Connection) -> None:
    """Close a connection, and wait until the server has ended the session: till then it counts."""
    try:
        line = socket.socket(fileno=os.dup(connection.pgconn.socket))
    except (OSError, psycopg.Error):
        return  # closed already
    with line, suppress(OSError, TimeoutError):
        line.setblocking(False)
        await connection.close()
        line.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(END_SECONDS):
            while await asyncio.get_running_loop().sock_recv(line, 4096):
                pass


def _alive(connection: Connection) -> bool:
    """Whether an idle connection is still one: a server that went away leaves bytes to read."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    return not poll.poll(0)
