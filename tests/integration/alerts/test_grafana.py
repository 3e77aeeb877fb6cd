"""Grafana's rules by file: no Grafana is at hand, so their shape is held against what its
documentation says of version 11, and what they ask against a real Prometheus."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.alerting import Rule

from phasegate.alerts.model import Group
from phasegate.alerts.rules import make_group
from phasegate.alerts.targets.grafana import render_files, write_out
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from tests.fixtures.exposition import Exposed
from tests.fixtures.programs import run_program
from tests.integration.alerts.scenes import SCENES
from tests.integration.alerts.test_promtool import BAD, make_cases
from tests.integration.alerts.unit_tests import only, run_cases

SETTINGS = Settings()
GROUP = make_group(SETTINGS)
DURATION = {"type": "string", "pattern": r"^(\d+(ms|s|m|h|d|w))+$"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
# Of an organisation's folder, of a group in it: at most so long, and nothing but these signs.
UID = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"}
STATES = {"enum": ["OK", "NoData", "Alerting", "KeepLast"]}
QUERY = {
    "type": "object",
    "required": ["refId", "datasourceUid", "model"],
    "additionalProperties": False,
    "properties": {
        "refId": {"type": "string", "minLength": 1},
        "queryType": {"type": "string"},
        "relativeTimeRange": {
            "type": "object",
            "required": ["from", "to"],
            "additionalProperties": False,
            "properties": {"from": {"type": "integer"}, "to": {"type": "integer"}},
        },
        "datasourceUid": {"type": "string", "minLength": 1},
        "model": {"type": "object", "required": ["refId", "datasource"]},
    },
}
RULE = {
    "type": "object",
    "required": ["uid", "title", "condition", "data", "for"],
    "additionalProperties": False,
    "properties": {
        "uid": UID,
        "title": {"type": "string", "minLength": 1, "maxLength": 190},
        "condition": {"type": "string"},
        "data": {"type": "array", "items": QUERY, "minItems": 1},
        "dashboardUid": {"type": "string", "maxLength": 40},
        "panelId": {"type": "integer"},
        "noDataState": STATES,
        "execErrState": {"enum": ["OK", "Error", "Alerting", "KeepLast"]},
        "for": DURATION,
        "annotations": TEXTS,
        "labels": TEXTS,
        "isPaused": {"type": "boolean"},
    },
}
FILE = {
    "type": "object",
    "required": ["apiVersion", "groups"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": 1},
        "groups": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "folder", "interval", "rules"],
                "additionalProperties": False,
                "properties": {
                    "orgId": {"type": "integer"},
                    "name": {"type": "string", "minLength": 1},
                    "folder": {"type": "string", "minLength": 1},
                    "interval": DURATION,
                    "rules": {"type": "array", "items": RULE},
                },
            },
        },
    },
}


def build(settings: Settings = SETTINGS) -> dict[str, Any]:
    """What Grafana reads."""
    (text,) = render_files(make_group(settings), settings).values()
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def list_rules(document: dict[str, Any]) -> list[dict[str, Any]]:
    """All of its rules."""
    (group,) = document["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_file_keeps_to_what_grafana_documents() -> None:
    document = build()
    jsonschema.Draft202012Validator(FILE).validate(document)
    rules = list_rules(document)
    assert len(rules) == len(GROUP.alerts)
    for rule in rules:
        read = json.loads(json.dumps(Rule.from_json(rule).to_json(), cls=JSONEncoder))
        # Of the file alone: over the API these two are annotations.
        assert set(rule) - set(read) == {"dashboardUid", "panelId"}
        assert read.items() >= {key: rule[key] for key in set(rule) & set(read)}.items()


def test_nothing_of_a_later_grafana_is_in_it() -> None:
    text = yaml.safe_dump(build())
    for later in ("keepFiringFor", "record", "missing_series_evals_to_resolve"):
        assert f"{later}:" not in text


def test_uids_and_titles_are_there_once_and_the_same_each_time() -> None:
    rules = list_rules(build())
    for key in ("uid", "title"):
        assert max(Counter(rule[key] for rule in rules).values()) == 1
    assert rules == list_rules(build())
    other = build(Settings(monitoring=Monitoring(job="staging")))
    assert not {rule["uid"] for rule in rules} & {rule["uid"] for rule in list_rules(other)}
    assert other["groups"][0]["folder"] != build()["groups"][0]["folder"]


def test_the_condition_is_that_the_query_returned_anything_even_zero() -> None:
    for rule in list_rules(build()):
        query, threshold = rule["data"]
        assert (query["refId"], threshold["refId"], rule["condition"]) == ("A", "B", "B")
        assert query["model"]["instant"] is True
        assert query["datasourceUid"] == query["model"]["datasource"]["uid"]
        assert threshold["datasourceUid"] == "__expr__"
        assert threshold["model"]["expression"] == "A"
        (condition,) = threshold["model"]["conditions"]
        assert condition["evaluator"]["type"] == "gt"
        assert condition["evaluator"]["params"][0] < -(10**14)
        # Silence is good for each: what wakes by absence returns a series when there is none.
        assert rule["noDataState"] == "OK"


def test_the_data_source_is_that_of_the_configuration() -> None:
    for rule in list_rules(build(Settings(monitoring=Monitoring(datasource="mimir-eu")))):
        query, _ = rule["data"]
        assert query["datasourceUid"] == query["model"]["datasource"]["uid"] == "mimir-eu"


def test_nothing_that_the_environment_replaces_has_a_dollar_sign() -> None:
    labels = {"service": "$HOME"}
    for rule in list_rules(build(Settings(monitoring=Monitoring(labels=labels)))):
        assert rule["labels"]["service"] == "$$HOME"
        assert "$" not in str({**rule, "labels": {}, "annotations": {}})


def test_texts_say_the_value_as_grafana_names_it() -> None:
    for rule, alert in zip(list_rules(build()), GROUP.alerts, strict=True):
        summary = rule["annotations"]["summary"]
        assert re.search(r"\$value\b", summary) is None
        assert ("$values.A.Value" in summary) is ("$value" in alert.summary)
        assert not {"__dashboardUid__", "__panelId__"} & set(rule["annotations"])


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    rules = [
        {"alert": f"A{number}", "expr": rule["data"][0]["model"]["expr"]}
        for number, rule in enumerate(list_rules(build()))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}), encoding="utf-8")
    checked = run_program("promtool", "check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    text = file.read_text(encoding="utf-8")
    assert not [record.name for record in GROUP.records if f"{record.name}{{" in text]


@pytest.mark.parametrize("name", ["HighUUIDLookupLatency", "LowCacheHitRate"])
def test_what_is_recorded_elsewhere_fires_written_out(
    name: str, exposed: Exposed, tmp_path: Path
) -> None:
    group = only(GROUP, name, "warning")
    (alert,) = group.alerts
    written = msgspec.structs.replace(
        alert, expression=write_out(alert.expression, group, SETTINGS)
    )
    scene = SCENES[name, "warning"][0]
    alone = Group(group.name, group.interval, (), (written,))
    cases = make_cases(written, scene)
    fired = run_cases(exposed, alone, SETTINGS, cases, tmp_path)
    _, late, *_ = cases[0].looks
    assert late in {one.second for one in fired if one.test == BAD}
    assert {one.test for one in fired} == {BAD}
