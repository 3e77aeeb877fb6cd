"""When the integer keys run out: how much of their range is used, and how fast it is going.

The sequence and the highest key are asked, each where the role may read it, and the greater one
counts: a sequence knows nothing of keys that were inserted as they are, and the highest key
nothing of those that were given out and rolled back. The highest key is one jump into its index.
So that those jumps do not drown the scans by which one sees whether the integer is still read,
this runs once a minute and not at every scrape.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence

from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.names import ColumnName, TableName
from phasegate.exporter.backends import Session
from phasegate.exporter.counters import Counters
from phasegate.exporter.own_scans import fetch_counted
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.tables import table_parameters
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("key_overflow")

INTERVAL_SECONDS = 60.0
WINDOW_SECONDS = 86_400.0
SHORTEST_SPAN_SECONDS = 50.0


class Growth:
    """What one key was at each look of the last day. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def observe(self, now: float, value: int) -> None:
        """Remember a look; a value that fell (a sequence set back) begins anew."""
        if self._seen and value < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, value))
        while now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()

    def seconds_until(self, highest: int) -> float | None:
        """Time to `highest` at the rate seen; infinite where it stood still, None too early."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        if last >= highest:
            return 0.0
        if ended - began < SHORTEST_SPAN_SECONDS:
            return None
        rate = (last - first) / (ended - began)
        return (highest - last) / rate if rate > 0 else math.inf


class KeyOverflow(Collector):
    """The integer keys on the primary."""

    name = "key_overflow"
    interval = INTERVAL_SECONDS

    def __init__(self, target: Target, tables: Sequence[TableName], counters: Counters) -> None:
        self.target = self._database = target
        self._counters = counters
        self._named = table_parameters(tables)
        self._growth: dict[tuple[ColumnName, int | None, bool], Growth] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        samples: list[Sample] = []
        seen: dict[tuple[ColumnName, int | None, bool], Growth] = {}
        async with self._database.fast.session(self.name, timeout) as session:
            columns = await session.rows(QUERIES["columns"].sql, self._named)
            for schema, table, name, highest, sequence, readable in columns:
                if sequence is None and not readable:
                    continue
                column = ColumnName(schema, table, name)
                value = await self._fetch_value(session, column, sequence, readable)
                # Sequence and highest key differ: a change of what is asked begins anew.
                source = column, sequence, readable
                growth = seen[source] = self._growth.get(source, Growth())
                growth.observe(time.monotonic(), value)
                samples.append(metrics.KEY_USED(max(0.0, value / highest), *column))
                until = growth.seconds_until(highest)
                if until is not None:
                    samples.append(metrics.KEY_OVERFLOW(until, *column))
        self._growth = seen
        return samples

    async def _fetch_value(
        self, session: Session, column: ColumnName, sequence: int | None, readable: bool
    ) -> int:
        """The greater of the sequence's last value and the highest key in the table, of what can
        be read; 0 for none."""
        rows: list[tuple[int]] = []
        if sequence is not None:
            rows += await session.rows(QUERIES["sequence"].sql, {"sequence": sequence})
        if readable:
            table = TableName(column.schema, column.table)
            rows += await fetch_counted(
                session, self._database, self._counters, table, _highest(column)
            )
        return max(int(value) for (value,) in rows)


def _highest(column: ColumnName) -> sql.Composed:
    return sql.SQL(QUERIES["highest"].sql).format(
        table=sql.Identifier(column.schema, column.table), column=sql.Identifier(column.column)
    )


def build(wiring: Wiring) -> list[Collector]:
    """The one collector, where tables are configured."""
    tables = wiring.settings.named_tables
    return [KeyOverflow(wiring.database, tables, wiring.counters)] if tables else []
