"""Where customers' issues would show: alerts, queries of trackers, and a list that people sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phasegate.contract.frozen import keyed
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import Contradiction, ListOf, MapOf, Section, setting
from phasegate.contract.settings_http import HttpAccess
from phasegate.contract.settings_kinds import NAME
from phasegate.contract.settings_rules import of_http
from phasegate.contract.shapes import Choice, Duration, FilePath, HttpUrl, Regex, Text

_HEADERS = MapOf(
    Text("one line of text", r"[^\r\n]+", secret=True),
    "headers",
    Text("a header's name", r"[A-Za-z0-9-]+"),
)


@keyed
class Endpoint(HttpAccess):
    """One place that is asked over HTTP."""

    name: str = setting(NAME, "What verdicts call it.", example="production")
    headers: Mapping[str, Secret] = setting(
        _HEADERS, "Headers of every request.", dict, example="{X-Scope-OrgID: team-a}"
    )
    timeout: float = setting(Duration(0.05, 60), "Longest time of the whole answer.", 10.0)


@keyed
class AlertSource(Endpoint):
    """A Prometheus or an Alertmanager whose alerts tell of customers' issues."""

    url: str = setting(HttpUrl(), "The base of its API.", example='"http://127.0.0.1:9090"')
    api: str = setting(
        Choice(("prometheus", "alertmanager")),
        "Whose API: `prometheus` (`/api/v1/alerts` and `/api/v1/rules`), or `alertmanager` "
        "(`/api/v2/alerts`).",
        "prometheus",
    )
    match: Mapping[str, str] = setting(
        MapOf(Regex(), "labels and expressions", Text("a label", r"[a-zA-Z_][a-zA-Z0-9_]*")),
        "An alert is of a customer's issue where its labels match all of these expressions, each "
        "matched whole; a label that it lacks is empty.",
        example='{alertname: "Customer.*", severity: critical|page}',
    )
    watchdog: str = setting(
        Text("the name of an alert"),
        "The alert that always fires; without it silence proves nothing. It is never an issue.",
        "Watchdog",
    )


@keyed
class TrackerQuery(Endpoint):
    """One query that counts open issues."""

    url: str = setting(
        HttpUrl(),
        "What is asked, with its query.",
        example='"https://gitlab.example/api/v4/projects/7/issues_statistics?labels=customer"',
    )
    method: str = setting(Choice(("GET", "POST")), "The method of the request.", "GET")
    body: str | None = setting(
        Text(), "The body of a POST, JSON.", None, example="""'{"jql": "labels = customer"}'"""
    )
    path: str = setting(
        Text("a JMESPath expression"),
        "The JMESPath expression that gives the count of open issues, or a list of them.",
        example="statistics.counts.opened",
    )


@keyed
class Signoff:
    """A list of items that people check."""

    file: Path = setting(FilePath(), "A YAML or JSON file.", example="signoff.yaml")
    required: tuple[str, ...] = setting(
        ListOf(Text("the name of an item"), "items", unique=True),
        "Items that the file must hold, so that a shorter one cannot pass.",
        (),
        example='["support inbox read"]',
    )


def _posted(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    if values.get("body") is not None and values.get("method") == "GET":
        yield Contradiction(("body",), "a body of a GET", "method: POST beside it")


def _matches(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    if values.get("match", {"": ""}) == {}:
        expected = "one label at least; every alert would match"
        yield Contradiction(("match",), "an empty mapping", expected)


def _named_once(values: Mapping[str, Any]) -> Iterator[Contradiction]:
    for section in ("alerts", "tracker"):
        seen: set[str] = set()
        for index, one in enumerate(values.get(section, ())):
            name = getattr(one, "name", None)
            if name in seen:
                path = (section, index, "name")
                yield Contradiction(path, f"{name} a second time", "each once")
            seen |= {name} if name is not None else set()


@keyed
class Issues:
    """Every source that is named here must say that there is no issue."""

    alerts: tuple[AlertSource, ...] = setting(
        ListOf(Section(AlertSource, "name, url, match and more", (*of_http, _matches)), "alerts"),
        "Where alerts are read.",
        (),
        example='[{name: production, url: "http://127.0.0.1:9090", match: {team: support}}]',
    )
    tracker: tuple[TrackerQuery, ...] = setting(
        ListOf(Section(TrackerQuery, "name, url, path and more", (*of_http, _posted)), "queries"),
        "Queries of trackers.",
        (),
        example='[{name: desk, url: "https://desk.example/api/open", path: total}]',
    )
    signoff: Signoff | None = setting(
        Section(Signoff, "file, required"),
        "The list that people sign.",
        None,
        example="{file: signoff.yaml}",
    )


of_issues = (_named_once,)
