"""Joins a source's own counters across its restarts and resets, without spike or dip. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

CLOCK_SECONDS = 1.0
"""Servers tell their uptime in whole seconds."""


class _Reading(NamedTuple):
    epoch: str
    values: tuple[int, ...]
    time: float
    restarts: int


class Joined:
    """What several counters of one source gained between two readings.

    The first reading is the base line. A new epoch, or any counter that fell, is a restart of all
    of them: what they show then, they gained since. An epoch that began before the last reading
    is another server, which took over: what it counted until now is not the source's.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Reading] = {}

    @property
    def sources(self) -> Collection[str]:
        """Every source that was read."""
        return self._last.keys()

    def restarts(self, source: str) -> int:
        """How often its counters began anew within the present epoch."""
        return self._last[source].restarts

    def advance(
        self, source: str, epoch: str, values: Sequence[int], *, time: float = 0, began: float = 0
    ) -> tuple[int, ...]:
        """The gain of each counter of `source` since the last call; never negative.

        `time` is that of the reading and `began` that of the epoch's first moment, in Unix
        seconds; without them every new epoch is a restart.
        """
        last = self._last.get(source)
        if last is None:
            self._last[source] = _Reading(epoch, tuple(values), time, 0)
            return (0,) * len(values)
        base, restarts = last.values, last.restarts
        if epoch != last.epoch:
            took_over = began < last.time - CLOCK_SECONDS
            base, restarts = tuple(values) if took_over else (0,) * len(values), 0
        elif any(new < old for new, old in zip(values, base, strict=True)):
            base, restarts = (0,) * len(values), restarts + 1
        self._last[source] = _Reading(epoch, tuple(values), time, restarts)
        return tuple(new - old for new, old in zip(values, base, strict=True))

    def dump(self) -> dict[str, Any]:
        """The last readings as plain data."""
        return {source: tuple(last) for source, last in self._last.items()}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take back what `dump` gave."""
        self._last = {
            source: _Reading(epoch, tuple(values), time, restarts)
            for source, (epoch, values, time, restarts) in data.items()
        }
