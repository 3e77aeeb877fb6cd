"""Indexes that no query reads: builds that broke off, and what they left behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from phasegate.operate.doctor import Finding, ok, problem, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "no invalid index, no debris of a build that broke off"
_PLACE = "database-operations.md#invalidindex"
_INVALID = """
SELECT
    i.indexrelid::regclass::text, i.indrelid::regclass::text, c.relname::text, c.relkind::text,
    EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND n.nspname !~ '^pg_'
ORDER BY 1
"""


class Invalid(NamedTuple):
    """Index and table as SQL writes them, the index's bare name, its relkind, whether it is being
    built."""

    place: str
    table: str
    name: str
    kind: str
    building: bool


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as connection:
        yield from evaluate_indexes([Invalid(*row) for row in fetch_rows(connection, _INVALID)])


def evaluate_indexes(found: list[Invalid]) -> Iterator[Finding]:
    """One finding each."""
    if not found:
        yield ok("every index is valid")
    for index, table, name, kind, building in found:
        if building:
            yield ok(f"{index} on {table} is being built")
        elif "_ccnew" in name or "_ccold" in name:
            yield problem(
                f"{index} on {table} is debris",
                "REINDEX CONCURRENTLY broke off; it is kept up at every write and read by nobody",
                f"DROP INDEX CONCURRENTLY {index};",
                _PLACE,
            )
        elif kind == "I":
            yield warning(
                f"{index} on {table} is of a partitioned table, and not valid",
                "some partition has no index that is attached to it yet",
                "CREATE INDEX CONCURRENTLY on each partition without one, then\n"
                f"ALTER INDEX {index} ATTACH PARTITION …;",
                _PLACE,
            )
        else:
            yield problem(
                f"{index} on {table} is invalid",
                "CREATE INDEX CONCURRENTLY failed or was cancelled; it is kept up at every write, "
                "and no query reads it",
                f"SET lock_timeout = '10min';\nREINDEX INDEX CONCURRENTLY {index};\n"
                "(one of the migration's own: phasegate migrate resume --until schema)",
                _PLACE,
            )
