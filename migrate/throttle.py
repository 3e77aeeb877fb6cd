"""What holds loops over rows back: lookups get slow, replicas lag, the log piles up.

What is not known holds back the most: an exporter that is configured and says nothing stops the
loop, for nobody would see what it does to the application.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import psycopg

from phasegate.contract.criteria import passing_limit
from phasegate.contract.errors import SourceError
from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Control
from phasegate.migrate.model import Patience, Say
from phasegate.migrate.sessions import APPLICATION_NAME
from phasegate.validators.http_get import fetch

LATENCY = "uuid_lookup_latency"
QUERY_TYPES = ("uuid_lookup", "id_lookup")
"""Before UUIDs are indexed only lookups by the integer are timed, and they say the same."""
PROBES, LEAST_PROBES = 50, 20
SLOW_SHARE = 0.05
FLOOR = 1 / 16
"""Of full speed: what is slow even then is not slow because of us."""
GROWTH = 1.25
POLL_SECONDS = 1.0
SILENT_SECONDS, SILENT_INTERVALS = 5.0, 3
"""Without a probe, in seconds and in intervals of the exporter; the longer of the two."""
WITHIN_SECONDS = 2.0
MOST_BYTES = 20_000_000
LAG_SECONDS = 10.0
RETAINED_BYTES = 8 * 2**30
SAFE_BYTES = 2**30
LONG_SECONDS = 300.0
"""Of a transaction whose snapshot keeps vacuum from freeing what the loop leaves behind."""
_SQL = load_sql("throttle")


class Latency(NamedTuple):
    """Of the latest probes: how many, which share was too slow, seconds since one came, and why
    none did."""

    probes: int
    slow: float
    silent: float
    patience: float
    why: str = ""


class Load(NamedTuple):
    """As the server tells it; None where there is nothing to tell. `hidden` counts replicas whose
    lag our role may not see."""

    hidden: int = 0
    lag_seconds: float | None = None
    retained_bytes: float | None = None
    safe_bytes: float | None = None
    oldest_seconds: float | None = None


class Inputs(NamedTuple):
    """All that is known now. `latency` is None where no exporter is configured, `load` where the
    server did not tell."""

    latency: Latency | None
    load: Load | None


class Pace(NamedTuple):
    """Share of full speed, 0 for none. `cause` names why it is not full, `reason` tells it."""

    share: float
    cause: str = ""
    reason: str = ""


START = Pace(1.0)


def decide_pace(inputs: Inputs, before: Pace = START) -> Pace:
    """The strictest of what each input asks for."""
    asked = [_by_latency(inputs.latency, before), *_by_load(inputs.load)]
    return min(asked, key=lambda pace: pace.share)


def _by_latency(latency: Latency | None, before: Pace) -> Pace:
    if latency is None:
        return Pace(1.0)
    if latency.silent > latency.patience:
        why = f": {latency.why}" if latency.why else ""
        told = f"the exporter tells of no new probe of {' or '.join(QUERY_TYPES)}{why}"
        return Pace(0.0, "silent", told)
    # What another input asked for says nothing of the lookups.
    share = before.share if before.cause == "slow" else 1.0
    if latency.probes < LEAST_PROBES:
        return before if before.cause == "slow" else Pace(1.0)
    if latency.slow > SLOW_SHARE:
        told = f"{latency.slow:.0%} of the last {latency.probes} lookups were over their limit"
        return Pace(max(FLOOR, share / 2), "slow", told)
    share = min(1.0, share * GROWTH)
    return Pace(1.0) if share == 1.0 else Pace(share, "slow", "lookups are fast again")


def _by_load(load: Load | None) -> list[Pace]:
    if load is None:
        return [Pace(0.0, "unknown", "the server does not tell how its replicas are")]
    found = []
    if load.hidden:
        told = f"{load.hidden} replicas are hidden from our role: GRANT pg_monitor TO it"
        found.append(Pace(0.0, "hidden", told))
    if load.safe_bytes is not None and load.safe_bytes < SAFE_BYTES:
        told = "a replication slot is about to be lost: max_slot_wal_keep_size is nearly reached"
        found.append(Pace(0.0, "slot", told))
    # Slowly, not stopped: a replica may be delayed on purpose, and a slot left behind for ever.
    if load.lag_seconds is not None and load.lag_seconds > LAG_SECONDS:
        found.append(Pace(FLOOR, "lag", f"a replica lags by {load.lag_seconds:.0f} s"))
    if load.retained_bytes is not None and load.retained_bytes > RETAINED_BYTES:
        size = load.retained_bytes / 2**30
        found.append(Pace(FLOOR, "retained", f"a replication slot holds {size:.0f} GiB of log"))
    if load.oldest_seconds is not None and load.oldest_seconds > LONG_SECONDS:
        told = f"a transaction of {load.oldest_seconds:.0f} s keeps vacuum from freeing space"
        found.append(Pace(0.5, "old", told))
    return found


class _Event(msgspec.Struct):
    """One event of a probe; `seconds` where it was answered, `error` class where it failed."""

    time: float
    query_type: str
    seconds: float | None = None
    failure: str | None = msgspec.field(name="class", default=None)


class Probes:
    """The exporter's latest probes, as its page tells them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = passing_limit(settings, LATENCY).value
        self._since: float | None = None
        self._slow: deque[bool] = deque(maxlen=PROBES)
        interval = SILENT_INTERVALS * settings.exporter.probe_interval
        self._patience = max(SILENT_SECONDS, interval)
        self._came = float("-inf")

    def forget(self) -> None:
        """What was measured at another pace."""
        self._slow.clear()

    def poll(self) -> Latency:
        """Ask for what is new. Never raises: what it could not learn stands in the answer."""
        why = ""
        try:
            self._take(self._ask())
        except SourceError as error:
            why = str(error)
        slow = sum(self._slow) / max(1, len(self._slow))
        silent = time.monotonic() - self._came
        return Latency(len(self._slow), slow, silent, self._patience, why)

    def _ask(self) -> list[_Event]:
        exporter = self._settings.exporter
        base = (exporter.url or "").rstrip("/")
        url = f"{base}/debug/probes?since={self._since or 0.0:.6f}"
        answer = fetch(url, exporter, "exporter", within_seconds=WITHIN_SECONDS, limit=MOST_BYTES)
        if answer.status != 200:
            raise SourceError("exporter", f"it answered with status {answer.status}, expected 200")
        try:
            # Probes of replicas stand under names of their own: the loop writes on the primary.
            page = msgspec.json.decode(answer.body, type=dict[str, list[_Event]])
        except msgspec.DecodeError as error:
            raise SourceError("exporter", f"/debug/probes gives no probes: {error}") from None
        return page.get("latency", [])

    def _take(self, events: list[_Event]) -> None:
        first = self._since is None
        self._since = max([self._since or 0.0, *(one.time for one in events)])
        if first:
            # They may be of yesterday: only what comes from here on is of now.
            return
        for one in events:
            if one.query_type not in QUERY_TYPES or (one.seconds, one.failure) == (None, None):
                continue
            self._slow.append(one.seconds is None or one.seconds > self._limit)
            self._came = time.monotonic()


@dataclass
class ProbeThrottle:
    """Asks at most once a second, in the call of whichever worker comes first; the others wait for
    its answer. `note` keeps the reason where `status` shows it."""

    settings: Settings
    connect: Callable[[Patience], Connection]
    control: Control
    say: Say
    note: Callable[[str], None] = lambda _: None
    _pace: Pace = START
    _latency: Pace = START
    _asked: float = float("-inf")
    _probes: Probes | None = None
    _connection: Connection | None = None
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def pace(self) -> float:
        """As `context.Throttle.pace`."""
        while True:
            self.control.check()
            with self._guard:
                if time.monotonic() - self._asked >= POLL_SECONDS:
                    self._ask()
                    self._asked = time.monotonic()
                share = self._pace.share
            if share > 0:
                return share
            self.control.sleep(POLL_SECONDS / 5)

    def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            self._connection.close()

    def _ask(self) -> None:
        latency = None
        if self.settings.exporter.url is not None:
            if self._probes is None:
                self._probes = Probes(self.settings)
                self._probes.poll()
                self.control.sleep(min(POLL_SECONDS, 2 * self.settings.exporter.probe_interval))
            latency = self._probes.poll()
        elif self._asked == float("-inf"):
            self.say("no exporter.url is configured: lookups do not hold the loop back")
        inputs = Inputs(latency, self._fetch_load())
        # The lookups' own pace goes on from where it was, whatever else held the loop meanwhile.
        own = decide_pace(Inputs(latency, Load()), self._latency)
        if self._probes is not None and own.share != self._latency.share:
            self._probes.forget()
        if own.cause != "silent":
            self._latency = own
        self._tell(min(own, decide_pace(Inputs(None, inputs.load)), key=lambda pace: pace.share))

    def _tell(self, pace: Pace) -> None:
        before, self._pace = self._pace, pace
        if pace.cause == before.cause and pace.share >= before.share:
            return
        if not pace.cause:
            told = "at full speed again"
        elif pace.share == 0:
            told = f"waits: {pace.reason}"
        else:
            told = f"at {pace.share:.0%} of full speed: {pace.reason}"
        self.say(told)
        self.note(told if pace.cause else "")

    def _fetch_load(self) -> Load | None:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self.connect(Patience.BATCH)
                self._connection.execute("SET statement_timeout = '2s'")
            row: tuple[Any, ...] | None = self._connection.execute(
                _SQL["load"].encode(), (APPLICATION_NAME,)
            ).fetchone()
        except (psycopg.Error, SourceError):
            with suppress(psycopg.Error):
                self.close()
            self._connection = None
            return None
        return None if row is None else Load(*row)
