"""Histograms of observations that arrive one by one; they outlive failures and reloads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from phasegate.contract.model import Distribution, Exemplar, Metric, Sample


@dataclass
class _State:
    counts: list[int]
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)


@dataclass
class Histograms:
    """One set of bucket edges (seconds, ascending) for all; other edges start them anew.

    Exemplars stay in memory: they point at what only this process remembers.
    """

    edges: tuple[float, ...] = ()
    _states: dict[tuple[Metric, tuple[str, ...]], _State] = field(default_factory=dict)

    def use_edges(self, edges: tuple[float, ...]) -> None:
        """Counts by other edges cannot be carried over: they would lie about where they fell."""
        if edges != self.edges:
            self.edges = edges
            self._states.clear()

    def observe(
        self, metric: Metric, value: float, *labels: str, exemplar: Exemplar | None = None
    ) -> None:
        """Count one observation in its bucket: the first whose edge is not below it.

        An `exemplar` takes the place of the bucket's last one.
        """
        state = self._states.get((metric, labels))
        if state is None:
            state = self._states[metric, labels] = _State([0] * (len(self.edges) + 1))
        bucket = bisect_left(self.edges, value)
        state.counts[bucket] += 1
        state.total += value
        if exemplar is not None:
            state.exemplars[bucket] = exemplar

    def dump(self) -> dict[str, Any]:
        """The whole as plain data."""
        rows = [(m.name, labels, s.counts, s.total) for (m, labels), s in self._states.items()]
        return {"edges": self.edges, "rows": rows}

    def restore(self, data: Mapping[str, Any], known: Mapping[str, Metric]) -> None:
        """Take back what `dump` gave, if the edges are still the same."""
        if tuple(data["edges"]) != self.edges:
            return
        for name, labels, counts, total in data["rows"]:
            metric = known.get(name)
            if metric is not None and len(labels) == len(metric.labels):
                self._states[metric, tuple(labels)] = _State(list(counts), total)

    def samples(self, metrics: Iterable[Metric]) -> list[Sample]:
        """What is to be exposed of these metrics."""
        wanted = frozenset(metrics)
        return [
            metric(_distribution(self.edges, state), *labels)
            for (metric, labels), state in self._states.items()
            if metric in wanted
        ]


def _distribution(edges: tuple[float, ...], state: _State) -> Distribution:
    exemplars: tuple[Exemplar | None, ...] = ()
    if state.exemplars:
        exemplars = tuple(state.exemplars.get(bucket) for bucket in range(len(state.counts)))
    return Distribution(edges, tuple(state.counts), state.total, exemplars)
