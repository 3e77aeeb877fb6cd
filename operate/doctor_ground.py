"""What the checks stand on: sessions that can only read, and answers of HTTP services.

Every session is a single transaction, read-only, under short time-outs, with its settings local to
it: behind a pooler nothing stays on a connection that somebody else has next. A server that did
not answer once is not asked again, so that twenty checks do not wait for it one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import psycopg
import redis

from phasegate.contract.connection import database_conninfo
from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Settings
from phasegate.contract.settings_http import HttpAccess
from phasegate.migrate.cache_keys import open_cache
from phasegate.migrate.model import Patience
from phasegate.migrate.sessions import open_session
from phasegate.validators.http_get import Answer, fetch

APPLICATION_NAME = "phasegate doctor"
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 3
LOCK_SECONDS = 0.5
HTTP_SECONDS = 3.0
MOST_BYTES = 50_000_000
_LOCAL = {
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}ms",
    "idle_in_transaction_session_timeout": "15s",
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "client_min_messages": "warning",
    "jit": "off",
}

TREE = """
WITH RECURSIVE tree (oid) AS (
    SELECT c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS named (schema, name)
    JOIN pg_namespace AS n ON n.nspname = named.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
    UNION
    SELECT i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
)"""
"""Begins a query of the tables of `tables_of`, their partitions and children: `tree (oid)`."""

Connection = psycopg.Connection[Any]
_Decoded = TypeVar("_Decoded")


@dataclass
class Ground:
    """`settings` are those of the command, `load` reads them anew; `by` is who applies a fix."""

    settings: Settings
    load: Callable[[], Settings]
    by: str = ""
    _down: dict[str, SourceError] = field(default_factory=dict)
    _guards: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """A read-only transaction of the database; rolled back. Raises SourceError."""
        connection = self._once("database", self._connect)
        try:
            connection.read_only = True
            calls = ", ".join("set_config(%s, %s, true)" for _ in _LOCAL)
            values = [part for pair in _LOCAL.items() for part in pair]
            connection.execute(f"SELECT {calls}".encode(), values)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def look_by_session(self) -> Iterator[Connection]:
        """As `look`, in autocommit, for what makes its own transactions. PlanRefused behind a
        pooler."""
        conninfo = database_conninfo(self.settings.database)
        conninfo |= {"connect_timeout": str(CONNECT_SECONDS)}
        connection = self._once("database", lambda: open_session(conninfo, name=APPLICATION_NAME))
        try:
            values = {**_LOCAL, "default_transaction_read_only": "on"}
            calls = ", ".join("set_config(%s, %s, false)" for _ in values)
            connection.execute(
                f"SELECT {calls}".encode(), [part for pair in values.items() for part in pair]
            )
            yield connection
        finally:
            connection.close()

    def connect_to_write(self, patience: Patience) -> Connection:
        """A session of the mover, for a fix; the caller closes it. Raises as `open_session`."""
        return open_session(
            database_conninfo(self.settings.database), patience, name=APPLICATION_NAME
        )

    @contextmanager
    def cache(self) -> Iterator[redis.Redis]:
        """A client of the configured cache. Raises SourceError."""
        assert self.settings.cache is not None
        with ExitStack() as stack:
            cache = self.settings.cache
            yield self._once("cache", lambda: stack.enter_context(open_cache(cache)))

    def ask_prometheus(self, path: str, kind: type[_Decoded]) -> tuple[_Decoded, Answer]:
        """What the API answers at `path`, decoded, and the answer itself. Raises SourceError."""
        prometheus = self.settings.prometheus
        assert prometheus is not None
        base = prometheus.url.rstrip("/")
        answer = self.fetch("prometheus", f"{base}{path}", prometheus, prometheus.headers)
        return decode(answer, "prometheus", kind), answer

    def fetch(
        self, source: str, url: str, access: HttpAccess, headers: Mapping[str, Secret] = {}
    ) -> Answer:
        """One answer over HTTP of status 200. Raises SourceError."""
        answer = self._once(
            source,
            lambda: fetch(
                url,
                access,
                source,
                within_seconds=HTTP_SECONDS,
                limit=MOST_BYTES,
                headers={name: text.reveal() for name, text in headers.items()},
            ),
        )
        if answer.status != 200:
            raise SourceError(source, f"it answered with status {answer.status}, expected 200")
        return answer

    def _connect(self) -> Connection:
        conninfo = {
            **database_conninfo(self.settings.database),
            "connect_timeout": str(CONNECT_SECONDS),
            "application_name": APPLICATION_NAME,
        }
        try:
            return psycopg.connect(**conninfo)  # type: ignore[arg-type]
        except psycopg.Error as error:
            raise SourceUnavailable("database", str(error).strip()) from None

    def _once(self, source: str, connect: Callable[[], _Decoded]) -> _Decoded:
        """Whoever comes first finds out whether the source answers; the others wait for that."""
        with self._guard:
            guard = self._guards.setdefault(source, threading.Lock())
        with guard:
            if source in self._down:
                raise self._down[source]
            try:
                return connect()
            except (SourceUnavailable, SourceTimeout) as error:
                self._down[source] = error
                raise


def decode(answer: Answer, source: str, kind: type[_Decoded]) -> _Decoded:
    """The body, as JSON of that kind. Raises SourceError."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SourceError(source, "what it answers is not of its API") from None


def fetch_rows(connection: Connection, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """The rows of one query. Raises psycopg.Error."""
    return connection.execute(sql.encode(), parameters).fetchall()


def tables_of(settings: Settings) -> dict[str, list[str]]:
    """The named tables as the two arrays that queries take."""
    names = settings.named_tables
    return {"schemas": [one.schema for one in names], "tables": [one.table for one in names]}
