"""What the demo reads out of the exporter's exposition, as any monitoring would do.

Text in, numbers out. `Scrape` is one exposition, `Window` the difference of two.
Latencies and times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Lookup:
    """Which lookup: the labels that tell its histogram from others."""

    query_type: str
    table: str


@dataclass(frozen=True)
class Partition:
    """A part of the audit log, or the whole of it before it is partitioned (`parent` empty)."""

    table: str
    parent: str
    size_bytes: float


@dataclass(frozen=True)
class Scrape:
    """One exposition. Bucket counts are cumulative, by upper edge, as they are exposed.

    `warnings` are the limits in force, by criterion, in the criterion's own unit.
    """

    time: float
    buckets: Mapping[Lookup, Mapping[float, float]] = field(default_factory=dict)
    absent: Mapping[Lookup, str] = field(default_factory=dict)
    cache_requests: Mapping[str, float] = field(default_factory=dict)
    cache_hits: Mapping[str, float] = field(default_factory=dict)
    audit_rows: float | None = None
    partitions: tuple[Partition, ...] = ()
    up: Mapping[str, bool] = field(default_factory=dict)
    health: Mapping[str, bool] = field(default_factory=dict)
    warnings: Mapping[str, float] = field(default_factory=dict)


def parse_scrape(text: str, time: float) -> Scrape:
    """Read an exposition; ValueError where it is none. `time` is when it was asked for."""
    buckets: dict[Lookup, dict[float, float]] = {}
    absent: dict[Lookup, str] = {}
    sums: dict[str, dict[str, float]] = {"cache_requests_total": {}, "cache_hits_total": {}}
    audit_rows: float | None = None
    partitions = []
    warnings: dict[str, float] = {}
    flags: dict[str, dict[str, bool]] = {"phasegate_up": {}, "phasegate_health_up": {}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            match sample.name:
                case "db_query_duration_seconds_bucket":
                    buckets.setdefault(_lookup(labels), {})[float(labels["le"])] = value
                case "phasegate_probe_absent" if value:
                    absent[_lookup(labels)] = labels["reason"]
                case "cache_requests_total" | "cache_hits_total":
                    of_scope = sums[sample.name]
                    of_scope[labels["scope"]] = of_scope.get(labels["scope"], 0) + value
                case "audit_logs_created_total":
                    audit_rows = (audit_rows or 0) + value
                case "pg_table_size_bytes":
                    partitions.append(Partition(labels["table"], labels["parent"], value))
                case "phasegate_criterion_threshold" if labels["severity"] == "warning":
                    warnings[labels["criterion"]] = value
                case "phasegate_up" | "phasegate_health_up":
                    flags[sample.name][next(iter(labels.values()))] = value == 1
    return Scrape(
        time=time,
        buckets=buckets,
        absent=absent,
        cache_requests=sums["cache_requests_total"],
        cache_hits=sums["cache_hits_total"],
        audit_rows=audit_rows,
        partitions=tuple(sorted(partitions, key=lambda part: part.table)),
        up=flags["phasegate_up"],
        health=flags["phasegate_health_up"],
        warnings=warnings,
    )


def _lookup(labels: Mapping[str, str]) -> Lookup:
    return Lookup(labels["query_type"], f"{labels['schema']}.{labels['table']}")


@dataclass(frozen=True)
class Ratio:
    """Counted, not a ratio of ratios; `share` is NaN where nothing was counted."""

    part: float
    whole: float

    @property
    def share(self) -> float:
        return self.part / self.whole if self.whole else nan


@dataclass(frozen=True)
class Window:
    """What happened between two scrapes of one exporter."""

    first: Scrape
    last: Scrape

    @property
    def seconds(self) -> float:
        return self.last.time - self.first.time

    def probes(self, lookup: Lookup) -> float:
        """Probes of the window that were answered."""
        return self._counts(lookup).get(inf, 0)

    def quantile(self, lookup: Lookup, share: float) -> float:
        """Seconds, interpolated within the bucket; NaN without probes."""
        return interpolate(self._counts(lookup), share)

    def over(self, lookup: Lookup, edge: float) -> Ratio | None:
        """Answered probes above `edge` seconds; None where no bucket ends there: no guess."""
        counts = self._counts(lookup)
        if edge not in counts:
            return None
        return Ratio(counts[inf] - counts[edge], counts[inf])

    def hit_rate(self, scope: str) -> Ratio | None:
        """Hits of the requests of the window; None where the scope is not exposed."""
        if scope not in self.last.cache_requests:
            return None
        requests, hits = (
            last.get(scope, 0) - first.get(scope, 0)
            for first, last in (
                (self.first.cache_requests, self.last.cache_requests),
                (self.first.cache_hits, self.last.cache_hits),
            )
        )
        return Ratio(hits, requests)

    @property
    def audit_bytes(self) -> float:
        """Bytes of the whole audit log, as of the last scrape."""
        return sum(part.size_bytes for part in self.last.partitions)

    @property
    def audit_rows(self) -> float | None:
        """Rows that reached the audit log; None where they are not counted."""
        if self.last.audit_rows is None or self.first.audit_rows is None:
            return None
        return self.last.audit_rows - self.first.audit_rows

    def _counts(self, lookup: Lookup) -> dict[float, float]:
        before = self.first.buckets.get(lookup, {})
        return {
            edge: count - before.get(edge, 0)
            for edge, count in sorted(self.last.buckets.get(lookup, {}).items())
        }


def interpolate(counts: Mapping[float, float], share: float) -> float:
    """The quantile `share` of cumulative counts by ascending upper edge.

    Linear within a bucket, as Prometheus does; above the last finite edge, that edge.
    """
    total = counts.get(inf, 0)
    if not total:
        return nan
    rank = share * total
    for (low, below), (high, up_to) in pairwise([(0.0, 0.0), *counts.items()]):
        if up_to >= rank:
            if high == inf:
                return low
            return low + (high - low) * (rank - below) / (up_to - below)
    return nan
