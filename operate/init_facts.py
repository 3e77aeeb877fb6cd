"""What the server's catalog says of every table, read in one snapshot and without a lock on any.

Sizes are the planner's own figures, since the size functions wait behind whoever locks a table. A
table that somebody holds, or waits for, in ACCESS EXCLUSIVE mode is told by name and read no
further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg

from phasegate.contract.names import TableName

INTEGERS = ("smallint", "integer", "bigint")
STATEMENT_SECONDS = 15

_SERVER = """
SELECT
    current_setting('server_version_num')::int,
    current_database()::text,
    current_user::text,
    pg_is_in_recovery(),
    pg_has_role(current_user, 'pg_monitor', 'USAGE')
"""
_IDENTITY = "SELECT system_identifier::text FROM pg_control_system()"
_FUNCTIONS = """
SELECT DISTINCT n.nspname::text, p.proname::text, p.prosrc
FROM pg_trigger AS g
JOIN pg_proc AS p ON p.oid = g.tgfoid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE NOT g.tgisinternal
"""
_TABLES = """
WITH RECURSIVE locked AS MATERIALIZED (
    SELECT DISTINCT l.relation
    FROM pg_locks AS l
    JOIN pg_database AS d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.mode = 'AccessExclusiveLock'
),
chosen AS MATERIALIZED (
    SELECT c.*, n.nspname, c.oid IN (SELECT relation FROM locked) AS locked
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'phasegate')
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
),
tree (root, oid) AS (
    SELECT oid, oid FROM chosen
    UNION ALL
    SELECT t.root, i.inhrelid FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid
),
sized AS MATERIALIZED (
    SELECT
        t.root,
        sum(CASE
            WHEN m.relkind <> 'r' THEN 0
            WHEN m.reltuples < 0 OR m.relpages = 0 THEN pg_stat_get_live_tuples(m.oid)
            ELSE m.reltuples
        END)::bigint AS rows,
        sum(m.relpages::bigint * current_setting('block_size')::int)::bigint AS bytes
    FROM tree AS t
    JOIN pg_class AS m ON m.oid = t.oid
    GROUP BY t.root
),
-- Once for all: asked for by name, the view is read through for each column.
nulls AS MATERIALIZED (
    SELECT p.schemaname, p.tablename, p.attname, max(p.null_frac) AS share
    FROM pg_stats AS p
    WHERE p.schemaname <> 'pg_catalog'
    GROUP BY p.schemaname, p.tablename, p.attname
),
listed AS MATERIALIZED (
    SELECT c.oid, json_agg(json_build_array(
        a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '',
        CASE WHEN a.atttypid = 'uuid'::regtype THEN u.share END
    ) ORDER BY a.attnum) AS columns
    FROM chosen AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN nulls AS u
        ON u.schemaname = c.nspname AND u.tablename = c.relname AND u.attname = a.attname
    GROUP BY c.oid
)
SELECT
    c.nspname::text, c.relname::text, c.relkind::text, s.rows, s.bytes, c.locked,
    has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
    COALESCE(CASE WHEN c.relkind = 'p' AND NOT c.locked THEN pg_get_partkeydef(c.oid) END, ''),
    COALESCE(l.columns, '[]'),
    ARRAY(
        SELECT a.attname::text
        FROM pg_constraint AS k
        CROSS JOIN unnest(k.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.number
        WHERE k.conrelid = c.oid AND k.contype = 'p'
        ORDER BY u.place
    ),
    ARRAY(
        SELECT a.attname::text
        FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
            AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indkey[0] > 0
    ),
    ARRAY(
        SELECT json_build_array(a.attname, fn.nspname, f.relname, b.attname)
        FROM pg_constraint AS k
        JOIN pg_class AS f ON f.oid = k.confrelid
        JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
        JOIN pg_attribute AS b ON b.attrelid = f.oid AND b.attnum = k.confkey[1]
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND cardinality(k.conkey) = 1
            AND NOT f.relispartition
        ORDER BY a.attname, k.conname
    ),
    ARRAY(
        SELECT json_build_array(
            g.tgname, gn.nspname, p.proname, g.tgtype & 17 = 17 AND g.tgenabled NOT IN ('D', 'R')
        )
        FROM pg_trigger AS g
        JOIN pg_proc AS p ON p.oid = g.tgfoid
        JOIN pg_namespace AS gn ON gn.oid = p.pronamespace
        WHERE g.tgrelid = c.oid AND NOT g.tgisinternal
        ORDER BY g.tgname
    )
FROM chosen AS c
JOIN sized AS s ON s.root = c.oid
LEFT JOIN listed AS l ON l.oid = c.oid
ORDER BY c.nspname, c.relname
"""


@dataclass(frozen=True)
class Column:
    """`type` as format_type writes it; `nulls` is the share of NULL when ANALYZE last looked, of
    a UUID only, None where it has not."""

    name: str
    type: str
    not_null: bool = False
    generated: bool = False
    nulls: float | None = None


@dataclass(frozen=True)
class Reference:
    """A foreign key of one column: from `column` to `table.referenced`."""

    column: str
    table: TableName
    referenced: str


@dataclass(frozen=True)
class Trigger:
    """One of the users' own; `rewrites` says that it fires for each row of an UPDATE."""

    name: str
    function: TableName
    rewrites: bool


@dataclass(frozen=True)
class Table:
    """`kind` is pg_class's relkind: r, p or f. `rows` and `bytes` are estimates, with those of the
    partitions; `key` the primary key's columns, `uniques` those that a unique index of their own
    has. `partition_key` is as pg_get_partkeydef writes it."""

    name: TableName
    kind: str
    rows: int = 0
    bytes: int = 0
    locked: bool = False
    readable: bool = True
    partition_key: str = ""
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    uniques: frozenset[str] = frozenset()
    references: tuple[Reference, ...] = ()
    triggers: tuple[Trigger, ...] = ()

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((one for one in self.columns if one.name == name), None)

    @property
    def integer_key(self) -> str:
        """Its one integer key; empty for another key or none."""
        found = self.column(self.key[0]) if len(self.key) == 1 else None
        return found.name if found is not None and found.type in INTEGERS else ""


@dataclass(frozen=True)
class Facts:
    """`version` is server_version_num; `system_identifier` is empty without the right to know;
    `functions` are the sources of what triggers call."""

    version: int
    database: str
    role: str
    standby: bool
    monitor: bool
    system_identifier: str
    tables: tuple[Table, ...]
    functions: Mapping[TableName, str]

    def get(self, name: TableName) -> Table | None:
        """The table of that name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[TableName, Table]:
        return {one.name: one for one in self.tables}


def fetch_facts(connection: psycopg.Connection[Any]) -> Facts:
    """Read it all. `connection` is in autocommit; from here on it only reads, and no statement of
    it lasts longer than 15 s. Raises psycopg.Error."""
    connection.execute(
        "SELECT set_config('default_transaction_read_only', 'on', false),"
        " set_config('statement_timeout', %s, false)",
        (f"{STATEMENT_SECONDS}s",),
    )
    identifier = _fetch_identifier(connection)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [server] = connection.execute(_SERVER.encode()).fetchall()
        functions = connection.execute(_FUNCTIONS.encode()).fetchall()
        rows = connection.execute(_TABLES.encode()).fetchall()
    version, database, role, standby, monitor = server
    return Facts(
        version=version,
        database=database,
        role=role,
        standby=standby,
        monitor=monitor,
        system_identifier=identifier,
        tables=tuple(_table(row) for row in rows),
        functions={TableName(schema, name): source for schema, name, source in functions},
    )


def _fetch_identifier(connection: psycopg.Connection[Any]) -> str:
    try:
        [[found]] = connection.execute(_IDENTITY.encode()).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return ""
    return str(found)


def _table(row: tuple[Any, ...]) -> Table:
    schema, name, kind, rows, size, locked, readable, partition_key, *parts = row
    columns, key, uniques, references, triggers = parts
    return Table(
        name=TableName(schema, name),
        kind=kind,
        rows=rows,
        bytes=size,
        locked=locked,
        readable=readable,
        partition_key=partition_key,
        columns=tuple(Column(*one) for one in columns),
        key=tuple(key),
        uniques=frozenset(uniques),
        references=tuple(
            Reference(column, TableName(to_schema, to), referenced)
            for column, to_schema, to, referenced in references
        ),
        triggers=tuple(
            Trigger(trigger, TableName(of, function), rewrites)
            for trigger, of, function, rewrites in triggers
        ),
    )
