"""What only the application can count: its requests and errors, and lookups by its cache's names.

Its page is read once a scrape for all of them. Its counters restart with it: they are joined, not
passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Application as ApplicationSettings
from phasegate.contract.settings_describe import criterion_hash
from phasegate.exporter.application import ApplicationCounts, CacheCounts, fetch_application
from phasegate.exporter.evidence import Source
from phasegate.exporter.joined import Joined
from phasegate.exporter.runner import Collector
from phasegate.exporter.wiring import Wiring

TARGET = "application"
CRITERION = "error_rate"
NO_LOOKUPS = CacheCounts(0, 0)


class Application(Collector):
    """The configured counters of the application's page."""

    name = "application"

    def __init__(self, application: ApplicationSettings, wiring: Wiring) -> None:
        self._application = application
        self._counters = wiring.counters
        self._evidence = wiring.evidence
        self._address = redactor(application.metrics_url)
        self._caches = Joined()
        self._requests = Joined()
        # Under other settings it is another count, which joins no earlier one.
        self._counted = criterion_hash(wiring.settings, CRITERION)
        self._errors_owed = 0
        self._read_before = False

    async def collect(self, timeout: float) -> Sequence[Sample]:
        found = await fetch_application(self._application, timeout)
        self._count_caches(found)
        if found.requests is not None and found.errors is not None:
            self._count_requests(found.started, found.requests, found.errors)
        return ()

    def _count_caches(self, found: ApplicationCounts) -> None:
        for cache in sorted({*self._caches.sources, *found.caches}):
            if self._read_before and cache not in self._caches.sources:
                self._caches.advance(cache, "", (0, 0))  # its first lookups ever
            # A restarted application shows a cache only from its first lookup on.
            counts = found.caches.get(cache, NO_LOOKUPS)
            gained = self._caches.advance(cache, "", (counts.requests, counts.hits))
            labels = (cache, "application")
            self._counters.add(metrics.CACHE_REQUESTS, gained[0], *labels)
            self._counters.add(metrics.CACHE_HITS, gained[1], *labels)
            source = Source(self._address, "")
            self._evidence.count("cache_hit_rate", *labels, source, total=gained[0], good=gained[1])
        self._read_before = True

    def _count_requests(self, started: str, requests: int, errors: int) -> None:
        gained, failed = self._requests.advance(self._counted, started, (requests, errors))
        # Two counters need not rise in one instant: an error ahead of its request comes with it.
        failed += self._errors_owed
        self._errors_owed = max(0, failed - gained)
        source = Source(self._address, f"{started}/{self._requests.restarts(self._counted)}")
        good = gained - failed + self._errors_owed
        self._evidence.count(CRITERION, TARGET, "", source, total=gained, good=good)
        self._counters.add(metrics.APPLICATION_REQUESTS, gained)
        self._counters.add(metrics.APPLICATION_ERRORS, gained - good)

    def kept(self) -> Sequence[Sample]:
        requests = self._counters.samples(
            (metrics.APPLICATION_REQUESTS, metrics.APPLICATION_ERRORS)
        )
        lookups = self._counters.samples((metrics.CACHE_REQUESTS, metrics.CACHE_HITS))
        return [*requests, *(sample for sample in lookups if sample.labels[1] == "application")]

    def dump(self) -> Any:
        return {
            "caches": self._caches.dump(),
            "requests": self._requests.dump(),
            "owed": self._errors_owed,
            "read": self._read_before,
        }

    def restore(self, data: Any) -> None:
        self._caches.restore(data["caches"])
        self._requests.restore(data["requests"])
        self._errors_owed = data["owed"]
        self._read_before = data["read"]


def build(wiring: Wiring) -> list[Collector]:
    """One where any of the application's counters is configured."""
    application = wiring.settings.application
    if application is None:
        return []
    counts_requests = application.requests is not None and application.errors is not None
    wanted = counts_requests or application.cache is not None
    return [Application(application, wiring)] if wanted else []
