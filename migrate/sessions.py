"""Sessions of our own: every setting that matters is set, whatever the role or the database sets.

A role may come with a statement_timeout, read-only transactions, a search_path or another time
zone; row security may hide rows from us. So nothing is inherited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from phasegate.contract.errors import Interrupted, PlanRefused, SourceError, SourceUnavailable
from phasegate.migrate.model import Patience

APPLICATION_NAME = "phasegate migrate"
CONNECT_SECONDS = 10
TRANSACTION_TIMEOUT_VERSION = 170_000
CONNECTION_CHECK_VERSION = 140_000

Connection = psycopg.Connection[Any]

# Milliseconds: for a lock, for a statement; 0 is without end. A change of metadata waits less than
# deadlock_timeout (1 s) with everybody behind it in the queue, and gives way before the server
# picks a victim. CREATE INDEX CONCURRENTLY waits for old transactions, also under lock_timeout.
LIMITS = {
    Patience.METADATA: (500, 30_000),
    Patience.SCAN: (500, 0),
    Patience.CONCURRENT: (600_000, 0),
    Patience.BATCH: (1_000, 60_000),
}

_SETTINGS = {
    "default_transaction_read_only": "off",
    "transaction_read_only": "off",
    "search_path": "pg_catalog, pg_temp",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "client_min_messages": "warning",
    "row_security": "off",
    "session_replication_role": "origin",
    "idle_in_transaction_session_timeout": "0",
    "standard_conforming_strings": "on",
    "lo_compat_privileges": "off",
    "check_function_bodies": "off",
    "default_table_access_method": "heap",
    "default_tablespace": "",
    # Reads of the catalog are short, and look expensive to the planner.
    "jit": "off",
}
# Whoever is no superuser may not set these, and has their defaults.
_SUPERUSERS = {"session_replication_role", "lo_compat_privileges"}


def open_session(
    conninfo: Mapping[str, str], patience: Patience = Patience.BATCH, name: str = APPLICATION_NAME
) -> Connection:
    """A connection in autocommit, with the time-outs of `patience`; the caller closes it.

    Raises SourceUnavailable where the server does not let us in, PlanRefused behind a pooler that
    hands each transaction to another backend.
    """
    options = {"connect_timeout": str(CONNECT_SECONDS), **conninfo, "application_name": name}
    try:
        connection = psycopg.connect(**options, autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise SourceUnavailable("database", str(error).strip()) from None
    try:
        _prepare(connection)
        set_patience(connection, patience)
    except BaseException:
        connection.close()
        raise
    return connection


def set_patience(connection: Connection, patience: Patience) -> None:
    """The time-outs of that class, for what the session does from here on."""
    lock, statement = LIMITS[patience]
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
        (f"{lock}ms", f"{statement}ms"),
    )


def _prepare(connection: Connection) -> None:
    [[backend, superuser]] = connection.execute(
        "SELECT pg_backend_pid(), current_setting('is_superuser') = 'on'"
    ).fetchall()
    if backend != connection.info.backend_pid:
        raise PlanRefused(
            (
                "database.url leads to a pooler: the server process that answers is another than "
                "the one that was connected to, so locks of a session would be lost; name the "
                "server itself",
            )
        )
    # Each transaction may be on another backend even where the first one was the same.
    chosen = {
        name: value
        for name, value in _SETTINGS.items()
        if name != "transaction_read_only" and (superuser or name not in _SUPERUSERS)
    }
    if connection.info.server_version >= TRANSACTION_TIMEOUT_VERSION:
        chosen["transaction_timeout"] = "0"
    if connection.info.server_version >= CONNECTION_CHECK_VERSION:
        # What a killed runner began must not go on for hours in the way of the next one.
        chosen["client_connection_check_interval"] = "2s"
    calls = ", ".join("set_config(%s, %s, false)" for _ in chosen)
    connection.execute(
        f"SELECT {calls}".encode(), [part for pair in chosen.items() for part in pair]
    )


def is_lost(error: psycopg.Error) -> bool:
    """Whether the session is gone, or the server: not what was sent, but that it could be sent."""
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    # Class 08 is of connections; 57P is a session or a server that somebody ended. What libpq
    # finds out by itself has no code.
    return error.sqlstate is None or error.sqlstate[:3] in ("57P", "080")


@contextmanager
def interrupting() -> Iterator[None]:
    """A session that is lost in the block is no failure of the work: Interrupted. A right that our
    role lacks, where no step has failed for it, is a SourceError."""
    try:
        yield
    except psycopg.Error as error:
        _raise_unpermitted(error)
        if not is_lost(error):
            raise
        raise Interrupted(f"the server ended our session: {str(error).strip()}") from error


@contextmanager
def unreachable() -> Iterator[None]:
    """A session that is lost in the block, where nothing is under way: SourceUnavailable. A right
    that our role lacks is a SourceError."""
    try:
        yield
    except psycopg.Error as error:
        _raise_unpermitted(error)
        if not is_lost(error):
            raise
        raise SourceUnavailable("database", str(error).strip()) from error


def _raise_unpermitted(error: psycopg.Error) -> None:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        what = error.diag.message_primary or str(error).strip()
        raise SourceError(
            "database",
            f"our role lacks a right: {what}; connect as a role that has it, or give it what "
            "`phasegate init --grants` prints for phasegate_migrator",
        ) from error
