"""When each run was first asked about: from then on its counts count, however often it is asked.

In memory: after a restart a run begins anew, which costs time and never opens a gate by itself.
Whoever cannot afford that gives `since`.
"""

from __future__ import annotations

from collections import OrderedDict

MOST = 1000
IDLE_SECONDS = 86_400.0


class Origins:
    """Of the runs that were asked about within a day, at most `MOST`; the longest idle goes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def find(self, run: str, now: float) -> float | None:
        """The origin in Unix seconds, None for a run that is not known."""
        origin, asked = self._known.get(run, (0.0, -IDLE_SECONDS))
        return origin if now - asked < IDLE_SECONDS else None

    def keep(self, run: str, origin: float, now: float) -> None:
        """Remember the origin of a run that is asked about now."""
        self._known[run] = (origin, now)
        self._known.move_to_end(run)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
