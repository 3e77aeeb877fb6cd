"""Changes one row that the user named, counts what the trigger wrote of it, and rolls both back.

The transaction reads one snapshot that is older than its own number. So of all that it can see,
only what it wrote itself, in subtransactions of a trigger too, is not older than that number.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from phasegate.contract.audit_proofs import Canary
from phasegate.contract.names import TableName
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Audit, Watch

_LIMITS = """
SET LOCAL lock_timeout = '100ms';
SET LOCAL statement_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '5s';
SET LOCAL phasegate.backfill = '';
"""
# The server looks whether its client still lives while a trigger runs; known from 14 on.
_CHECK = "SET LOCAL client_connection_check_interval = '500ms'"
_CHECK_SINCE = 140_000
_TABLE = """
SELECT
    c.oid::int8,
    pg_catalog.row_security_active(c.oid),
    pg_catalog.has_column_privilege(c.oid, %(column)s::text, 'SELECT')
    AND pg_catalog.has_column_privilege(c.oid, 'xmin', 'SELECT'),
    pg_catalog.current_setting('session_replication_role')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
"""
# One outside of every index is changed with the least work, and no key is touched.
_COLUMNS = """
SELECT
    a.attname::text,
    pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
    AND pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = '' AND a.attidentity = ''
ORDER BY
    2 DESC,
    EXISTS (
        SELECT FROM pg_catalog.pg_index AS i
        WHERE i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)
    ),
    a.attnum
LIMIT 1
"""
# Bounds beyond any zone that a time without one may be written in; first the likely ones.
_SPANS_SECONDS = (120.0, 86_400.0)


class _Doubt(Exception):
    """Why the canary proves nothing."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


class _Found(NamedTuple):
    column: str
    updated: int
    log_rows: int


def try_canary(connection: psycopg.Connection[Any], watch: Watch, audit: Audit) -> Canary:
    """What the row's update wrote; the transaction ends before this returns.

    `connection` is in autocommit. Raises psycopg.Error where the connection itself is lost.
    """
    began, opened = time.time(), False
    found, doubt = _Found("", 0, 0), _Doubt("", "")
    try:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
        opened = True
        found = _change_row(connection, watch, audit)
    except _Doubt as reason:
        doubt = reason
    except psycopg.Error as error:
        if connection.broken or connection.closed:
            raise
        doubt = _doubt_of(error, watch)
    finally:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
    return Canary(
        *(str(watch.table), began, time.time(), *found),
        *(int(opened), doubt.reason, doubt.remedy),
    )


def _change_row(connection: psycopg.Connection[Any], watch: Watch, audit: Audit) -> _Found:
    connection.execute(_LIMITS)
    if connection.info.server_version >= _CHECK_SINCE:
        connection.execute(_CHECK)
    connection.execute("SELECT")  # the snapshot, before there is a number of its own
    _check_log(connection, audit)
    column = _choose_column(connection, watch)
    table, keys = _name(*watch.table), list(watch.canary)
    where = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(_name(key)) for key in keys)
    values = [_text(value) for value in watch.canary.values()]
    told = f"{watch.table} with {', '.join(keys)} as configured"
    asked = sql.SQL("SELECT FROM {} WHERE {} LIMIT 2").format(table, where)
    rows = len(connection.execute(asked, values).fetchall())
    if rows != 1:
        there = "no row" if not rows else "more than one row"
        remedy = "name one row that stays, by its key (audit.watch[].canary)"
        raise _Doubt(f"there is {there} of {told} that it can see", remedy)
    change = sql.SQL("UPDATE {} SET {column} = {column} WHERE {}").format(
        table, where, column=_name(column)
    )
    updated = connection.execute(change, values).rowcount
    if updated != 1:
        reason = "a trigger or a policy withheld the update"
        raise _Doubt(reason, "let the canary's role update the row, or name another one")
    # A trigger that is deferred would write only at a commit, which never comes.
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    return _Found(column, updated, _count_rows(connection, audit))


def _check_log(connection: psycopg.Connection[Any], audit: Audit) -> None:
    names = {**audit.table._asdict(), "column": audit.time_column}
    row = connection.execute(_TABLE, names).fetchone()
    if row is None:
        raise _Doubt(f"there is no table {audit.table}", "set audit.table to the audit log")
    _, guarded, readable, role = row
    if guarded:
        reason = f"row security hides rows of {audit.table}, so none seen is not none written"
        raise _Doubt(reason, "let a role with BYPASSRLS judge")
    if not readable:
        column = sql.Identifier(audit.time_column).as_string()
        grant = f"GRANT SELECT ({column}, xmin) ON {_shown(audit.table)} TO …"
        raise _Doubt(f"its role may not read {audit.table}", grant)
    if role != "origin":
        reason = f"session_replication_role is {role}, under which triggers may not fire"
        raise _Doubt(reason, "let it be origin for the role that judges")


def _choose_column(connection: psycopg.Connection[Any], watch: Watch) -> str:
    row = connection.execute(_TABLE, {**watch.table._asdict(), "column": None}).fetchone()
    if row is None:
        raise _Doubt(f"there is no table {watch.table}", "correct audit.watch")
    found = connection.execute(_COLUMNS, [row[0]]).fetchone()
    if found is None:
        raise _Doubt("it has no column that can be set", "leave its canary out")
    column, allowed = found
    if not allowed:
        names = [sql.Identifier(name).as_string() for name in (column, *watch.canary)]
        shown, table = ", ".join(dict.fromkeys(names)), _shown(watch.table)
        grant = f"GRANT SELECT ({shown}), UPDATE ({names[0]}) ON {table} TO …"
        raise _Doubt("its role may not update any column", grant)
    return str(column)


def _count_rows(connection: psycopg.Connection[Any], audit: Audit) -> int:
    [[now]] = connection.execute("SELECT EXTRACT(EPOCH FROM now())::float8").fetchall()
    count = sql.SQL(
        "SELECT count(*) FROM {table} WHERE {time} >= to_timestamp(%s) "
        "AND {time} <= to_timestamp(%s) AND age(xmin) <= 0"
    ).format(table=_name(*audit.table), time=_name(audit.time_column))
    rows = 0
    for span in _SPANS_SECONDS:
        [[rows]] = connection.execute(count, [now - span, now + span]).fetchall()
        if rows:
            break
    return int(rows)


def _doubt_of(error: psycopg.Error, watch: Watch) -> _Doubt:
    table = _shown(watch.table)
    match error:
        case psycopg.errors.LockNotAvailable():
            return _Doubt("the row or a table was locked for longer than 100 ms", "judge again")
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            return _Doubt("the row was changed by another meanwhile", "judge again")
        case psycopg.errors.QueryCanceled():
            return _Doubt("it was not done within 2 s", "see what makes the update slow")
        case psycopg.errors.ReadOnlySqlTransaction():
            return _Doubt("the server takes no writes", "set database.url to the primary")
        case psycopg.errors.InsufficientPrivilege():
            said = redactor(error.diag.message_primary or "no privilege")
            remedy = f"phasegate init --grants prints what the canary of {table} needs"
            return _Doubt(said, remedy)
    # What a trigger says may hold the row's data; its kind does not.
    kind = f"{type(error).__name__} ({error.sqlstate or 'no state'})"
    return _Doubt(f"the update failed: {kind}", "see the server's log")


def _shown(table: TableName) -> str:
    return sql.Identifier(*table).as_string()


def _name(*parts: str) -> sql.SQL:
    """A name beside parameters, where a percent sign would begin one."""
    return sql.SQL(sql.Identifier(*parts).as_string().replace("%", "%%"))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
