"""Watches committed changes through a temporary slot, and counts them against the audit log.

The slot lives as long as its session: it goes with a killed judge, and the server itself ends the
session of one that stands still, so that no WAL is kept for long. Of a row only its head is sent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from phasegate.contract.audit_proofs import Decoding
from phasegate.contract.names import TableName
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Audit
from phasegate.validators.decoded import LOG, Tally, UnreadLine

START_SECONDS, GRACE_SECONDS, CATCH_UP_SECONDS = 15.0, 15.0, 60.0
LATEST_SECONDS = START_SECONDS + GRACE_SECONDS + CATCH_UP_SECONDS + 10.0
"""Beyond the window itself."""
_PAUSE_SECONDS = 0.5
_CHUNK = 10_000
_FACTS = """
SELECT
    current_setting('wal_level'), pg_is_in_recovery(), pg_backend_pid(),
    (SELECT r.rolreplication OR r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user)
"""
_LIMITS = {
    "search_path": "pg_catalog, pg_temp",
    "quote_all_identifiers": "off",
    "default_transaction_isolation": "read committed",
    "tcp_user_timeout": "30s",
    "statement_timeout": f"{START_SECONDS:.0f}s",
}
# Known from 14 on: the server ends a session whose client is frozen, and a query of a dead one.
_LIMITS_SINCE_14 = {"idle_session_timeout": "30s", "client_connection_check_interval": "1s"}
_TREE = """
WITH RECURSIVE tree (oid, root) AS (
    SELECT c.oid, a.root
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS a (schema, name, root)
    JOIN pg_namespace AS n ON n.nspname = a.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = a.name
    UNION
    SELECT i.inhrelid, t.root FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
)
SELECT n.nspname::text, c.relname::text, t.root, c.relpersistence::text, c.relkind::text
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
"""
_CREATE = "SELECT pg_create_logical_replication_slot(%s, 'test_decoding', true)"
# A head holds both names, whatever they are; only a list of truncated tables is longer. Empty
# transactions are sent too: of one without changes, some releases send a message without its BEGIN.
_READ = """
SELECT
    xid::text::int8,
    CASE WHEN right(data, 64) LIKE '%%: TRUNCATE:%%' THEN data ELSE left(data, 300) END
FROM pg_logical_slot_get_changes(
    %s, %s::pg_lsn, %s, 'include-xids', '0', 'skip-empty-xacts', '0'
)
"""
_SLOTS = "free a replication slot, or raise max_replication_slots"


class _Doubt(Exception):
    """Why decoding proves nothing."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class _Window(NamedTuple):
    slot: str
    tally: Tally
    roots: dict[TableName, str]
    audit: Audit


def decode(connection: psycopg.Connection[Any], audit: Audit, seconds: float) -> Decoding:
    """The changes that were committed within `seconds` from now on; the slot is gone after it.

    `connection` is in autocommit, and no other's. Raises psycopg.Error where it is lost.
    """
    began = time.time()
    slot = f"phasegate_{os.getpid()}_{time.time_ns() % 10**12}"
    roots: dict[TableName, str] = {}
    writers = {name: set[str]() for name in ("trigger", "application")}
    for watch in audit.watch:
        writers[watch.writer].add(str(watch.table))
    window = _Window(slot, Tally(roots, writers["trigger"], writers["application"]), roots, audit)
    ended, doubt = began, _Doubt("", "")
    try:
        _prepare(connection, window)
        began = ended = time.time()
        ended = _watch(connection, window, began + seconds)
    except _Doubt as reason:
        doubt = reason
    except UnreadLine as error:
        doubt = _Doubt(str(error), "tell its release to the authors of Phasegate")
    except psycopg.Error as error:
        if connection.broken or connection.closed:
            raise
        doubt = _doubt_of(error)
    finally:
        with suppress(psycopg.Error):
            connection.execute(
                "SELECT pg_catalog.pg_drop_replication_slot(slot_name) "
                "FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
                [slot],
            )
    return window.tally.result(began, max(began, ended), doubt.reason, doubt.remedy)


def _prepare(connection: psycopg.Connection[Any], window: _Window) -> None:
    row = connection.execute(_FACTS).fetchone()
    assert row is not None
    level, in_recovery, pid, may = row
    if pid != connection.info.backend_pid:
        raise _Doubt("it is behind a pooler", "set database.url to the server itself")
    if in_recovery:
        raise _Doubt("the server is a standby", "set database.url to the primary")
    if level != "logical":
        remedy = "set wal_level = logical and restart the server, or leave decoding out"
        raise _Doubt(f"wal_level is {level}", remedy)
    if not may:
        raise _Doubt("its role may not replicate", "ALTER ROLE … REPLICATION")
    since_14 = connection.info.server_version >= 140_000
    for name, value in (_LIMITS | (_LIMITS_SINCE_14 if since_14 else {})).items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
    _learn_tables(connection, window)
    connection.execute(_CREATE, [window.slot])
    # Partitions that came while the slot was waiting for its start.
    _learn_tables(connection, window)


def _learn_tables(connection: psycopg.Connection[Any], window: _Window) -> None:
    """Which tables are whose partitions; what left meanwhile stays known."""
    wanted = {one.table: str(one.table) for one in window.audit.watch}
    wanted[window.audit.table] = LOG
    names = [[one.schema for one in wanted], [one.table for one in wanted], [*wanted.values()]]
    seen = set()
    for schema, table, root, persistence, kind in connection.execute(_TREE, names):
        name = TableName(schema, table)
        seen.add(name)
        if kind not in ("r", "p"):
            raise _Doubt(f"{name} is no table", "watch tables of this server")
        if persistence != "p":
            reason = f"{name} is unlogged or temporary: its changes cannot be decoded"
            raise _Doubt(reason, f"ALTER TABLE {sql.Identifier(*name).as_string()} SET LOGGED")
        if window.roots.setdefault(name, root) != root:
            raise _Doubt(f"{name} belongs to two watched tables", "judge again at a quieter time")
    missing = [str(name) for name in wanted if name not in seen]
    if missing:
        reason = f"there is no table {', '.join(missing)}"
        raise _Doubt(reason, "correct audit.table and audit.watch")


def _watch(connection: psycopg.Connection[Any], window: _Window, until: float) -> float:
    """Feeds the tally until then, and until the application's rows have come; the window's end."""
    while (left := until - time.time()) > 0:
        time.sleep(min(_PAUSE_SECONDS, left))
        _read(connection, window, until + CATCH_UP_SECONDS)
    ended = time.time()
    _read(connection, window, ended + CATCH_UP_SECONDS)
    window.tally.close_window()
    while window.tally.waits and time.time() < ended + GRACE_SECONDS:
        time.sleep(_PAUSE_SECONDS)
        _read(connection, window, ended + GRACE_SECONDS + CATCH_UP_SECONDS)
    _learn_tables(connection, window)
    return ended


def _read(connection: psycopg.Connection[Any], window: _Window, deadline: float) -> None:
    """All that was committed until now; in chunks of whole transactions."""
    [[end]] = connection.execute("SELECT pg_catalog.pg_current_wal_flush_lsn()::text").fetchall()
    _learn_tables(connection, window)
    more = True
    while more:
        left = deadline - time.time()
        if left <= 0:
            reason = f"the server writes more than can be read {CATCH_UP_SECONDS:.0f} s later"
            raise _Doubt(reason, "decode at a quieter time")
        limit = f"{max(1, int(left * 1_000))}ms"
        connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", [limit])
        more = False
        for xid, line in _changes(connection, window.slot, end):
            window.tally.feed(xid, line)
            more = True


def _changes(connection: psycopg.Connection[Any], slot: str, end: str) -> Iterator[tuple[int, str]]:
    """One row at a time, so that a transaction of any size fits into memory."""
    with connection.cursor() as cursor:
        yield from cursor.stream(_READ, [slot, end, _CHUNK])


def _doubt_of(error: psycopg.Error) -> _Doubt:
    match error:
        case psycopg.errors.UndefinedFile() | psycopg.errors.UndefinedObject():
            return _Doubt("the server has no plugin test_decoding", "install PostgreSQL's contrib")
        case psycopg.errors.InsufficientPrivilege():
            return _Doubt("its role may not replicate", "ALTER ROLE … REPLICATION")
        case psycopg.errors.ConfigurationLimitExceeded():
            return _Doubt("every replication slot is taken", _SLOTS)
        case psycopg.errors.QueryCanceled():
            reason = "the slot was not ready in time: a transaction is open for long"
            return _Doubt(reason, "end it, or judge again at a quieter time")
    said = redactor(error.diag.message_primary or type(error).__name__)
    return _Doubt(f"the server refused: {said}", "see the server's log")
