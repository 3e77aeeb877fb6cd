"""Copies that a rehearsal, a restore or a rewrite left: they take the disk, and nobody looks.

A restore keeps the database of before under another name until somebody drops it; a rewrite of a
table keeps the copy until its step is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.migrate.findings import size
from phasegate.migrate.identifiers import quote
from phasegate.migrate.operations.reorder_columns import ReorderColumns
from phasegate.operate.doctor import Finding, ok, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "no database or table that a restore, a rehearsal or a rewrite left behind"
_PLACE = "migration.md#backup_restored"
_STAMP = "[0-9]{8}T[0-9]{6}Z"
_DATABASES = """
SELECT
    d.datname::text, split_part(substr(d.datname, length(current_database()) + 2), '_', 1),
    CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END
FROM pg_database AS d
WHERE left(d.datname, length(current_database()) + 1) = current_database() || '_'
    AND substr(d.datname, length(current_database()) + 2) ~ %s
ORDER BY 1
"""
_TABLES = """
SELECT c.oid::regclass::text, pg_table_size(c.oid)
FROM unnest(%s::text[], %s::text[]) AS named (schema, name)
JOIN pg_namespace AS n ON n.nspname = named.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
ORDER BY 1
"""


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    staged = [
        name
        for table in ground.settings.tables
        for name in ReorderColumns(table.name).names()
        if name != table.name
    ]
    with ground.look() as connection:
        databases = fetch_rows(connection, _DATABASES, (f"^(before|restored)_{_STAMP}$",))
        arrays = ([one.schema for one in staged], [one.table for one in staged])
        tables = fetch_rows(connection, _TABLES, arrays)
    for name, kind, taken in databases:
        how = "that of before" if kind == "before" else "half made, and was never taken over"
        told = "" if taken is None else f", {size(taken)}"
        yield warning(
            f"database {quote(name)}{told}",
            f"phasegate migrate rollback restored a backup; this one is {how}",
            f"DROP DATABASE {quote(name)};\n(once nobody needs what is in it: writes since the "
            "backup are there alone)",
            _PLACE,
        )
    for table, taken in tables:
        yield warning(
            f"{table}, {size(taken)}",
            "a rewrite of the table's columns is under way, or broke off",
            "phasegate migrate status\nphasegate migrate resume --until schema",
            "migration.md#migrationphasestuck",
        )
    if not databases and not tables:
        yield ok("none is there")
