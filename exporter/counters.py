"""Numbers that only rise. They outlive a failed run, a reload and, with storage, a restart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phasegate.contract.errors import ContractError
from phasegate.contract.model import Metric, Sample


class Counters:
    """Counter values by metric and label values."""

    def __init__(self) -> None:
        self._values: dict[tuple[Metric, tuple[str, ...]], float] = {}

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Raise a counter; an amount of 0 makes the series exist. Negative amounts are our bug."""
        if amount < 0:
            raise ContractError(metric.name, f"a counter cannot fall by {-amount}")
        sample = metric(amount, *labels)
        key = (metric, sample.labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def value(self, metric: Metric, *labels: str) -> float:
        """The present value; 0 where nothing was counted yet."""
        return self._values.get((metric, labels), 0.0)

    def samples(self, metrics: Iterable[Metric]) -> list[Sample]:
        """What is to be exposed of these metrics."""
        wanted = frozenset(metrics)
        return [
            Sample(metric, labels, value)
            for (metric, labels), value in self._values.items()
            if metric in wanted
        ]

    def dump(self) -> list[tuple[str, tuple[str, ...], float]]:
        """The whole as plain data: metric name, label values, value."""
        return [(metric.name, labels, value) for (metric, labels), value in self._values.items()]

    def restore(
        self, rows: Iterable[tuple[str, tuple[str, ...], float]], known: Mapping[str, Metric]
    ) -> None:
        """Take back what `dump` gave; entries that the contract no longer knows are left out."""
        for name, labels, value in rows:
            metric = known.get(name)
            if metric is not None and len(labels) == len(metric.labels):
                self._values[(metric, tuple(labels))] = value
