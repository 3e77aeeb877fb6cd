"""How much a run disturbs others: what it made them wait, how long it locked them out.

A session of its own looks at the server's locks some forty times a second. Nothing tells when a
lock was taken, so what is said is a bound from above: from the look before the first that saw it to
the first that does not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import psycopg

from phasegate.contract.errors import PhasegateError
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.control import SESSION_LOCK
from phasegate.migrate.model import Patience

LOOK_SECONDS = 0.025
MOST_SHARE = 0.1
"""Of the time that looking may take, where the server has very many locks."""
AGAIN_SECONDS = 1.0
FIRST_VERSION = 140_000
_SQL = load_sql("lock_watch")


class Seen(NamedTuple):
    """A lock at one look: of which session, on what; `age` in seconds, None where not known."""

    pid: int
    object: str
    age: float | None = None


class Longest:
    """The longest of many spans, each seen at some looks and at others not. Pure."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.object = ""
        self._open: dict[tuple[int, str], float] = {}
        self._before: float | None = None

    def look(self, asked: float, answered: float, seen: Iterable[Seen]) -> None:
        """What one look saw, and when it was asked and answered, in seconds of one clock."""
        since = asked if self._before is None else self._before
        there = {(one.pid, one.object): one.age for one in seen}
        for key in [key for key in self._open if key not in there]:
            self._close(key, answered)
        for key, age in there.items():
            self._open.setdefault(key, since if age is None else asked - age)
        self._before = asked

    def end(self, at: float) -> None:
        """Nobody looks any more; what was there is taken to have lasted until now."""
        for key in list(self._open):
            self._close(key, at)
        self._before = None

    def _close(self, key: tuple[int, str], at: float) -> None:
        seconds = at - self._open.pop(key)
        if seconds > self.seconds:
            self.seconds, self.object = seconds, key[1]


class LockWatch:
    """`looks` is how often the server was asked, `gap` the longest time between two of them in
    seconds: what was shorter may not have been seen."""

    def __init__(self) -> None:
        self.holds, self.waits = Longest(), Longest()
        self.looks, self.gap, self.blind = 0, 0.0, 0.0

    def facts(self) -> Mapping[str, Any]:
        """For the journal; seconds."""
        if not self.looks:
            return {}
        return {
            "locks": {
                "longest_wait_of_others": round(self.waits.seconds, 3),
                "waited_for": self.waits.object,
                "longest_access_exclusive": round(self.holds.seconds, 3),
                "held_on": self.holds.object,
                "looks": self.looks,
                "longest_gap": round(self.gap, 3),
                "not_watched": round(self.blind, 3),
            }
        }

    def describe(self) -> str:
        """One sentence; empty where nobody looked."""
        if not self.looks:
            return ""
        shortest = f"under {self.gap * 1000:.0f} ms"
        waited = "none was seen"
        if self.waits.object:
            waited = f"at most {self.waits.seconds:.2f} s (for {self.waits.object})"
        held = shortest
        if self.holds.object:
            held = f"at most {self.holds.seconds * 1000:.0f} ms (on {self.holds.object})"
        text = f"longest lock wait of others: {waited}; longest hold of ACCESS EXCLUSIVE: {held}"
        return f"{text}; not watched for {self.blind:.1f} s" if self.blind else text

    def look(self, connection: Connection) -> float:
        """Ask once; how long that took, in seconds. Raises psycopg.Error."""
        asked = time.monotonic()
        rows = connection.execute(_SQL["locks"].encode(), {"key": SESSION_LOCK}).fetchall()
        answered = time.monotonic()
        self.holds.look(asked, answered, [Seen(*row[1:4]) for row in rows if row[0] == "hold"])
        self.waits.look(asked, answered, find_waits(rows))
        self.looks += 1
        return answered - asked

    def end(self) -> None:
        """The session is gone, or the run is over."""
        for one in (self.holds, self.waits):
            one.end(time.monotonic())


def find_waits(rows: Iterable[tuple[str, int, str, float | None, list[int]]]) -> list[Seen]:
    """Which of the waiting sessions wait for one of ours, be it behind others. Pure."""
    held_back = {pid for kind, pid, *_ in rows if kind == "ours"}
    waiting = [row for row in rows if row[0] == "wait"]
    found: list[Seen] = []
    while behind := [row for row in waiting if not held_back.isdisjoint(row[4])]:
        found += [Seen(*row[1:4]) for row in behind]
        held_back |= {row[1] for row in behind}
        waiting = [row for row in waiting if row not in behind]
    return found


@contextmanager
def watch_locks(connect: Callable[[Patience], Connection]) -> Iterator[LockWatch]:
    """Look while the block runs, in a thread. Whatever happens to it, the run goes on."""
    watch = LockWatch()
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(watch, connect, over), daemon=True, name="locks")
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join(timeout=5)


def _watch(
    watch: LockWatch, connect: Callable[[Patience], Connection], over: threading.Event
) -> None:
    lost: float | None = None
    while not over.is_set():
        with suppress(psycopg.Error, PhasegateError), connect(Patience.BATCH) as connection:
            if connection.info.server_version < FIRST_VERSION:
                return
            connection.prepare_threshold = 0
            if lost is not None:
                watch.blind += time.monotonic() - lost
            _look_on(watch, connection, over)
        watch.end()
        lost = time.monotonic()
        over.wait(AGAIN_SECONDS)


def _look_on(watch: LockWatch, connection: Connection, over: threading.Event) -> None:
    before: float | None = None
    while not over.is_set():
        now = time.monotonic()
        if before is not None:
            watch.gap = max(watch.gap, now - before)
        before = now
        took = watch.look(connection)
        over.wait(max(LOOK_SECONDS - took, took * (1 / MOST_SHARE - 1)))
