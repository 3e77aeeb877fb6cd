"""From the contract to the rules: every criterion that alerts, then what stands behind none."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from phasegate.alerts.meta import make_meta
from phasegate.alerts.model import INTERVAL_SECONDS, Alert, Group
from phasegate.alerts.words import say_value
from phasegate.contract.boards import BOARDS, PANELS, board_url
from phasegate.contract.criteria import CRITERIA, severity_limit, thresholds
from phasegate.contract.promql import make_alarm, make_records
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import runbook_url

GROUP = "database_performance"
"""The guide's name."""


def make_group(settings: Settings) -> Group:
    """The rules with the limits of these settings, the guide's own first."""
    job = {"job": settings.monitoring.job}
    alerts = (*_of_criteria(settings), *make_meta(settings))
    return Group(GROUP, INTERVAL_SECONDS, make_records(job), alerts)


def make_labels(alert: Alert, settings: Settings) -> dict[str, str]:
    """What routes and inhibitions go by."""
    given = {"severity": alert.severity, "team": settings.monitoring.team}
    criterion = {"criterion": alert.criterion} if alert.criterion else {}
    return {**settings.monitoring.labels, **given, **criterion}


def make_annotations(alert: Alert, settings: Settings) -> dict[str, str]:
    """What a person reads, and the way to the runbook and the panel."""
    monitoring = settings.monitoring
    board, panel = alert.panel
    # What fires without data has no labels.
    here = f"&var-job={quote(monitoring.job)}"
    if not alert.absence:
        here += "&var-instance={{ $labels.instance | urlquery }}"
    return {
        "summary": alert.summary,
        "description": alert.description,
        "runbook_url": runbook_url(monitoring.runbooks, alert.page, alert.name.lower()),
        "dashboard_url": board_url(monitoring.grafana, board, panel, here),
        "__dashboardUid__": BOARDS[board].uid,
        "__panelId__": str(PANELS[board][panel]),
    }


def _of_criteria(settings: Settings) -> Iterator[Alert]:
    job = {"job": settings.monitoring.job}
    for name, criterion in CRITERIA.items():
        policy = criterion.alert
        if policy is None:
            continue
        for severity in thresholds(settings, name) or {policy.severity: 0}:
            limit = severity_limit(settings, name, severity)
            yield Alert(
                name=policy.name,
                severity=severity,
                expression=make_alarm(settings, name, severity, job),
                hold=policy.hold,
                keep=policy.keep,
                summary=say_value(policy.summary, limit.value, limit.unit),
                description=f"{criterion.remedy[0].upper()}{criterion.remedy[1:]}.",
                page=policy.page,
                panel=policy.panel,
                criterion=name,
            )
