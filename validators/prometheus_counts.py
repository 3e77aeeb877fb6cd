"""Blocks of counts from raw samples, subtracted between scrapes and never by `rate()`. Pure.

What was counted between two scrapes counts only where both are of one life of the exporter, of one
server and of the same settings, and no counter fell: a counter that began anew and has overtaken
itself betrays it by the exporter's start alone. It bears the identity that both scrapes found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from phasegate.contract import metrics
from phasegate.contract.evidence import CACHE, DATABASE, LONGEST_SCRAPE_SECONDS
from phasegate.contract.model import Block, Metric, Series
from phasegate.contract.promql import JUDGED_LOOKUP
from phasegate.validators.prometheus_api import Doubted
from phasegate.validators.prometheus_samples import History, Labels, Stamp

LATENCY, HIT_RATE = "uuid_lookup_latency", "cache_hit_rate"
BUSY = "server_busy"
GAP_SECONDS = 60.0
SCRAPES_OF_A_GAP = 3
"""So many usual intervals between two scrapes are one too; what is longer nobody watched."""


class _Reading(NamedTuple):
    """What stood at one scrape: counts of each bucket (not cumulative), failed and skipped, or
    lookups and hits."""

    stamp: Stamp
    settings_hash: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class _Lost(NamedTuple):
    failed: Mapping[float, int]
    skipped: Mapping[float, int]


def make_latency(history: History, length: float) -> list[Series]:
    """The probes of every target and table, in blocks of about `length` seconds. Raises Doubted."""
    found = []
    for metric in (metrics.QUERY_DURATION, metrics.REPLICA_QUERY_DURATION):
        buckets = _by_subject(metric, history.series(metric, f"{metric.name}_bucket"))
        counts = history.series(metric, f"{metric.name}_count")
        if not buckets and any(row.native for row in history.rows(metric.name)):
            raise Doubted(
                f"{metric.name} is kept as a native histogram only, without an edge at the "
                "limit; let Prometheus keep the classic buckets too"
            )
        for subject in sorted(buckets.keys() | counts.keys()):
            stood = (buckets.get(subject, {}), counts.get(subject, {}))
            names = dict(zip(metric.labels, subject, strict=True))
            if names["query_type"] == JUDGED_LOOKUP:
                found += _latency_of(history, names, *stood, length)
    return found


def make_hit_rate(history: History, scope: str, application: str, length: float) -> list[Series]:
    """The lookups of every cache that this scope counts; `application` identifies the one whose
    counts the exporter passes on."""
    requests = history.series(metrics.CACHE_REQUESTS)
    hits = history.series(metrics.CACHE_HITS)
    read = history.succeeded(CACHE if scope == "server" else scope)
    digests = _hashes(history, HIT_RATE, "", "")
    stamps = history.stamps(CACHE if scope == "server" else DATABASE)
    found = []
    for labels, points in sorted(requests.items()):
        cache, counted_by = labels
        if counted_by != scope:
            continue
        readings = {}
        for moment in sorted(points.keys() & read & stamps.keys()):
            if moment not in hits.get(labels, {}):
                raise Doubted(f"lookups of {cache} without hits at one moment")
            counts = (_count(points[moment]), _count(hits[labels][moment]))
            if counts[1] > counts[0]:
                raise Doubted(f"{counts[1]} hits of {counts[0]} lookups in {cache}")
            stamp = stamps[moment]
            if scope != "server":
                stamp = Stamp(stamp.started, application, "")
            readings[moment] = _Reading(stamp, digests.get(moment, ""), (), counts)
        blocks = _blocks(readings, history, length)[()]
        found.append(Series(HIT_RATE, cache, scope, "", "", tuple(blocks)))
    return found


def _by_subject(
    metric: Metric, series: Mapping[Labels, Mapping[float, float]]
) -> dict[Labels, dict[float, dict[float, float]]]:
    """By the labels without the edge: the cumulative count of each edge at each scrape."""
    found: dict[Labels, dict[float, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for (*subject, text), points in series.items():
        try:
            edge = float(text)
        except ValueError:
            raise Doubted(f"{metric.name} has a bucket edge {text[:40]!r}") from None
        if math.isnan(edge):
            raise Doubted(f"{metric.name} has a bucket edge {text[:40]!r}")
        for moment, value in points.items():
            at_once = found[tuple(subject)][moment]
            if edge in at_once:
                raise Doubted(f"{metric.name} has the bucket edge {edge:g} twice at one moment")
            at_once[edge] = value
    return found


def _latency_of(
    history: History,
    names: Mapping[str, str],
    cumulative: Mapping[float, Mapping[float, float]],
    totals: Mapping[float, float],
    length: float,
) -> list[Series]:
    target, schema, table = names.get("target", DATABASE), names["schema"], names["table"]
    digests, stamps = _hashes(history, LATENCY, schema, table), history.stamps(target)
    lost = _find_lost(history, (target, JUDGED_LOOKUP, schema, table))
    readings = {}
    for moment in sorted((cumulative.keys() | totals.keys()) & stamps.keys()):
        edges, parts = _read_buckets(cumulative.get(moment, {}), totals.get(moment))
        parts += (lost.failed.get(moment, 0), lost.skipped.get(moment, 0))
        readings[moment] = _Reading(stamps[moment], digests.get(moment, ""), edges, parts)
    return [
        Series(LATENCY, target, "", schema, table, tuple(blocks), edges)
        for edges, blocks in _blocks(readings, history, length).items()
        if edges
    ]


def _read_buckets(
    cumulative: Mapping[float, float], total: float | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The finite edges and the count of each bucket; raises Doubted for what cannot be."""
    if math.inf not in cumulative or total is None:
        raise Doubted("a histogram is not whole: no +Inf bucket, or no count beside it")
    ordered = sorted(cumulative.items())
    counts = [0, *(_count(value) for _, value in ordered)]
    if counts[-1] != _count(total):
        raise Doubted(f"a histogram has {counts[-1]} in its buckets, {total:g} in all")
    parts = tuple(upper - lower for lower, upper in pairwise(counts))
    if min(parts) < 0:
        raise Doubted("the buckets of a histogram fall with their edges")
    return tuple(edge for edge, _ in ordered[:-1]), parts


def _find_lost(history: History, subject: Labels) -> _Lost:
    """Failed probes, and those skipped because the server was busy; what never was has no series,
    and began at 0."""
    failed: dict[float, int] = defaultdict(int)
    skipped: dict[float, int] = defaultdict(int)
    for labels, points in history.series(metrics.PROBE_FAILURES).items():
        if labels[:4] == subject:
            for moment, value in points.items():
                failed[moment] += _count(value)
    for labels, points in history.series(metrics.PROBE_SKIPPED).items():
        if labels == (*subject, BUSY):
            for moment, value in points.items():
                skipped[moment] += _count(value)
    return _Lost(failed, skipped)


def _hashes(history: History, criterion: str, schema: str, table: str) -> dict[float, str]:
    """The hash of the settings that were counted by, at each scrape."""
    found: dict[float, str] = {}
    for labels, points in history.series(metrics.MEASURED_SETTINGS_INFO).items():
        if labels[:3] == (criterion, schema, table):
            for moment in (moment for moment, value in points.items() if value == 1):
                if found.setdefault(moment, labels[3]) != labels[3]:
                    raise Doubted(f"{criterion} is counted by two settings at one moment")
    return found


def _blocks(
    readings: Mapping[float, _Reading], history: History, length: float
) -> dict[tuple[float, ...], list[Block]]:
    """By edges: what was gained between scrapes, joined within slots of the wall clock."""
    found: dict[tuple[float, ...], list[Block]] = defaultdict(list)
    usual = min(history.interval, LONGEST_SCRAPE_SECONDS)
    longest = max(GAP_SECONDS, SCRAPES_OF_A_GAP * usual)
    for (start, before), (end, after) in pairwise(sorted(readings.items())):
        gained = _gain(before, after)
        if gained is None or end - start > longest:
            continue
        block = _block(start, end, after, gained)
        same = found[after.edges]
        if same and _joins(same[-1], block, length):
            same[-1] = _join(same[-1], block)
        else:
            same.append(block)
    return found


def _gain(before: _Reading, after: _Reading) -> tuple[int, ...] | None:
    """What each count gained; None where they are not of one series of counts."""
    if before[:3] != after[:3]:
        return None
    gained = tuple(new - old for old, new in zip(before.counts, after.counts, strict=True))
    return None if min(gained) < 0 else gained


def _block(start: float, end: float, of: _Reading, gained: tuple[int, ...]) -> Block:
    stamp = of.stamp
    names = (start, end, f"{stamp.started:.3f}/{stamp.epoch}", stamp.identity, of.settings_hash)
    if of.edges:
        *buckets, failed, skipped = gained
        return Block(*names, sum(gained), buckets=tuple(buckets), failed=failed, skipped=skipped)
    return Block(*names, gained[0], good=gained[1])


def _joins(last: Block, block: Block, length: float) -> bool:
    alike = (last.epoch, last.identity, last.settings_hash) == (
        *(block.epoch, block.identity, block.settings_hash),
    )
    return alike and last.end == block.start and last.end // length == block.end // length


def _join(last: Block, block: Block) -> Block:
    return Block(
        *(last.start, block.end, block.epoch, block.identity, block.settings_hash),
        last.total + block.total,
        good=last.good + block.good,
        buckets=tuple(a + b for a, b in zip(last.buckets, block.buckets, strict=True)),
        failed=last.failed + block.failed,
        skipped=last.skipped + block.skipped,
    )


def _count(value: float) -> int:
    if value < 0 or value != int(value):
        raise Doubted(f"a count of {value:g} cannot be")
    return int(value)


def names_of(criteria: Iterable[str]) -> set[str]:
    """The series that the counted ones of these criteria need."""
    names: set[str] = set()
    if LATENCY in criteria:
        for metric in (metrics.QUERY_DURATION, metrics.REPLICA_QUERY_DURATION):
            names |= {metric.name, f"{metric.name}_bucket", f"{metric.name}_count"}
        names |= {metrics.PROBE_FAILURES.name, metrics.PROBE_SKIPPED.name}
    if HIT_RATE in criteria:
        names |= {metrics.CACHE_REQUESTS.name, metrics.CACHE_HITS.name}
    return names
