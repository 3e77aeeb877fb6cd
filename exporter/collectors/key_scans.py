"""Who still reads by which key: the scans of each key's indexes, counted on every node.

Raw on purpose. A scan may be a reader's, a foreign key's check or a probe of our own; beside the
scans stand our own, which the probe and our other questions count in their own backends, and the
most that foreign keys can explain. A backend knows its scans before the server shows them, by a
second as a rule and ten at most; of an index that was made since the last scrape the probe does
not know.

Statistics are each node's own, so a series is the sum over primary and replicas. The counters go
on through a reset of the statistics and through indexes that come and go; what was scanned before
the exporter saw it is not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.settings_tables import Table
from phasegate.exporter.collectors.schema import uuid_columns
from phasegate.exporter.counters import Counters
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("key_scans")

COUNTED = {"index": metrics.KEY_INDEX_SCANS, "reference": metrics.KEY_FOREIGN_KEY_SCANS}
FIRST_LOOK_SECONDS = 1.0
SHOWN = (*COUNTED.values(), metrics.KEY_OWN_SCANS)

Source = tuple[Any, ...]  # kind, schema, table, key, oid


class KeyScans(Collector):
    """The keys on one server. Only the primary's collector shows the counters, which all raise."""

    def __init__(self, target: Target, keyed: Sequence[Table], counters: Counters) -> None:
        self.name = "key_scans" if target.kind == "database" else f"key_scans/{target.name}"
        self.target = self.database = target
        self._keyed = uuid_columns(keyed)
        self._counters = counters
        self._epoch: str | None = None
        self._last: dict[Source, int] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self.database.fast.session(self.name, timeout) as session:
            rows = await session.rows(QUERIES["scans"].sql, self._keyed)
        if rows:
            self._count(rows)
        self.database.keys_counted.set()
        return ()

    def _count(self, rows: Sequence[tuple[Any, ...]]) -> None:
        epoch = rows[0][0]
        now: dict[Source, int] = {tuple(source): counted for _, *source, counted in rows}
        first_look = self._epoch is None or _database(self._epoch) != _database(epoch)
        moved = epoch != self._epoch
        if first_look:
            self._last = {}
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
            if kind == "index":
                self._counters.add(metrics.KEY_OWN_SCANS, 0, *labels)
        self._epoch, self._last = epoch, now

    def kept(self) -> Sequence[Sample]:
        if self.database.kind == "replica":
            return ()
        keys = {s.labels for s in self._counters.samples([metrics.KEY_INDEX_SCANS])}
        # A probe counts its scans of every index of the table, keys or not.
        return [s for s in self._counters.samples(SHOWN) if s.labels in keys]

    async def start(self) -> None:
        """A base line before any question of ours scans a key; without an answer the first scrape
        gives it."""
        if self._epoch is None:
            with suppress(Exception):
                await self.collect(FIRST_LOOK_SECONDS)

    def dump(self) -> Any:
        last = [[*source, counted] for source, counted in self._last.items()]
        return {"epoch": self._epoch, "last": last}

    def restore(self, data: Any) -> None:
        self._epoch = data["epoch"]
        if self._epoch is not None:
            self.database.keys_counted.set()
        self._last = {tuple(source): counted for *source, counted in data["last"]}


def _database(epoch: str) -> list[str]:
    """System identifier and oid of the database: what was read of another is no base line."""
    return epoch.split("/")[:2]


def build(wiring: Wiring) -> list[Collector]:
    """One for each database, where tables gain a UUID."""
    keyed = wiring.settings.tables
    return [KeyScans(t, keyed, wiring.counters) for t in wiring.databases] if keyed else []
