"""Runs the collectors: side by side, each within its own time, none able to spoil another.

A scrape costs the slowest collector, not the sum. Scrapes that come together share one run. A
collector that fails loses its gauges and keeps its counters; one that does not come back is left
alone until it does, and counts as failed meanwhile. Collectors with an `interval` run on that
schedule in the background; a scrape serves their last success, while it is young enough.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.exporter.backends import failure_reason
from phasegate.exporter.counters import Counters
from phasegate.exporter.targets import Target

log = structlog.get_logger()

STALE_AFTER_INTERVALS = 2.5


class Collector(ABC):
    """One topic on one target. Subclasses name themselves and implement `collect`.

    `budget` is the most that one run may take, in seconds. `interval` is None for collectors that
    run at every scrape, else the seconds between runs in the background.
    """

    name: str
    target: Target | None = None
    budget: float = 5.0
    interval: float | None = None

    @abstractmethod
    async def collect(self, timeout: float) -> Sequence[Sample]:
        """Measure now, in at most `timeout` seconds; raises when it cannot."""

    def kept(self) -> Sequence[Sample]:
        """Counters and histograms: exposed also while `collect` fails."""
        return ()

    def dump(self) -> Any:
        """What must outlive a reload or a restart, as plain data; None for nothing."""

    def restore(self, data: Any) -> None:
        """Take back what `dump` gave, before the first `collect`."""

    def missed(self) -> None:
        """Told after each run that failed or came too late."""

    async def start(self) -> None:
        """Begin what runs between scrapes (a probe process)."""

    async def stop(self) -> None:
        """End it; must not raise."""


@dataclass
class Status:
    """How a collector fared last, for its self-metrics and the page. Times are Unix seconds."""

    collector: str
    success: bool = False
    reason: str = "not run yet"
    error: str = ""
    duration: float = 0.0
    last_success: float = 0.0
    samples: Sequence[Sample] = ()


@dataclass
class Snapshot:
    """What one run found: the samples to expose, and each collector's status."""

    time: float
    samples: list[Sample] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)


class Runner:
    """Owns the collectors of one configuration."""

    def __init__(
        self,
        collectors: Sequence[Collector],
        counters: Counters,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.collectors = {c.name: c for c in collectors}
        self.statuses = {c.name: Status(c.name) for c in collectors}
        self._counters = counters
        self._redact = redact
        self._running: dict[str, asyncio.Task[None]] = {}
        self._schedules: list[asyncio.Task[None]] = []
        self._outage: set[str] = set()
        self._stopping = False

    async def start(self) -> None:
        """Start what runs between scrapes."""
        for collector in self.collectors.values():
            await collector.start()
        for collector in self.collectors.values():
            if collector.interval is not None:
                self._schedules.append(asyncio.create_task(self._repeat(collector)))

    async def stop(self) -> None:
        """Stop everything; returns once nothing of this runner is left running."""
        self._stopping = True
        # Until none is left: a scrape that is under way may have begun another meanwhile.
        while tasks := {t for t in (*self._schedules, *self._running.values()) if not t.done()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await asyncio.gather(*(c.stop() for c in self.collectors.values()), return_exceptions=True)

    def last(self) -> tuple[list[Status], list[Sample]]:
        """How each collector fared last, and its counters; measures nothing."""
        kept = [sample for c in self.collectors.values() for sample in c.kept()]
        return list(self.statuses.values()), kept

    def dump(self) -> dict[str, Any]:
        """What each collector wants kept, by its name."""
        kept = {name: collector.dump() for name, collector in self.collectors.items()}
        return {name: data for name, data in kept.items() if data is not None}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Hand each collector what it wanted kept."""
        for name, data in kept.items():
            if name in self.collectors:
                self.collectors[name].restore(data)

    async def run(self, timeout: float, only: frozenset[str] = frozenset()) -> Snapshot:
        """One scrape: at most `timeout` seconds, then with whatever has come in.

        `only` names topics (`partitions`) or collectors (`identity/standby`); empty means all.
        """
        wanted = [
            c for c in self.collectors.values() if not only or {c.name, c.name.split("/")[0]} & only
        ]
        due = [c for c in wanted if c.interval is None]
        tasks = {c.name: self._launch(c, min(timeout, c.budget)) for c in due}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=timeout)
        late = {name for name, task in tasks.items() if not task.done()}
        for name in late:
            self._fail(name, "timeout", "still running at the scrape's deadline")
        self._make_up()
        return self._snapshot(wanted, late, full=not only)

    async def run_scheduled(self, timeout: float) -> None:
        """Run every collector that has a schedule once, for `--once`."""
        scheduled = [c for c in self.collectors.values() if c.interval is not None]
        await asyncio.gather(*(self._launch(c, min(timeout, c.budget)) for c in scheduled))

    def _make_up(self) -> None:
        """Run at once what failed on its schedule while its target was down, now that it is up."""
        for collector in self.collectors.values():
            if collector.interval is None or collector.target is None:
                continue
            if not collector.target.up:
                self._outage.add(collector.name)
            elif collector.name in self._outage:
                self._outage.discard(collector.name)
                if not self.statuses[collector.name].success:
                    self._launch(collector, collector.budget)

    def _launch(self, collector: Collector, timeout: float) -> asyncio.Task[None]:
        """The collector's run in progress, if there is one, else a new one: scrapes share it."""
        running = self._running.get(collector.name)
        if running is None or running.done():
            running = asyncio.create_task(self._collect(collector, timeout), name=collector.name)
            self._running[collector.name] = running
        return running

    async def _collect(self, collector: Collector, timeout: float) -> None:
        began = time.monotonic()
        status = self.statuses[collector.name]
        try:
            status.samples = list(await collector.collect(timeout))
        except Exception as error:
            self._fail(collector.name, failure_reason(error), str(error))
            if failure_reason(error) == "internal":
                log.exception("collector_failed", collector=collector.name)
        else:
            status.success, status.reason, status.error = True, "", ""
            status.last_success = time.time()
        status.duration = time.monotonic() - began

    def _fail(self, name: str, reason: str, error: str) -> None:
        status = self.statuses[name]
        if status.success or status.reason != reason:
            log.warning("collector_failed", collector=name, reason=reason, error=error.strip())
        status.success, status.samples = False, ()
        status.reason, status.error = reason, self._redact(error.strip())
        self.collectors[name].missed()
        self._counters.add(metrics.COLLECTOR_ERRORS, 1, name, reason)

    async def _repeat(self, collector: Collector) -> None:
        interval = collector.interval or 60.0
        next_run = time.monotonic()
        while not self._stopping:
            # Not awaited itself: a cancellation would be handed to the run, and be lost with one
            # that still ends as usual.
            await asyncio.wait({self._launch(collector, collector.budget)})
            next_run = max(next_run + interval, time.monotonic())
            await asyncio.sleep(next_run - time.monotonic())

    def _snapshot(self, wanted: Sequence[Collector], late: set[str], *, full: bool) -> Snapshot:
        snapshot = Snapshot(time.time())
        for collector in wanted:
            status = self.statuses[collector.name]
            snapshot.statuses.append(status)
            snapshot.samples += collector.kept()
            snapshot.samples += _self_samples(status)
            if collector.name not in late and self._fresh(collector, status, snapshot.time):
                snapshot.samples += status.samples
        if full:
            snapshot.samples += self._counters.samples([metrics.COLLECTOR_ERRORS])
        return snapshot

    def _fresh(self, collector: Collector, status: Status, now: float) -> bool:
        """Whether a collector's gauges may be shown: its target is up and they are not old."""
        if collector.target is not None and not collector.target.up:
            return False
        if collector.interval is None:
            return status.success
        limit = STALE_AFTER_INTERVALS * collector.interval + collector.budget
        return status.success and now - status.last_success <= limit


def _self_samples(status: Status) -> list[Sample]:
    samples = [
        metrics.COLLECTOR_SUCCESS(float(status.success), status.collector),
        metrics.COLLECTOR_DURATION(status.duration, status.collector),
    ]
    if status.last_success:
        samples.append(metrics.COLLECTOR_LAST_SUCCESS(status.last_success, status.collector))
    return samples
