"""What happened, as marks on every board: phases, gates, deployments and what was accepted.

A mark stands at the time that a series holds as its value, whatever the zoom: `changes() > 0` would
smear it over the width of a step.
"""

from __future__ import annotations

from typing import Any

from phasegate.contract import metrics
from phasegate.contract.promql_series import moments, moments_where
from phasegate.dashboards import colours
from phasegate.dashboards.modern import DATASOURCE

_BUILT_IN: dict[str, Any] = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": colours.UNKNOWN,
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def make_annotations() -> list[dict[str, Any]]:
    """Grafana's own, then ours."""
    accepted = moments_where(metrics.MIGRATION_PHASE_FINISHED, metrics.MIGRATION_OVERRIDDEN)
    return [
        _BUILT_IN,
        _mark(
            "Phase began", moments(metrics.MIGRATION_PHASE_STARTED), colours.ACTIVE,
            "Phase {{phase}} began",
        ),
        _mark(
            "Gate opened", moments(metrics.MIGRATION_PHASE_FINISHED), colours.OK,
            "Gate of phase {{phase}} opened",
        ),
        _mark(
            "Deployment or hook", moments(metrics.MIGRATION_HOOK_FINISHED), colours.NOTABLE,
            "{{hook}} ended",
        ),
        _mark(
            "Override", accepted, colours.CRITICAL,
            "{{criterion}} accepted at the gate of {{phase}}",
        ),
    ]  # fmt: skip


def _mark(name: str, expression: str, colour: str, title: str) -> dict[str, Any]:
    return {
        "datasource": dict(DATASOURCE),
        "enable": True,
        "expr": expression,
        "hide": False,
        "iconColor": colour,
        "name": name,
        "step": "60s",
        "tagKeys": "phase" if "{{phase}}" in title else "",
        "textFormat": title,
        "titleFormat": title,
        "useValueForTime": True,
    }
