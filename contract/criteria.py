"""The thresholds of the criteria that the exporter measures, once: limits, direction and unit.

Alerts, panels, verdicts and bucket edges read these; `criteria:` of the configuration overrides
them. To add a criterion: one entry here, together with what measures it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from phasegate.contract.settings import Settings


class Direction(StrEnum):
    """On which side of its limit a value is bad."""

    ABOVE = "above"
    BELOW = "below"


class Criterion(msgspec.Struct, frozen=True):
    """`warning` and `critical` in `unit`; the guide's own figures where it gives them."""

    direction: Direction
    unit: str
    warning: float
    critical: float


CRITERIA: dict[str, Criterion] = {
    "uuid_lookup_latency": Criterion(Direction.ABOVE, "seconds", 0.01, 0.02),
    "audit_partition_size": Criterion(Direction.ABOVE, "bytes", 10 * 2**30, 20 * 2**30),
    "audit_partition_runway": Criterion(Direction.BELOW, "seconds", 14 * 86_400, 3 * 86_400),
}


def thresholds(settings: Settings, name: str) -> dict[str, float]:
    """The limits in force by severity: the configuration's where it gives one."""
    criterion, override = CRITERIA[name], getattr(settings.criteria, name)
    return {
        severity: default if (given := getattr(override, severity)) is None else float(given)
        for severity, default in (
            ("warning", criterion.warning),
            ("critical", criterion.critical),
        )
    }
