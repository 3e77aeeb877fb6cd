"""Joins a source's own counters across its restarts and resets, without spike or dip. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Joined:
    """What several counters of one source gained between two readings.

    The first reading is the base line. A new epoch, or any counter that fell, is a restart of all
    of them: what they show then, they gained since.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, tuple[int, ...]]] = {}

    def advance(self, source: str, epoch: str, values: Sequence[int]) -> tuple[int, ...]:
        """The gain of each counter of `source` since the last call; never negative."""
        last = self._last.get(source)
        self._last[source] = (epoch, tuple(values))
        if last is None:
            return (0,) * len(values)
        restarted = last[0] != epoch or any(
            new < old for new, old in zip(values, last[1], strict=True)
        )
        base = (0,) * len(values) if restarted else last[1]
        return tuple(new - old for new, old in zip(values, base, strict=True))

    def dump(self) -> dict[str, Any]:
        """The last readings as plain data."""
        return dict(self._last)

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take back what `dump` gave."""
        self._last = {name: (epoch, tuple(values)) for name, (epoch, values) in data.items()}
