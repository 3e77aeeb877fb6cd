"""What a Prometheus and an Alertmanager say of their alerts, as the judgement needs it.

What matches is chosen here, over all that the API gives: a filter in the request that matches
nothing would look like silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from phasegate.contract.errors import SourceError
from phasegate.contract.issues import Alert, AlertAnswer, AlertRule, can_match, does_match
from phasegate.contract.secrets import redactor
from phasegate.contract.settings_issues import AlertSource
from phasegate.contract.times import parse_time
from phasegate.validators.json_answer import ask, decode
from phasegate.validators.printable import shorten

_PROMETHEUS_STATES = ("firing", "pending", "inactive")
_Labels = dict[str, str]


class _PrometheusAlert(msgspec.Struct):
    labels: _Labels
    state: str
    activeAt: str = ""  # noqa: N815  (its own spelling, as below)


class _PrometheusAlerts(msgspec.Struct):
    alerts: list[_PrometheusAlert]


class _Rule(msgspec.Struct):
    name: str
    type: str
    health: str = ""
    labels: _Labels = {}
    lastError: str = ""  # noqa: N815
    lastEvaluation: str = ""  # noqa: N815


class _Group(msgspec.Struct):
    rules: list[_Rule]
    interval: float = 60.0


class _Groups(msgspec.Struct):
    groups: list[_Group]


class _Envelope(msgspec.Struct):
    status: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    warnings: list[str] | None = None


class _Status(msgspec.Struct):
    state: str
    silencedBy: list[str] = []  # noqa: N815
    inhibitedBy: list[str] = []  # noqa: N815
    mutedBy: list[str] = []  # noqa: N815


class _ManagedAlert(msgspec.Struct):
    labels: _Labels
    status: _Status
    startsAt: str = ""  # noqa: N815
    updatedAt: str = ""  # noqa: N815


class _Silence(msgspec.Struct):
    id: str
    createdBy: str = ""  # noqa: N815
    comment: str = ""
    endsAt: str = ""  # noqa: N815


def read_prometheus(source: AlertSource, called: str) -> AlertAnswer:
    """What a Prometheus knows, and its rules. Raises SourceError as `called`."""
    alerts, warned = _data(source, called, "/api/v1/alerts", _PrometheusAlerts)
    groups, warned_too = _data(source, called, "/api/v1/rules?type=alert", _Groups)
    for one in alerts.alerts:
        if one.state not in _PROMETHEUS_STATES:
            raise SourceError(called, f"an alert has the state {shorten(one.state)!r}")
    active = [
        (one.labels, Alert(_show(one.labels), one.state, _seconds(one.activeAt)))
        for one in alerts.alerts
        if one.state != "inactive"
    ]
    rules = tuple(
        _rule(rule, group.interval, source.match)
        for group in groups.groups
        for rule in group.rules
        if rule.type == "alerting"
        and rule.name != source.watchdog
        and can_match(source.match, rule.name, rule.labels)
    )
    warnings = tuple(dict.fromkeys([*warned, *warned_too]))
    return AlertAnswer(source.name, *_chosen(active, source), rules, warnings)


def _data(source: AlertSource, called: str, path: str, kind: type[Any]) -> tuple[Any, list[str]]:
    """What a Prometheus says below `data`, and its warnings."""
    answer = ask(source, f"{source.url.rstrip('/')}{path}", called)
    envelope = decode(answer, called, _Envelope)
    if envelope.status != "success":
        said = f"it says {shorten(envelope.status)!r}: {_fit(envelope.error)}"
        raise SourceError(called, said)
    data = decode(answer._replace(body=bytes(envelope.data)), called, kind)
    return data, [_fit(text) for text in envelope.warnings or ()]


def _rule(rule: _Rule, interval: float, match: Mapping[str, str]) -> AlertRule:
    return AlertRule(
        _fit(rule.name),
        _fit(rule.health),
        _fit(rule.lastError),
        _seconds(rule.lastEvaluation),
        interval if math.isfinite(interval) else 0.0,
        tuple(label for label in match if label in rule.labels or label == "alertname"),
    )


def read_alertmanager(source: AlertSource, called: str) -> AlertAnswer:
    """What an Alertmanager knows, with the silences. Raises SourceError as `called`."""
    base = source.url.rstrip("/")
    alerts = decode(ask(source, f"{base}/api/v2/alerts", called), called, list[_ManagedAlert])
    suppressed = any(
        one.status.state == "suppressed" and does_match(source.match, one.labels) for one in alerts
    )
    silences: dict[str, _Silence] = {}
    if suppressed:
        answer = ask(source, f"{base}/api/v2/silences", called)
        silences = {one.id: one for one in decode(answer, called, list[_Silence])}
    active = []
    for one in alerts:
        if one.status.state not in ("active", "unprocessed", "suppressed"):
            said = f"an alert has the state {shorten(one.status.state)!r}"
            raise SourceError(called, said)
        alert = Alert(
            _show(one.labels),
            "suppressed" if one.status.state == "suppressed" else "firing",
            _seconds(one.startsAt),
            _seconds(one.updatedAt),
            tuple(_suppressed_by(one.status, silences)),
        )
        active.append((one.labels, alert))
    return AlertAnswer(source.name, *_chosen(active, source))


def _suppressed_by(status: _Status, silences: Mapping[str, _Silence]) -> Iterable[str]:
    for identity in status.silencedBy:
        silence = silences.get(identity)
        told = f"silenced by {_fit(identity)}"
        if silence is not None:
            told += f" of {_fit(silence.createdBy)} until {_fit(silence.endsAt)}"
            told += f" ({_fit(silence.comment)})"
        yield told
    for identity in status.inhibitedBy:
        yield f"inhibited by the alert {_fit(identity)}"
    for identity in status.mutedBy:
        yield f"muted by {_fit(identity)}"


def _chosen(
    active: Iterable[tuple[_Labels, Alert]], source: AlertSource
) -> tuple[tuple[Alert, ...], tuple[Alert, ...]]:
    """The alerts that match, and the watchdogs; in an order that is no accident."""
    alerts, watchdogs = [], []
    for labels, alert in active:
        if labels.get("alertname") == source.watchdog:
            watchdogs.append(alert)
        elif does_match(source.match, labels):
            alerts.append(alert)
    return _ordered(alerts), _ordered(watchdogs)


def _ordered(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    return tuple(sorted(alerts, key=lambda one: (one.shown, one.since)))


def _show(labels: _Labels) -> str:
    rest = ", ".join(
        f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname"
    )
    return _fit(f"{labels.get('alertname', 'an alert')}{{{rest}}}")


def _fit(text: str) -> str:
    """What others wrote, without secrets, as one short line."""
    return shorten(redactor(text))


def _seconds(text: str) -> float:
    """Unix seconds; 0 for what is no time, which is too old for anything."""
    try:
        return parse_time(text)
    except ValueError:
        return 0.0
