"""Reads the bounds of range partitions by time, and what they leave open.

The catalog's text is read with the session in UTC and ISO dates, so a bound without a zone is
UTC. Lists and hashes have no calendar: None. Whether the numbers of a range are times, only the
type of its column can tell; whoever asks has looked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

_RANGE = re.compile(r"FOR VALUES FROM \((.*)\) TO \((.*)\)")
_BEYOND_9999 = re.compile(r"\d{5,}-.*")


@dataclass(frozen=True)
class Bound:
    """Lower bound (included) and upper bound (excluded), Unix seconds; infinities where open."""

    lower: float
    upper: float

    def holds(self, moment: float) -> bool:
        """Whether a row of that moment belongs here."""
        return self.lower <= moment < self.upper


class Calendar:
    """What the bounds of one parent's partitions say of the future and of their own holes."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self._ordered = sorted(bounds, key=lambda bound: (bound.lower, bound.upper))
        pairs = list(pairwise(self._ordered))
        self.gaps = sum(left.upper < right.lower for left, right in pairs)
        self.overlaps = sum(left.upper > right.lower for left, right in pairs)

    def look_ahead(self, now: float) -> tuple[int, float]:
        """How many whole partitions come after the one that holds now, up to the first hole; and
        the seconds until the first moment without a partition, 0 if that is now."""
        end, ahead = now, 0
        for bound in self._ordered:
            if bound.upper > end >= bound.lower:
                ahead += bound.lower > now
                end = bound.upper
        return ahead, end - now


def parse_bound(text: str | None) -> Bound | None:
    """`FOR VALUES FROM (…) TO (…)` over a date or time, else None."""
    match = _RANGE.fullmatch(text or "")
    if match is None:
        return None
    try:
        return Bound(
            *(_moment(edge, side) for edge, side in zip(match.groups(), (-1, 1), strict=True))
        )
    except ValueError:
        return None


def _moment(text: str, side: int) -> float:
    first = text.split(",", maxsplit=1)[0].strip()
    if first in ("MINVALUE", "MAXVALUE"):
        return side * math.inf
    value = first.strip("'")
    if value in ("infinity", "-infinity"):
        return math.copysign(math.inf, -1 if value[0] == "-" else 1)
    if value.endswith(" BC"):  # the server knows years that Python does not
        return -math.inf
    if _BEYOND_9999.fullmatch(value):
        return math.inf
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
