"""Latency of lookups by UUID and by integer, and of the user's own queries, as a probe sees them.

The probe process measures; this collector decides what it looks up, counts what it tells, and
starts it anew when the schema has changed what can be looked up.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.criteria import thresholds
from phasegate.contract.model import Exemplar, Sample
from phasegate.contract.settings import Settings
from phasegate.exporter.backends import Conninfo, Session
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.lookups import (
    Catalog,
    Column,
    Indexes,
    Plan,
    plan_lookups,
    wanted_tables,
)
from phasegate.exporter.prober import Prober
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.tables import table_parameters
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("latency")

REMEMBERED = 100
FIRST_LOOK_SECONDS = 5.0
TOLD = {"s": "seconds", "f": "class", "e": "error", "k": "skipped", "n": "slots"}


class Latency(Collector):
    """The lookups on one server."""

    def __init__(self, target: Target, wiring: Wiring, conninfo: Conninfo) -> None:
        self.name = "latency" if target.kind == "database" else f"latency/{target.name}"
        self.target = self.database = target
        self._settings: Settings = wiring.settings
        self._counters: Counters = wiring.counters
        self._histograms: Histograms = wiring.histograms
        self._evidence: EvidenceStore = wiring.evidence
        self._conninfo = conninfo
        self._plan: Plan | None = None
        self._flat: list[tuple[str, str, str]] = []
        self._indexes: Indexes = {}
        self._last_success = 0.0
        self._warning = thresholds(self._settings, "uuid_lookup_latency")["warning"]
        # A prefix that no other life of the exporter has, so that an exemplar names one probe.
        self._life, self._number = f"{time.time_ns() // 1_000_000:x}", 0
        self._recent: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._exemplary: dict[tuple[Any, ...], dict[str, Any]] = {}
        timeout = self._settings.exporter.probe_timeout
        self._prober = Prober(target.name, self._order, self._receive, timeout)

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self.database.fast.session(self.name, timeout) as session:
            catalog = await fetch_catalog(session, self._settings)
            keyed = table_parameters([table.name for table in self._settings.tables])
            rows = await session.rows(QUERIES["indexes"].sql, keyed)
        indexes: Indexes = {}
        for schema, table, key, oid in rows:
            indexes.setdefault((schema, table, key), []).append(oid)
        await self._follow(plan_lookups(self._settings, catalog), indexes)
        return self._gauges()

    def kept(self) -> Sequence[Sample]:
        replica = self.database.kind == "replica"
        if replica:
            durations = [
                s
                for s in self._histograms.samples([metrics.REPLICA_QUERY_DURATION])
                if s.labels[0] == self.database.name
            ]
        else:
            durations = self._histograms.samples([metrics.QUERY_DURATION])
        counted = self._counters.samples([metrics.PROBE_FAILURES, metrics.PROBE_SKIPPED])
        return [*durations, *(s for s in counted if s.labels[0] == self.database.name)]

    def probes(self) -> list[dict[str, Any]]:
        """The last events of the probe, and before them each older one that an exemplar names."""
        shown = {event["probe_id"]: event for event in [*self._exemplary.values(), *self._recent]}
        return sorted(shown.values(), key=lambda event: float(event["time"]))

    def dump(self) -> Any:
        return list(self._exemplary.values())

    def restore(self, data: Any) -> None:
        for event in data:
            self._remember_exemplary(event)

    async def stop(self) -> None:
        await self._prober.stop()

    async def _follow(self, plan: Plan, indexes: Indexes) -> None:
        """Probe by the plan; the running probe goes on where nothing but statistics changed."""
        if self._plan is not None and _same(self._plan, plan) and indexes == self._indexes:
            return
        await self._prober.stop()
        self._plan, self._indexes = plan, indexes
        self._flat = [timed.labels for timed in plan.timed]
        if self._flat:
            self._prober.start()

    async def _order(self) -> Mapping[str, Any]:
        assert self._plan is not None
        if self._settings.tables:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_SECONDS):
                    await self.database.keys_counted.wait()
        exporter = self._settings.exporter
        lookups: list[tuple[str, int]] = []
        groups: list[tuple[list[int], str, str, str]] = []
        for group in self._plan.groups:
            members = range(len(lookups), len(lookups) + len(group.timed))
            lookups += [(timed.sql, group.columns.index(timed.column)) for timed in group.timed]
            groups.append((list(members), group.draw, group.bounds, group.kind))
        conninfo = {
            **await self._conninfo(),
            "application_name": f"phasegate/{self.name}"[:63],
            "client_encoding": "utf8",
            "connect_timeout": str(max(2, int(exporter.connect_timeout))),
        }
        settings = {
            "statement_timeout": str(int(1000 * exporter.probe_timeout)),
            "default_transaction_read_only": "on",
            **self._plan.session_settings,
        }
        return {
            "conninfo": conninfo,
            "settings": settings,
            "interval": exporter.probe_interval,
            "timeout": exporter.probe_timeout,
            "lookups": lookups,
            "groups": groups,
            "scans": render_scans(self._indexes.values()) if self._indexes else "",
        }

    def _receive(self, event: dict[str, Any]) -> None:
        if "o" in event:
            keys = list(self._indexes)
            for number, scans in event["o"] if self.database.keys_counted.is_set() else ():
                self._counters.add(metrics.KEY_OWN_SCANS, scans, *keys[number])
            return
        labels, name = self._flat[event["l"]], self.database.name
        self._evidence.probe(self.database, labels, event)
        told = self._remember(labels, event)
        if "s" in event:
            self._last_success = event["t"]
            self._observe(labels, event, told)
        elif "f" in event:
            self._counters.add(metrics.PROBE_FAILURES, 1, name, *labels, event["f"])
        else:
            self._counters.add(metrics.PROBE_SKIPPED, event["n"], name, *labels, event["k"])

    def _observe(
        self, labels: tuple[str, str, str], event: Mapping[str, Any], told: dict[str, Any]
    ) -> None:
        exemplar = None
        if event["s"] > self._warning:
            exemplar = Exemplar((("probe_id", told["probe_id"]),), event["s"], event["t"])
            self._remember_exemplary(told)
        metric, shown = metrics.QUERY_DURATION, list(labels)
        if self.database.kind == "replica":
            metric, shown = metrics.REPLICA_QUERY_DURATION, [self.database.name, *labels]
        self._histograms.observe(metric, event["s"], *shown, exemplar=exemplar)

    def _remember(self, labels: tuple[str, str, str], event: Mapping[str, Any]) -> dict[str, Any]:
        """The event as the page tells it."""
        self._number += 1
        told: dict[str, Any] = {
            "probe_id": f"{self._life}-{self._number}",
            "time": event["t"],
            **dict(zip(metrics.QUERY_DURATION.labels, labels, strict=True)),
            **{name: event[key] for key, name in TOLD.items() if key in event},
        }
        self._recent.append(told)
        return told

    def _remember_exemplary(self, told: dict[str, Any]) -> None:
        """Keep the latest of each bucket, as the histogram does."""
        labels = [told[label] for label in metrics.QUERY_DURATION.labels]
        bucket = bisect_left(self._histograms.edges, told["seconds"])
        self._exemplary[(*labels, bucket)] = told

    def _gauges(self) -> list[Sample]:
        assert self._plan is not None
        absent = [
            metrics.PROBE_ABSENT(
                1, *(self.database.name, a.query_type, a.schema, a.table, a.reason)
            )
            for a in self._plan.absent
        ]
        seen = [metrics.PROBE_LAST_SUCCESS(self._last_success, self.database.name)]
        return absent + (seen if self._last_success else [])


async def fetch_catalog(session: Session, settings: Settings) -> Catalog:
    """The columns of every table that is looked up, as they are now."""
    tables = wanted_tables(settings)
    parameters = {"schemas": [s for s, _ in tables], "tables": [t for _, t in tables]}
    catalog: Catalog = {}
    for schema, table, *facts in await session.rows(QUERIES["columns"].sql, parameters):
        column = Column(*facts)
        catalog.setdefault((schema, table), {})[column.name] = column
    return catalog


def render_scans(indexes: Iterable[Sequence[int]]) -> str:
    """The query of our own scans, by the number of a key; `indexes` are each key's, by oid."""
    pairs = [(oid, number) for number, oids in enumerate(indexes) for oid in oids]
    oids, numbers = (f"{{{','.join(map(str, side))}}}" for side in zip(*pairs, strict=True))
    query = sql.SQL(QUERIES["own_scans"].sql)
    return query.format(oids=sql.Literal(oids), numbers=sql.Literal(numbers)).as_string()


def _same(one: Plan, other: Plan) -> bool:
    """Alike but for the share of a sampled table, which follows the statistics."""
    if one.absent != other.absent or len(one.groups) != len(other.groups):
        return False
    return all(
        (a.timed, a.kind) == (b.timed, b.kind) and (a.draw == b.draw or a.kind == "sample")
        for a, b in zip(one.groups, other.groups, strict=True)
    )


def build(wiring: Wiring) -> list[Collector]:
    """One for each database, where tables or lookups are configured."""
    if not wanted_tables(wiring.settings):
        return []
    return [Latency(t, wiring, t.conninfo) for t in wiring.databases if t.conninfo is not None]
