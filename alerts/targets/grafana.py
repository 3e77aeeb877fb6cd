"""Grafana's own alert rules, as files that Grafana 11 and later provision.

Grafana takes a bare query for good where its value is zero, as with `up < 1`; so a second step asks
whether the query returned anything at all. Files know no rules that record before Grafana 12: what
is recorded elsewhere is written out here. `$` is replaced by the environment in all but annotations
and queries, so none stands there; and a title is an alert's name, once in a folder.
"""

from __future__ import annotations

import hashlib
from typing import Any

from phasegate.alerts.model import Alert, Group
from phasegate.alerts.rules import make_annotations, make_labels
from phasegate.alerts.spelling import to_yaml
from phasegate.contract.promql import select
from phasegate.contract.settings import Settings
from phasegate.contract.units import format_duration

HELP = (
    "alert rules for file provisioning of Grafana 11 or later; monitoring.datasource is the uid of "
    "your Prometheus there; without keepFiringFor, which files know from 12.1.2 on; Grafana "
    "inhibits nothing: a critical alert comes beside its warning"
)
LOOK_BACK_SECONDS = 600
LEAST = -(10**15)
"""Below every value that a rule can return: ages, counts, sizes, shares."""


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """`grafana/rules.yaml`."""
    document = {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                # A folder for each job: a title may be there once.
                "folder": settings.monitoring.job,
                "interval": format_duration(group.interval),
                "rules": [_rule(one, group, settings) for one in group.alerts],
            }
        ],
    }
    return {"grafana/rules.yaml": to_yaml(document)}


def _rule(alert: Alert, group: Group, settings: Settings) -> dict[str, Any]:
    annotations = make_annotations(alert, settings)
    board, panel = annotations.pop("__dashboardUid__"), annotations.pop("__panelId__")
    return {
        "uid": make_uid(alert, settings),
        "title": f"{alert.name} ({alert.severity})" if _is_twice(alert, group) else alert.name,
        "condition": "B",
        "data": [
            _query(write_out(alert.expression, group, settings), settings.monitoring.datasource),
            _anything(),
        ],
        "dashboardUid": board,
        "panelId": int(panel),
        "noDataState": "OK",
        "execErrState": "Error",
        "for": format_duration(alert.hold) if alert.hold else "0s",
        "annotations": {key: to_template(text) for key, text in annotations.items()},
        "labels": {
            key: text.replace("$", "$$") for key, text in make_labels(alert, settings).items()
        },
        "isPaused": False,
    }


def make_uid(alert: Alert, settings: Settings) -> str:
    """The same whenever it is built, at most 40 signs of those that Grafana allows."""
    parts = (settings.monitoring.job, alert.name, alert.severity)
    return f"phasegate-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:24]}"


def write_out(expression: str, group: Group, settings: Settings) -> str:
    """The expression with what would be recorded in the place of its name."""
    for record in group.records:
        name = select(record.name, {"job": settings.monitoring.job})
        expression = expression.replace(name, f"({record.expression})")
    return expression


def to_template(text: str) -> str:
    """Grafana's `$value` is a sentence about all steps; the value of the query has its letter."""
    return text.replace("$value", "$values.A.Value")


def _is_twice(alert: Alert, group: Group) -> bool:
    return sum(one.name == alert.name for one in group.alerts) > 1


def _query(expression: str, datasource: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": LOOK_BACK_SECONDS, "to": 0},
        "datasourceUid": datasource,
        "model": {
            "refId": "A",
            "datasource": {"type": "prometheus", "uid": datasource},
            "editorMode": "code",
            "expr": expression,
            "instant": True,
            "range": False,
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }


def _anything() -> dict[str, Any]:
    return {
        "refId": "B",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "refId": "B",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "type": "threshold",
            "expression": "A",
            "conditions": [{"evaluator": {"type": "gt", "params": [LEAST]}}],
            "intervalMs": 1000,
            "maxDataPoints": 43200,
        },
    }
