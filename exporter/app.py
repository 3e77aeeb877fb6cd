"""The exporter as a whole: targets and collectors made from settings, and replaced by a reload.

Counters, and whatever else must not restart, belong to the `Exporter` and outlive the wiring that
a reload replaces. A reload validates everything first, then closes before it opens, so that the
budget of connections holds while it happens; a configuration that is refused changes nothing.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from msgspec.structs import replace

import phasegate
from phasegate.contract import metrics
from phasegate.contract.connection import database_conninfo
from phasegate.contract.criteria import CRITERIA, thresholds
from phasegate.contract.errors import ConfigError
from phasegate.contract.evidence import EVIDENCE_VERSION, Evidence, TargetState
from phasegate.contract.metrics import LATENCY_EDGES
from phasegate.contract.model import Sample
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_connection import Connection
from phasegate.contract.settings_describe import counted_hashes, settings_hash
from phasegate.exporter.backends import Backends, Conninfo
from phasegate.exporter.collectors import build_collectors
from phasegate.exporter.counters import Counters
from phasegate.exporter.criteria_now import (
    WINDOW_SECONDS,
    Held,
    describe_criteria,
    make_verdict_samples,
)
from phasegate.exporter.evidence import EvidenceStore, source_of
from phasegate.exporter.exposition import Exposition
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.observations import record_observations
from phasegate.exporter.runner import Runner, Snapshot
from phasegate.exporter.single_flight import SingleFlight
from phasegate.exporter.storage import Storage
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

log = structlog.get_logger()

POOLED_BACKENDS = 3
SLOW_BACKENDS = 1
KNOWN = {metric.name: metric for metric in metrics.METRICS}


class Exporter:
    """Measures what the settings name. `load` reads the settings anew; ConfigError refuses them."""

    def __init__(self, load: Callable[[], Settings], storage: Storage | None = None) -> None:
        self._load = load
        self._storage = storage
        self.settings = load()
        self.counters = Counters()
        self.histograms = Histograms()
        self.evidence = EvidenceStore()
        self.exposition = Exposition(self.settings.exporter.max_series)
        self.loaded_at = time.time()
        self.refused: ConfigError | None = None
        self.targets = make_targets(self.settings)
        self._verdicts: list[Sample] | None = None
        self.runner = self._make_runner()
        self._reloading = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._judging: asyncio.Task[None] | None = None
        self._last_run = time.monotonic()
        if storage is not None:
            self._restore(storage.load())

    async def start(self) -> None:
        """Begin what runs between scrapes."""
        await self.runner.start()
        self._pulse = asyncio.create_task(self._run_often())
        self._judging = asyncio.create_task(self._judge_often())
        if self._storage is not None:
            self._saving = asyncio.create_task(self._save_often(self._storage))

    async def stop(self) -> None:
        """End everything, and keep what outlives us: no task, process or connection is left."""
        for task in (self._saving, self._pulse, self._judging):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._saving = self._pulse = self._judging = None
        await self.runner.stop()
        if self._storage is not None:
            await self._save(self._storage)
        # All at once: each may wait for a server that does not answer.
        open_ones = {b for t in self.targets.values() for b in (t.pool, t.slow) if b is not None}
        await asyncio.gather(*(backends.close() for backends in open_ones))

    async def reload(self) -> None:
        """Take the settings as they are now; ConfigError leaves the last good ones in force."""
        async with self._reloading:
            try:
                settings = await asyncio.to_thread(self._load)
            except ConfigError as error:
                self.refused = error
                log.warning("reload_refused", error=str(error))
                raise
            await self.stop()
            kept = self.runner.dump()
            self.settings, self.refused, self.loaded_at = settings, None, time.time()
            self.exposition = Exposition(settings.exporter.max_series)
            self.targets = make_targets(settings)
            self.runner = self._make_runner()
            self.runner.restore(kept)
            await self.start()
            log.info("reloaded", settings_hash=settings_hash(settings))

    async def scrape(self, timeout_seconds: float, only: frozenset[str]) -> Snapshot:
        """One run of the collectors, with what the exporter says of itself."""
        began = time.monotonic()
        if not only:
            self._last_run = began
        # A reload takes about a second; what it is taking down must not be asked again.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds / 2), self._reloading:
                timeout_seconds -= time.monotonic() - began
        before = {name: source_of(target).identity for name, target in self.targets.items()}
        runner = self.runner
        snapshot = await runner.run(timeout_seconds, only)
        if runner is self.runner:  # a reload forgot what the settings before it measured
            record_observations(self.evidence, snapshot, self.targets, before)
        if not only:
            if self._verdicts is None:
                await self._judge()
            snapshot.samples += [*self._own_samples(), *(self._verdicts or ())]
        return snapshot

    def make_evidence(self, since: float, now: float) -> Evidence:
        """What can be proved of the time from `since` until now (Unix seconds)."""
        store, settings = self.evidence, self.settings
        series = store.series(since, now)  # first: it forgets what is past the retention
        return Evidence(
            version=EVIDENCE_VERSION,
            build=phasegate.__version__,
            environment=settings.environment,
            started=store.started,
            generated=now,
            since=since,
            complete_since=store.complete_since,
            block_seconds=settings.exporter.evidence_block,
            settings_hash=settings_hash(settings),
            targets=tuple(
                TargetState(target.name, target.kind, target.up, *source_of(target))
                for target in self.targets.values()
            ),
            series=series,
            observations=store.observations(since, self.targets),
            audit=store.audit(since, self.targets),
            overrides=store.overrides,
        )

    def hold(self, now: float) -> Held:
        """What the criteria are described and judged by at `now` (Unix seconds)."""
        evidence = replace(
            self.make_evidence(now - WINDOW_SECONDS, now),
            # Some values are measured less often than that.
            observations=self.evidence.observations(0, self.targets),
        )
        return Held(evidence, dict(self.runner.statuses))

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state:
            self.counters.restore(state["counters"], KNOWN)
            self.histograms.restore(state["histograms"], KNOWN)
            self.runner.restore(state["collectors"])
            if "evidence" in state:
                self.evidence.restore(state["evidence"])

    async def _save(self, storage: Storage) -> None:
        state = {
            "counters": self.counters.dump(),
            "histograms": self.histograms.dump(),
            "collectors": self.runner.dump(),
            "evidence": self.evidence.dump(),
        }
        try:
            await asyncio.to_thread(storage.save, state)
        except OSError as error:
            log.warning("storage_failed", error=str(error))

    async def _save_often(self, storage: Storage) -> None:
        while True:
            await asyncio.sleep(self.settings.exporter.evidence_block)
            await self._save(storage)

    async def _run_often(self) -> None:
        """Evidence must not depend on somebody's scrapes: at least one run in each block."""
        while True:
            length = self.settings.exporter.evidence_block
            rest = self._last_run + length - time.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
            else:
                await self.scrape(min(length, self.settings.exporter.collect_timeout), frozenset())

    async def _judge_often(self) -> None:
        """Apart from the scrapes: it takes tens of milliseconds, and new evidence a block."""
        while True:
            await asyncio.sleep(self.settings.exporter.evidence_block)
            await self._judge()

    async def _judge(self) -> None:
        settings, now = self.settings, time.time()
        try:
            rows = await asyncio.to_thread(describe_criteria, settings, self.hold(now))
            found = make_verdict_samples(rows, now)
        except Exception:
            log.exception("judging_failed")
            found = []  # an old verdict would be taken for that of now
        if settings is self.settings:
            self._verdicts = found

    def _own_samples(self) -> list[Sample]:
        config = (
            metrics.CONFIG_LAST_RELOAD_SUCCESSFUL(float(self.refused is None)),
            metrics.CONFIG_LAST_RELOAD_SUCCESS(self.loaded_at),
        )
        build = metrics.BUILD_INFO(1, phasegate.__version__, platform.python_version())
        limits = [
            metrics.CRITERION_THRESHOLD(limit, name, severity)
            for name in CRITERIA
            for severity, limit in thresholds(self.settings, name).items()
        ]
        counted = [
            metrics.MEASURED_SETTINGS_INFO(1, *names, digest)
            for names, digest in self._counted.items()
        ]
        started = metrics.PROCESS_START(self.evidence.started)
        return [build, started, *config, *limits, *counted]

    def _make_runner(self) -> Runner:
        edges = latency_edges(self.settings)
        self._counted = counted_hashes(self.settings)
        self._verdicts = None
        self.histograms.use_edges(edges)
        self.evidence.use(self.settings, edges)
        wiring = Wiring(self.settings, self.targets, self.counters, self.histograms, self.evidence)
        return Runner(build_collectors(wiring), self.counters, redactor)


def latency_edges(settings: Settings) -> tuple[float, ...]:
    """Seconds: the defaults, every limit of the latency criterion, and what the user adds.

    A limit without an edge of its own could not be decided exactly.
    """
    limits = thresholds(settings, "uuid_lookup_latency").values()
    return tuple(sorted({*LATENCY_EDGES, *limits, *settings.exporter.latency_buckets}))


def make_targets(settings: Settings) -> dict[str, Target]:
    """The primary, its replicas and the cache, each with its budget of connections."""
    limit = settings.exporter.connect_timeout
    primary = _conninfo(settings.database, "database")
    targets = {
        "database": Target(
            "database",
            "database",
            conninfo=primary,
            pool=Backends(primary, POOLED_BACKENDS, limit),
            slow=Backends(primary, SLOW_BACKENDS, limit),
        )
    }
    for name, replica in settings.database.replicas.items():
        source = _conninfo(replica, name)
        shared = Backends(source, 1, limit)
        targets[name] = Target(name, "replica", conninfo=source, pool=shared, slow=shared)
    if settings.cache is not None:
        targets["cache"] = Target("cache", "cache")
    return targets


def _conninfo(connection: Connection, target: str) -> Conninfo:
    """Read anew at each connect, so that a rotated secret counts."""
    return SingleFlight(partial(database_conninfo, connection, target))
