"""What a benchmark reports, and the arithmetic of it: pure, so that it can be tested."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MICROSECOND = 1_000_000
MILLISECOND = 1_000
MEGABYTE = 1_000_000


class Claim(NamedTuple):
    """One promise and what was measured: `limit` is the most, or the least where `at_least`."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the promise holds; never for NaN."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def describe(self) -> dict[str, Any]:
        """The claim as it is kept."""
        bound = "at_least" if self.at_least else "at_most"
        return {"what": self.what, "measured": self.measured, bound: self.limit, "met": self.met}


@dataclass(frozen=True)
class Result:
    """One benchmark: what was promised, its figures, and the versions of what was measured."""

    claims: Sequence[Claim]
    figures: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 1) -> dict[str, float]:
    """Least, median and greatest of at least one value, each times `scale`."""
    found = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(scale * value, digits) for name, value in found.items()}


def pairwise(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio of each pair, in order; drift of the machine hits both of a pair alike."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(0, rank - 1)]


def growth(readings: Sequence[float]) -> float:
    """How much the last third lies above the one before, by their medians; at least three readings.

    The first third is left to caches that fill and an allocator that settles; a leak goes on.
    """
    third = len(readings) // 3
    before, last = readings[-2 * third : -third], readings[-third:]
    return statistics.median(last) - statistics.median(before)
