"""The state of the schema: rows without a UUID, and what a broken migration leaves behind.

How many rows lack their UUID is estimated from the statistics at each scrape, and counted exactly
on a slow schedule and on the connection kept for that. A table that cannot be counted fails the
collector and has no figure, never 0; the other tables keep theirs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg
from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.names import ColumnName, TableName
from phasegate.contract.settings_tables import Table
from phasegate.exporter.backends import Backends, Session, failure_reason
from phasegate.exporter.counters import Counters
from phasegate.exporter.own_scans import fetch_counted
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import STALE_AFTER_INTERVALS, Collector
from phasegate.exporter.tables import table_parameters
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("schema")

SHORTEST_BUDGET_SECONDS = 30.0


class Schema(Collector):
    """What the catalog and the statistics say, at each scrape."""

    name = "schema"

    def __init__(self, target: Target, tables: Sequence[TableName], keyed: Sequence[Table]) -> None:
        self.target = self._database = target
        self._named = table_parameters(tables)
        self._keyed = uuid_columns(keyed)

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            state, estimates = await session.batch(
                (QUERIES["state"].sql, self._named), (QUERIES["estimates"].sql, self._keyed)
            )
        samples = [metrics.UUID_MISSING_ESTIMATED(rows, *table) for *table, rows in estimates]
        for *table, indexes, constraints, triggers in state:
            samples += [
                metrics.INVALID_INDEXES(indexes, *table),
                metrics.CONSTRAINTS_UNVALIDATED(constraints, *table),
                metrics.TRIGGERS_DISABLED(triggers, *table),
            ]
        return samples


class MissingUuids(Collector):
    """The exact counts. A table without the column yet has none, and that is no failure."""

    name = "schema/uuid_missing"

    def __init__(
        self,
        target: Target,
        slow: Backends,
        keyed: Sequence[Table],
        interval: float,
        counters: Counters,
    ) -> None:
        self.target = self._database = target
        self._counters = counters
        self._slow = slow
        self._keyed = uuid_columns(keyed)
        self.interval = interval
        self.budget = max(interval, SHORTEST_BUDGET_SECONDS)
        self._counted: dict[tuple[str, str], tuple[int, float]] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        counted: dict[tuple[str, str], tuple[int, float]] = {}
        failed: list[tuple[ColumnName, Exception]] = []
        try:
            async with self._slow.session(self.name, timeout) as session:
                for row in await session.rows(QUERIES["columns"].sql, self._keyed):
                    column = ColumnName(*row)
                    began = time.time()
                    try:
                        rows = await self._count_missing(session, column)
                    except psycopg.Error as error:
                        failed.append((column, error))
                    else:
                        counted[column.schema, column.table] = rows, began
        finally:
            self._counted = counted
        if failed:
            raise CollectError(
                self.name,
                failure_reason(failed[0][1]),
                "; ".join(f"{column}: {str(error).strip()}" for column, error in failed),
            )
        return ()

    async def _count_missing(self, session: Session, column: ColumnName) -> int:
        """Rows of the table in which the column is NULL."""
        query = sql.SQL(QUERIES["missing"].sql).format(
            table=sql.Identifier(column.schema, column.table), column=sql.Identifier(column.column)
        )
        table = TableName(column.schema, column.table)
        [(rows,)] = await fetch_counted(session, self._database, self._counters, table, query)
        return int(rows)

    def kept(self) -> Sequence[Sample]:
        """Here and not from `collect`, so that one table's failure costs only its own figure."""
        if not self._database.up:
            return ()
        oldest = time.time() - STALE_AFTER_INTERVALS * (self.interval or 0.0) - self.budget
        samples = []
        for table, (rows, moment) in self._counted.items():
            if moment >= oldest:
                samples.append(metrics.UUID_MISSING(rows, *table))
                samples.append(metrics.UUID_MISSING_COUNTED(moment, *table))
        return samples


def uuid_columns(keyed: Sequence[Table]) -> dict[str, list[str]]:
    """`schemas`, `tables` and `columns`, three lists side by side, for unnest()."""
    parameters = table_parameters([table.name for table in keyed])
    return parameters | {"columns": [table.uuid_column for table in keyed]}


def build(wiring: Wiring) -> list[Collector]:
    """On the primary, where tables are configured; the counts where some gain a UUID."""
    settings, target = wiring.settings, wiring.database
    tables = settings.named_tables
    if not tables:
        return []
    found: list[Collector] = [Schema(target, tables, settings.tables)]
    if settings.tables and target.slow is not None:
        interval, counters = settings.exporter.exact_count_interval, wiring.counters
        found.append(MissingUuids(target, target.slow, settings.tables, interval, counters))
    return found
