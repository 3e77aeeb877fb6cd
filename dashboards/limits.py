"""From a criterion's limits to the coloured steps of a panel, and to words that say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phasegate.contract.criteria import CRITERIA, Direction, passing_limit, thresholds
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.rules import passing_share
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import runbook_url
from phasegate.dashboards import colours

Steps = list[dict[str, Any]]
"""As Grafana has them: ascending, each from its value on; the first from below all values."""


def steps(base: str, *rest: tuple[float, str]) -> Steps:
    """A colour below all values, then each from its value on."""
    return [
        {"color": base, "value": None},
        *({"color": colour, "value": _plain(value)} for value, colour in rest),
    ]


def rising(limits: Mapping[str, float]) -> Steps:
    """Of what is bad above limits by severity."""
    found = {
        limits[severity]: _SEVERITIES[severity] for severity in _SEVERITIES if severity in limits
    }
    return steps(colours.OK, *found.items())


def falling(limits: Mapping[str, float]) -> Steps:
    """Of what is bad below limits by severity."""
    edges = [limits[severity] for severity in ("critical", "warning") if severity in limits]
    better = [colours.WARNING, colours.OK] if len(edges) == 2 else [colours.OK]
    found = dict(zip(edges, better, strict=True))
    worst = colours.CRITICAL if "critical" in limits else colours.WARNING
    return steps(worst, *found.items())


def steps_of(settings: Settings, name: str) -> Steps:
    """Of a criterion's value; a colour begins at the limit, which itself still passes."""
    limits, limit = thresholds(settings, name), passing_limit(settings, name)
    above = limit.direction is Direction.ABOVE
    if limits:
        return rising(limits) if above else falling(limits)
    if above:
        # Whole things: one more than the limit is the first that is bad.
        return rising({"critical": limit.value + 1})
    return falling({"critical": limit.value})


def steps_of_share(settings: Settings, name: str) -> Steps:
    """Of the share of bad tries of a criterion that is decided by counts."""
    return rising({"warning": passing_share(settings, name).share})


def say_limit(settings: Settings, name: str) -> str:
    """`≤ 10 ms`, `≥ 90 %`, `≤ 10,000`, `= 0`."""
    limit = passing_limit(settings, name)
    if limit.unit in (Unit.UP, Unit.CHECK):
        return f"= {format_value(limit.value, limit.unit)}"
    if CRITERIA[name].critical is None and not limit.value:
        return "= 0"
    sign = "≤" if limit.direction is Direction.ABOVE else "≥"
    unit = limit.unit if limit.unit in _MEASURES else ""
    return f"{sign} {format_value(limit.value, unit)}"


def say_remedy(name: str) -> str:
    """What to do about a criterion, as a sentence."""
    remedy = CRITERIA[name].remedy
    return f"{remedy[0].upper()}{remedy[1:]}."


def runbook_of(name: str) -> tuple[str, str]:
    """Page and anchor of what a criterion's alert leads to; empty where it has none."""
    policy = CRITERIA[name].alert
    return ("", "") if policy is None else (policy.page, policy.name.lower())


def say_runbooks(settings: Settings) -> str:
    """Where the list of all runbooks is read."""
    return runbook_url(settings.monitoring.runbooks, "index", "by-page")


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


_MEASURES = (Unit.SECONDS, Unit.BYTES, Unit.RATIO)
"""The others count things that the title names."""
_SEVERITIES = {"warning": colours.WARNING, "critical": colours.CRITICAL}
