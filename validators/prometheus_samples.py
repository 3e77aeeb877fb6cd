"""Raw samples of the exporter's series, by scrape: of one exporter, each of one moment. Pure.

All that one scrape found bears one time, so that a histogram's buckets, the counters beside them
and the identity that they are of can be read together, as they stood.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from phasegate.contract import metrics
from phasegate.contract.model import Kind, Metric
from phasegate.validators.prometheus_api import Doubted, Row

SHOWN = 3
UP = "up"
"""Of Prometheus itself: whether its last scrape succeeded."""
Labels = tuple[str, ...]


class Stamp(NamedTuple):
    """Whose counters stood at a moment, in which life of theirs; empty while not known."""

    started: float
    identity: str
    epoch: str


def find_origin(rows: Iterable[Row], match: Mapping[str, str]) -> dict[str, str]:
    """The labels that every series of the one exporter bears. Raises Doubted for none or several.

    Where two measure the same, their counts are never summed; which of them is meant must be said.
    """
    own = {"__name__", *_forms(metrics.UP)}
    found = {
        tuple(sorted((k, v) for k, v in row.labels.items() if k not in own))
        for row in rows
        if any(math.isfinite(value) for _, value in row.points)
    }
    if not found:
        asked = ", ".join(f"{name}={value}" for name, value in match.items()) or "any labels"
        raise Doubted(
            f"nothing was measured: no series {metrics.UP.name} with {asked}; is the exporter "
            "scraped, and does prometheus.match name it?"
        )
    if len(found) > 1:
        told = "; ".join(
            ", ".join(f"{k}={v}" for k, v in origin) for origin in sorted(found)[:SHOWN]
        )
        raise Doubted(
            f"{len(found)} exporters answer ({told}), and their counts are not summed; "
            "name one in prometheus.match"
        )
    return dict(found.pop())


def _forms(metric: Metric) -> list[str]:
    """Where Prometheus may have put the metric's own labels: beside one of the scrape's of the
    same name, each is renamed."""
    return [form for label in metric.labels for form in (label, f"exported_{label}")]


class History:
    """The samples of one exporter. `scrapes` are the times (Unix seconds) of those that succeeded,
    `interval` the usual seconds between two."""

    def __init__(self, rows: Sequence[Row], scrapes: Sequence[float]) -> None:
        self.scrapes = scrapes
        between = sorted(after - before for before, after in pairwise(scrapes))
        self.interval = between[len(between) // 2] if between else 0.0
        self._by_name: dict[str, list[Row]] = defaultdict(list)
        seen = set()
        for row in rows:
            key = frozenset(row.labels.items())
            if key in seen:
                raise Doubted(f"it gives a series of {row.labels.get('__name__', '')} twice")
            seen.add(key)
            self._by_name[row.labels.get("__name__", "")].append(row)
        self._stamps: dict[str, dict[float, Stamp]] = {}

    def rows(self, name: str) -> Sequence[Row]:
        """The series of that name as they came."""
        return self._by_name.get(name, ())

    def series(self, metric: Metric, name: str = "") -> dict[Labels, dict[float, float]]:
        """By the values of the metric's own labels: what each scrape found. Raises Doubted.

        Of a histogram `name` is that of the part that is asked for, and the edge the last label.
        """
        labels = (*metric.labels, *(("le",) if name.endswith("_bucket") else ()))
        found: dict[Labels, dict[float, float]] = defaultdict(dict)
        for row in self.rows(name or metric.name):
            own = tuple(
                row.labels.get(f"exported_{label}", row.labels.get(label, "")) for label in labels
            )
            points = _of_scrapes(row, self.scrapes)
            for moment, value in points if metric.kind is Kind.GAUGE else _finite(row, points):
                if moment in found[own]:
                    raise Doubted(f"it gives a series of {metric.name} twice")
                found[own][moment] = value
        return found

    def at(self, metric: Metric, moment: float) -> dict[Labels, float]:
        """What that scrape found."""
        return {
            labels: points[moment]
            for labels, points in self.series(metric).items()
            if moment in points
        }

    def stamps(self, target: str) -> dict[float, Stamp]:
        """Who the target was at each scrape; what is not read then is what was read last."""
        if target not in self._stamps:
            self._stamps[target] = self._find_stamps(target)
        return self._stamps[target]

    def _find_stamps(self, target: str) -> dict[float, Stamp]:
        starts = self.series(metrics.PROCESS_START).get((), {})
        epochs = self.series(metrics.SOURCE_EPOCH).get((target,), {})
        identities: dict[float, str] = {}
        for labels, points in self.series(metrics.TARGET_INFO).items():
            info = dict(zip(metrics.TARGET_INFO.labels, labels, strict=True))
            if info["target"] != target:
                continue
            parts = (info["system_identifier"], info["timeline"], info["database"])
            for moment in _true(points):
                found = "/".join(parts) if all(parts) else ""
                if identities.setdefault(moment, found) != found:
                    raise Doubted(f"at one moment {target} is two servers")
        stamps, identity, epoch = {}, "", ""
        for moment in self.scrapes:
            identity = identities.get(moment, identity)
            if moment in epochs:
                epoch = f"{epochs[moment]:.0f}"
            # Nothing else tells a counter that began anew and has overtaken itself.
            if moment in starts:
                stamps[moment] = Stamp(starts[moment], identity, epoch)
        return stamps

    def succeeded(self, collector: str) -> frozenset[float]:
        """The scrapes in which that collector read what it then showed."""
        runs = self.series(metrics.COLLECTOR_SUCCESS).get((collector,), {})
        return frozenset(moment for moment, value in runs.items() if value == 1)


def _true(points: Mapping[float, float]) -> list[float]:
    return [moment for moment, value in points.items() if value == 1]


def read_scrapes(rows: Iterable[Row]) -> list[float]:
    """The times of the scrapes that succeeded, by the series that each of them must find."""
    found = {
        moment
        for row in rows
        if row.labels.get("__name__") == metrics.UP.name
        for moment, value in row.points
        if math.isfinite(value)
    }
    return sorted(found)


def find_unscraped(history: History) -> str:
    """Whether Prometheus says that it cannot scrape the exporter now; empty where it can."""
    for row in history.rows(UP):
        if row.points and history.scrapes:
            moment, value = row.points[-1]
            if value != 1 and moment > history.scrapes[-1]:
                return f"the exporter answers no scrape since {moment - history.scrapes[-1]:.0f} s"
    return ""


def _of_scrapes(row: Row, scrapes: Sequence[float]) -> list[tuple[float, float]]:
    """The samples that successful scrapes found; what is written when one failed is none."""
    found = []
    for moment, value in row.points:
        place = bisect_left(scrapes, moment)
        if place < len(scrapes) and scrapes[place] == moment:
            found.append((moment, value))
    return found


def _finite(row: Row, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The samples of a counter. NaN at its end marks that end; elsewhere it cannot be, as infinity
    never can."""
    whole = points[:-1] if points and math.isnan(points[-1][1]) else points
    for _, value in whole:
        if not math.isfinite(value):
            raise Doubted(f"{row.labels.get('__name__', '')} is {value} at one moment: no count")
    return list(whole)
