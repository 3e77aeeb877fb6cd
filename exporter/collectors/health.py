"""The configured health checks, asked all at once at every scrape.

A check that fails is a measured fact, not a failure of the collector. Why it fails stands in the
log, once for each change: a reason in a label would make a new series of every new reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.settings import Health
from phasegate.exporter.health_check import HealthResult, check_health
from phasegate.exporter.runner import Collector
from phasegate.exporter.wiring import Wiring

log = structlog.get_logger()

# Left of the scrape's time, so that a check that hangs is told as down and not as unmeasured.
MARGIN_SECONDS = 0.2
SHORTEST_SECONDS = 0.05


class HealthChecks(Collector):
    """Every check of the configuration. `results` holds the last of each by name."""

    name = "health"

    def __init__(self, checks: Sequence[Health]) -> None:
        self._checks = checks
        self.budget = max(check.timeout for check in checks) + MARGIN_SECONDS
        self.results: dict[str, HealthResult] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        within = max(SHORTEST_SECONDS, timeout - MARGIN_SECONDS)
        found = await asyncio.gather(*(check_health(check, within) for check in self._checks))
        samples: list[Sample] = []
        for check, result in zip(self._checks, found, strict=True):
            self._tell_change(check.name, result)
            self.results[check.name] = result
            samples.append(metrics.HEALTH_UP(float(result.up), check.name))
            samples.append(metrics.HEALTH_DURATION(result.duration_seconds, check.name))
            if result.certificate_expires is not None:
                expiry = metrics.HEALTH_CERTIFICATE_EXPIRY(result.certificate_expires, check.name)
                samples.append(expiry)
        return samples

    def _tell_change(self, name: str, result: HealthResult) -> None:
        before = self.results.get(name)
        if before is not None and before.reason == result.reason:
            return
        if not result.up:
            log.warning(
                "health_check_failed", check=name, reason=result.reason, detail=result.detail
            )
        elif before is not None:
            log.info("health_check_recovered", check=name)


def build(wiring: Wiring) -> list[Collector]:
    """The one collector, where checks are configured."""
    checks = wiring.settings.health
    return [HealthChecks(checks)] if checks else []
