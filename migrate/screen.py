"""What a run shows: on a terminal one line that moves, in a log plain lines; and in the database.

All on standard error: standard output is for data.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from phasegate.contract.secrets import redactor
from phasegate.contract.times import format_time
from phasegate.contract.units import format_duration

LINE_SECONDS = 10.0
"""From one line of progress to the next, in a log."""
REDRAW_SECONDS = 0.2
SAVE_SECONDS = 1.0

Save = Callable[..., None]


@dataclass
class _Seen:
    """Where a work stood when this run first heard of it, and when it was last shown and saved."""

    began: float
    first: float
    shown: float = 0.0
    saved: float = 0.0


class Screen:
    """`save` keeps progress where others see it; called from any thread."""

    def __init__(self, save: Save | None = None) -> None:
        self.save = save
        self._terminal = sys.stderr.isatty()
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._guard = threading.RLock()
        self._open = False
        self._note = ""
        self._latest: dict[str, Any] = {}

    def say(self, text: str) -> None:
        """One line, or several."""
        with self._guard:
            self._clear()
            stamp = "" if self._terminal else f"{format_time(time.time())} "
            for line in redactor(text).splitlines():
                click.echo(f"{stamp}{line}", err=True)

    def annotate(self, note: str) -> None:
        """Why the work at hand is slow, for whoever watches; empty for nothing."""
        with self._guard:
            self._note = note
            # At once: a work that waits reports nothing.
            self._keep()

    def report(self, step: str, name: str, done: float, total: float, unit: str) -> None:
        """Progress of a work: how much of how much, of what."""
        now = time.monotonic()
        with self._guard:
            seen = self._seen.setdefault((step, name), _Seen(now, done))
            rate = (done - seen.first) / max(1e-6, now - seen.began)
            ended = done >= total
            if now - seen.saved >= SAVE_SECONDS or ended:
                seen.saved = now
                self._latest = {
                    "step": step, "name": name, "done": done, "total": total, "unit": unit,
                    "rate": rate,
                }  # fmt: skip
                self._keep()
            pause = REDRAW_SECONDS if self._terminal else LINE_SECONDS
            if now - seen.shown < pause and not ended:
                return
            seen.shown = now
            text = describe_progress(name, done, total, unit, rate)
            if not self._terminal:
                self.say(f"  {text}")
                return
            self._clear()
            click.echo(f"  {text}", err=True, nl=False)
            self._open = True

    def _keep(self) -> None:
        if self.save is not None and self._latest:
            self.save(**self._latest, note=self._note)

    def _clear(self) -> None:
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._open = False


def describe_progress(name: str, done: float, total: float, unit: str, rate: float) -> str:
    """`public.users: 48 % of 1,000,000 rows, 120,000 rows/s, 4s left`."""
    share = 100 * done / total if total else 100.0
    text = f"{name}: {share:.0f} % of {total:,.0f} {unit}"
    if rate > 0:
        text += f", {rate:,.0f} {unit}/s"
        if done < total:
            text += f", {format_duration(max(1.0, round((total - done) / rate)))} left"
    return text
