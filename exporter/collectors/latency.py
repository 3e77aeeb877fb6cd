"""Latency of lookups by UUID and by integer, and of the user's own queries, as a probe sees them.

The probe process measures; this collector decides what it looks up, counts what it tells, and
starts it anew when the schema has changed what can be looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.settings import Settings
from phasegate.exporter.backends import Conninfo
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.lookups import Catalog, Column, Plan, plan_lookups, wanted_tables
from phasegate.exporter.prober import Prober
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("latency")

REMEMBERED = 100


class Latency(Collector):
    """The lookups on one server."""

    def __init__(self, target: Target, wiring: Wiring, conninfo: Conninfo) -> None:
        self.name = "latency" if target.kind == "database" else f"latency/{target.name}"
        self.target = self._database = target
        self._settings: Settings = wiring.settings
        self._counters: Counters = wiring.counters
        self._histograms: Histograms = wiring.histograms
        self._evidence: EvidenceStore = wiring.evidence
        self._conninfo = conninfo
        self._plan: Plan | None = None
        self._flat: list[tuple[str, str, str]] = []
        self._last_success = 0.0
        self.recent: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        timeout = self._settings.exporter.probe_timeout
        self._prober = Prober(target.name, self._order, self._receive, timeout)

    async def collect(self, timeout: float) -> Sequence[Sample]:
        tables = wanted_tables(self._settings)
        parameters = {"schemas": [s for s, _ in tables], "tables": [t for _, t in tables]}
        async with self._database.fast.session(self.name, timeout) as session:
            rows = await session.rows(QUERIES["columns"].sql, parameters)
        catalog: Catalog = {}
        for schema, table, *facts in rows:
            column = Column(*facts)
            catalog.setdefault((schema, table), {})[column.name] = column
        await self._follow(plan_lookups(self._settings, catalog))
        return self._gauges()

    def kept(self) -> Sequence[Sample]:
        replica = self._database.kind == "replica"
        if replica:
            durations = [
                s
                for s in self._histograms.samples([metrics.REPLICA_QUERY_DURATION])
                if s.labels[0] == self._database.name
            ]
        else:
            durations = self._histograms.samples([metrics.QUERY_DURATION])
        counted = self._counters.samples([metrics.PROBE_FAILURES, metrics.PROBE_SKIPPED])
        return [*durations, *(s for s in counted if s.labels[0] == self._database.name)]

    async def stop(self) -> None:
        await self._prober.stop()

    async def _follow(self, plan: Plan) -> None:
        """Probe by the plan; the running probe goes on where nothing but statistics changed."""
        if self._plan is not None and _same(self._plan, plan):
            return
        await self._prober.stop()
        self._plan = plan
        self._flat = [timed.labels for group in plan.groups for timed in group.timed]
        if self._flat:
            self._prober.start()

    async def _order(self) -> Mapping[str, Any]:
        assert self._plan is not None
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
        schemas = dict.fromkeys(["pg_catalog", *(labels[1] for labels in self._flat), "public"])
        path = ", ".join('"' + schema.replace('"', '""') + '"' for schema in schemas)
        settings = {
            "statement_timeout": str(int(1000 * exporter.probe_timeout)),
            "default_transaction_read_only": "on",
            "enable_indexonlyscan": "off",  # a lookup of a row reads the row
            "search_path": path,
        }
        return {
            "conninfo": conninfo,
            "settings": settings,
            "interval": exporter.probe_interval,
            "timeout": exporter.probe_timeout,
            "lookups": lookups,
            "groups": groups,
        }

    def _receive(self, event: dict[str, Any]) -> None:
        labels, name = self._flat[event["l"]], self._database.name
        self._evidence.probe(self._database, labels, event)
        # Events by the page's names: `t` Unix time, then `s` seconds, `f` class or `k` reason.
        self.recent.append(
            dict(zip(("query_type", "schema", "table"), labels, strict=True)) | event
        )
        if "s" in event:
            self._last_success = event["t"]
            if self._database.kind == "replica":
                metric = metrics.REPLICA_QUERY_DURATION
                self._histograms.observe(metric, event["s"], name, *labels)
            else:
                self._histograms.observe(metrics.QUERY_DURATION, event["s"], *labels)
        elif "f" in event:
            self._counters.add(metrics.PROBE_FAILURES, 1, name, *labels, event["f"])
        else:
            self._counters.add(metrics.PROBE_SKIPPED, event["n"], name, *labels, event["k"])

    def _gauges(self) -> list[Sample]:
        assert self._plan is not None
        absent = [
            metrics.PROBE_ABSENT(
                1, *(self._database.name, a.query_type, a.schema, a.table, a.reason)
            )
            for a in self._plan.absent
        ]
        seen = [metrics.PROBE_LAST_SUCCESS(self._last_success, self._database.name)]
        return absent + (seen if self._last_success else [])


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
