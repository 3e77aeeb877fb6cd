"""Who is told of an alert, and which alerts are told by another one already. Pure.

The guide's way is on-call by PagerDuty, then the database team, the platform team, the incident
commander. Alertmanager knows neither time since a notification nor an acknowledgement: what it can
do is here, and the file says what PagerDuty has to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from phasegate.alerts.model import Group
from phasegate.contract import metrics
from phasegate.contract.settings import Settings

ON_CALL, PLATFORM_TEAM, COMMANDER = "on-call", "platform-team", "incident-commander"
HEARTBEAT = "heartbeat"
ESCALATION = "escalation"
"""The label by which a person raises an alert to the next level."""
SECRETS = "/etc/alertmanager/secrets"
PLACE = ("cluster", "namespace", "job", "instance")
"""What tells one exporter from another; the first two where Prometheus adds them."""
BOARDS_OF = {"database": ("database", "audit", "migration"), "cache": ("cache",)}
"""Which boards show what nobody can know while that target does not answer."""
COLLECTORS_OF = {
    "database": (
        *("audit", "audit/events", "audit/reconcile", "coverage", "database", "identity"),
        *("key_overflow", "key_scans", "latency", "migration", "partitions", "partitions/default"),
        *("plans", "schema", "schema/uuid_missing"),
    ),
    "cache": ("cache", "cache_keys"),
}
"""What fails with that target, as the exporter names it."""
_SUMMARY = '{{ range .Alerts }}{{ .Annotations.summary }}{{ "\\n" }}{{ end }}'
_SLACK = (
    "{{ range .Alerts }}*{{ .Labels.severity }}* {{ .Annotations.summary }}"
    '{{ with .Annotations.description }}{{ "\\n" }}{{ . }}{{ end }}'
    '{{ with .Annotations.runbook_url }}{{ "\\n" }}<{{ . }}|Runbook>{{ end }}'
    "{{ with .Annotations.dashboard_url }} <{{ . }}|Panel>{{ end }}"
    '{{ "\\n" }}{{ end }}'
)


def name_team(settings: Settings) -> str:
    """The team's receiver, and its channel without the sign before it."""
    return f"{settings.monitoring.team}-team"


def make_route(group: Group, settings: Settings) -> dict[str, Any]:
    """The tree of routes; what none of them knows goes to the platform team."""
    team = name_team(settings)
    # Whoever runs the machines learns of what is gone at once, not after the database team.
    gone = _either(
        {one.name for one in group.alerts if one.page == "exporter" and one.severity == "critical"}
    )
    own = [
        {
            "receiver": ON_CALL,
            "matchers": ['severity="critical"'],
            "group_wait": "10s",
            "repeat_interval": "1h",
            "continue": True,
        },
        {
            "receiver": PLATFORM_TEAM,
            "matchers": ['severity="critical"', f"alertname=~{gone}"],
            "continue": True,
        },
        {"receiver": team, "matchers": ['severity=~"critical|warning"']},
        # Seen the next morning is early enough: nobody is paged, nothing is said twice.
        {
            "receiver": team,
            "matchers": ['severity="info"'],
            "group_wait": "5m",
            "repeat_interval": "7d",
        },
    ]
    return {
        "receiver": PLATFORM_TEAM,
        "group_by": ["alertname", *PLACE],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "routes": [
            {
                "receiver": HEARTBEAT,
                "matchers": ['alertname="Watchdog"'],
                "group_wait": "0s",
                "group_interval": "1m",
                "repeat_interval": "1m",
            },
            *(
                {"receiver": one, "matchers": [f'{ESCALATION}="{one}"']}
                for one in (COMMANDER, PLATFORM_TEAM, team)
            ),
            {
                "receiver": team,
                "matchers": [f'team="{settings.monitoring.team}"'],
                "routes": own,
            },
        ],
    }


def make_receivers(settings: Settings) -> list[dict[str, Any]]:
    """Each with its secret in a file."""
    return [
        {"name": ON_CALL, "pagerduty_configs": [_pagerduty(ON_CALL)]},
        {"name": name_team(settings), "slack_configs": [_slack(name_team(settings))]},
        {"name": PLATFORM_TEAM, "slack_configs": [_slack(PLATFORM_TEAM)]},
        {"name": COMMANDER, "pagerduty_configs": [_pagerduty(COMMANDER)]},
        {
            "name": HEARTBEAT,
            "webhook_configs": [
                {"url": "https://heartbeat.example/phasegate", "send_resolved": False}
            ],
        },
    ]


def make_inhibitions(group: Group) -> Iterator[dict[str, Any]]:
    """Of one cause one notification: the worst, or that of what everything else stands on."""
    yield {
        "source_matchers": ['severity="critical"'],
        "target_matchers": ['severity="warning"'],
        "equal": ["alertname", *PLACE, *_subject_labels(group)],
    }
    yield {
        "source_matchers": ['alertname="ExporterAbsent"'],
        "target_matchers": ['alertname!~"ExporterAbsent|Watchdog"'],
        # Of what is absent there is no instance.
        "equal": [label for label in PLACE if label != "instance"],
    }
    yield {
        "source_matchers": ['alertname="ExporterDown"'],
        "target_matchers": ['alertname!~"ExporterAbsent|ExporterDown|Watchdog"'],
        "equal": [*PLACE],
    }
    for target, boards in BOARDS_OF.items():
        source = ['alertname="TargetDown"', f'target="{target}"']
        known = {one.name for one in group.alerts if one.panel[0] in boards}
        for matchers in (
            [f"alertname=~{_either(known)}"],
            ['alertname="MeasurementsStopped"', f'target="{target}"'],
            ['alertname="CollectorFailing"', f"collector=~{_either(COLLECTORS_OF[target])}"],
        ):
            yield {"source_matchers": source, "target_matchers": matchers, "equal": [*PLACE]}


def _subject_labels(group: Group) -> list[str]:
    """Labels of the series behind those alerts that have a warning and a critical limit."""
    critical = {one.name for one in group.alerts if one.severity == "critical"}
    both = {one.name for one in group.alerts if one.severity == "warning"} & critical
    texts = [one.expression for one in group.alerts if one.name in both]
    texts += [one.expression for one in group.records]
    read = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", " ".join(texts)))
    suffixes = ("", "_bucket", "_count")
    labels = {
        label
        for metric in metrics.METRICS
        if any(f"{metric.name}{suffix}" in read for suffix in suffixes)
        for label in metric.labels
    }
    return sorted(labels)


def _either(names: Iterable[str]) -> str:
    return '"' + "|".join(sorted(re.escape(name) for name in names)) + '"'


def _pagerduty(name: str) -> dict[str, Any]:
    return {
        "routing_key_file": f"{SECRETS}/pagerduty-{name}",
        "severity": "{{ .CommonLabels.severity }}",
        "description": _SUMMARY,
        "links": [
            {"text": "Runbook", "href": "{{ .CommonAnnotations.runbook_url }}"},
            {"text": "Panel", "href": "{{ (index .Alerts 0).Annotations.dashboard_url }}"},
        ],
    }


def _slack(channel: str) -> dict[str, Any]:
    return {
        "api_url_file": f"{SECRETS}/slack-url",
        "channel": f"#{channel}",
        "send_resolved": True,
        "title": "[{{ .Status }}] {{ .GroupLabels.alertname }}",
        "text": _SLACK,
    }
