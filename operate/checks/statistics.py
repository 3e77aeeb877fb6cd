"""Whether the planner knows the tables that lookups read: analysed at all, and since they changed.

`reltuples` does not tell: CREATE INDEX sets it too. What tells are the columns' statistics, which
are seen by whoever may read the columns, and is not under row security.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from phasegate.contract.errors import WorkFailed
from phasegate.contract.names import TableName
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Patience
from phasegate.operate.checks.lookup_plans import fetch_tables_read
from phasegate.operate.doctor import Finding, Fix, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "the tables that lookups read were analysed, and not too many changes ago"
STALE_SHARE, STALE_ROWS = 0.2, 1_000
_PLACE = "database-operations.md#highuuidlookuplatency"
_FACTS = """
SELECT
    n.nspname::text,
    c.relname::text,
    c.relkind = 'p' OR pg_relation_size(c.oid) > 0,
    has_any_column_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid),
    -- Of a table without a live row ANALYZE leaves nothing but its count.
    EXISTS (
        SELECT FROM pg_stats AS s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname
            AND s.inherited = (c.relkind = 'p')
    ) OR pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) > 0,
    COALESCE(pg_stat_get_mod_since_analyze(c.oid), 0),
    c.reltuples::double precision
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS named (schema, name)
JOIN pg_namespace AS n ON n.nspname = named.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
WHERE c.relkind IN ('r', 'p', 'm')
ORDER BY 1, 2
"""


class Facts(NamedTuple):
    """Of one table: whether it has rows, whether we may see its statistics, whether there are any,
    the rows that changed since, and the planner's estimate of all rows."""

    table: TableName
    filled: bool
    readable: bool
    analysed: bool
    changed: int
    rows: float


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as connection:
        names = fetch_tables_read(connection, ground.settings)
        parameters = {
            "schemas": [one.schema for one in names],
            "tables": [one.table for one in names],
        }
        rows = fetch_rows(connection, _FACTS, parameters)
    yield from evaluate_statistics([Facts(TableName(*row[:2]), *row[2:]) for row in rows])


def evaluate_statistics(tables: list[Facts]) -> Iterator[Finding]:
    """One finding for all that have none, one for all whose are old."""
    filled = [one for one in tables if one.filled]
    hidden = [one.table for one in filled if not one.readable]
    never = [one.table for one in filled if one.readable and not one.analysed]
    stale = [one for one in filled if one.analysed and _is_stale(one)]
    if never:
        yield problem(
            f"never analysed: {_listed(never)}",
            "the planner guesses: after a load or a restore nobody has counted yet (of a "
            "partitioned table autovacuum never does)",
            _analyze(never),
            _PLACE,
            _fix(never),
        )
    if stale:
        told = ", ".join(f"{qualify(one.table)} ({one.changed:,} rows changed)" for one in stale)
        names = [one.table for one in stale]
        yield warning(
            f"changed since the last ANALYZE: {told}",
            "the statistics are those of before a load or a backfill, or autovacuum is behind",
            _analyze(names),
            _PLACE,
            _fix(names),
        )
    if hidden:
        remedy = "phasegate init --grants > grants.sql"
        yield unknown(
            f"our role sees no statistics of {_listed(hidden)}",
            remedy,
            "exporter.md#collectorfailing",
        )
    good = len(filled) - len(never) - len(stale) - len(hidden)
    if good or not filled:
        yield ok(f"{good} of {len(filled)} tables are analysed, and changed little since")


def _is_stale(one: Facts) -> bool:
    return one.changed > max(STALE_ROWS, STALE_SHARE * max(0.0, one.rows))


def _listed(names: list[TableName]) -> str:
    return ", ".join(qualify(one) for one in names)


def _analyze(names: list[TableName]) -> str:
    return f"ANALYZE {_listed(names)};"


def _fix(names: list[TableName]) -> Fix:
    statement = _analyze(names)

    def apply(ground: Ground) -> str:
        # Of what is another's the server skips, and only warns.
        skipped: list[str] = []
        with closing(ground.connect_to_write(Patience.SCAN)) as connection:
            connection.add_notice_handler(lambda told: skipped.append(told.message_primary or ""))
            connection.execute(statement.encode())
        if skipped:
            raise WorkFailed(f"{statement} did not do all: {'; '.join(skipped)}")
        return f"ran {statement}"

    return Fix(f"run {statement}", apply)
