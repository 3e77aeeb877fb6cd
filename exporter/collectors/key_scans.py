"""Who still reads by which key: the scans of each key's indexes, counted on every node.

Raw on purpose. A scan may be a reader's, a foreign key's check or a probe of our own; beside the
scans stands the most that foreign keys can explain. Statistics are each node's own, so a series
is the sum over primary and replicas. The counters go on through a reset of the statistics and
through indexes that come and go; what was scanned before the exporter saw it is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.settings import Table
from phasegate.exporter.collectors.schema import uuid_columns
from phasegate.exporter.counters import Counters
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("key_scans")

COUNTED = {"index": metrics.KEY_INDEX_SCANS, "reference": metrics.KEY_FOREIGN_KEY_SCANS}

Source = tuple[Any, ...]  # kind, schema, table, key, oid


class KeyScans(Collector):
    """The keys on one server. Only the primary's collector shows the counters, which all raise."""

    def __init__(self, target: Target, keyed: Sequence[Table], counters: Counters) -> None:
        self.name = "key_scans" if target.kind == "database" else f"key_scans/{target.name}"
        self.target = self._database = target
        self._keyed = uuid_columns(keyed)
        self._counters = counters
        self._epoch: str | None = None
        self._last: dict[Source, int] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            rows = await session.rows(QUERIES["scans"].sql, self._keyed)
        if rows:
            self._count(rows)
        return ()

    def _count(self, rows: Sequence[tuple[Any, ...]]) -> None:
        epoch = rows[0][0]
        now: dict[Source, int] = {tuple(source): counted for _, *source, counted in rows}
        first_look, moved = self._epoch is None, epoch != self._epoch
        fell = any(counted < self._last.get(source, 0) for source, counted in now.items())
        if moved and fell:
            # A crash: all of them began anew. Both signs are needed, since the statistics are kept
            # over an orderly restart, and the moments can be reset alone.
            self._last = {}
        for source, counted in now.items():
            # After the first look, what was not there is new and began at 0; so did what fell,
            # by a reset of one table or of the whole database.
            before = counted if first_look else self._last.get(source, 0)
            risen = counted - before if counted >= before else counted
            kind, *labels, _ = source
            self._counters.add(COUNTED[kind], risen, *labels)
        self._epoch, self._last = epoch, now

    def kept(self) -> Sequence[Sample]:
        if self._database.kind == "replica":
            return ()
        return self._counters.samples(COUNTED.values())


def build(wiring: Wiring) -> list[Collector]:
    """One for each database, where tables gain a UUID."""
    keyed = wiring.settings.tables
    return [KeyScans(t, keyed, wiring.counters) for t in wiring.databases] if keyed else []
