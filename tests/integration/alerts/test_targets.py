"""Each tool takes the file that is made for it, and the file is what is committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from phasegate.alerts.build import render_all
from phasegate.contract.built_files import write_files
from phasegate.contract.settings import Settings
from tests.fixtures.programs import run_program

ROOM = Path(__file__).parents[3] / "alerts"
# Of the definition of monitoring.coreos.com/v1 as operator 0.66 and later publish it.
DURATION = (
    r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
)
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
RULE = {
    "type": "object",
    "required": ["expr"],
    "additionalProperties": False,
    "properties": {
        "alert": {"type": "string"},
        "annotations": TEXTS,
        "expr": {"type": ["integer", "string"]},
        "for": {"type": "string", "pattern": DURATION, "minLength": 1},
        "keep_firing_for": {"type": "string", "pattern": DURATION, "minLength": 1},
        "labels": TEXTS,
        "record": {"type": "string"},
    },
}
GROUP = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "interval": {"type": "string", "pattern": DURATION},
        "limit": {"type": "integer"},
        "name": {"type": "string", "minLength": 1},
        "partial_response_strategy": {"type": "string", "pattern": "^(abort|warn|)$"},
        "rules": {"type": "array", "items": RULE},
    },
}
PROMETHEUS_RULE = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "PrometheusRule"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {
                # RFC 1123, as every name of a resource of Kubernetes.
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
                "labels": TEXTS,
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"groups": {"type": "array", "items": GROUP}},
        },
    },
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, with the guide's limits."""
    folder = tmp_path_factory.mktemp("alerts")
    write_files(render_all(Settings()), folder)
    return folder


def load(path: Path) -> Any:
    """What a YAML file says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_promtool_takes_the_guides_group_at_the_guides_interval() -> None:
    checked = run_program("promtool", "check", "rules", ROOM / "database.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout
    (group,) = load(ROOM / "database.yml")["groups"]
    assert (group["name"], group["interval"]) == ("database_performance", "30s")
    assert f"{len(group['rules'])} rules found" in checked.stdout


def test_the_operators_resource_keeps_to_its_definition_and_holds_the_same_rules(
    built: Path, tmp_path: Path
) -> None:
    resource = load(built / "operator" / "prometheusrule.yaml")
    jsonschema.Draft202012Validator(PROMETHEUS_RULE).validate(resource)
    assert resource["spec"] == load(built / "database.yml")
    inside = tmp_path / "inside.yml"
    inside.write_text(yaml.safe_dump(resource["spec"]), encoding="utf-8")
    checked = run_program("promtool", "check", "rules", inside)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_definition_refuses_what_an_operator_would_refuse(built: Path) -> None:
    resource = load(built / "operator" / "prometheusrule.yaml")
    resource["spec"]["groups"][0]["rules"][0]["keep_firing"] = "5m"
    with pytest.raises(jsonschema.ValidationError, match="keep_firing"):
        jsonschema.Draft202012Validator(PROMETHEUS_RULE).validate(resource)


def test_vmalert_takes_its_rules_and_would_refuse_those_of_prometheus(built: Path) -> None:
    checked = run_program("vmalert", "-dryRun", f"-rule={built / 'vmalert' / 'database.yml'}")
    assert checked.returncode == 0, checked.stderr
    refused = run_program("vmalert", "-dryRun", f"-rule={built / 'database.yml'}")
    assert refused.returncode != 0
    assert "keep_firing_for" in refused.stderr


def test_vmalerts_rules_are_those_of_prometheus_but_for_what_it_refuses(built: Path) -> None:
    known = load(built / "database.yml")
    for rule in known["groups"][0]["rules"]:
        rule.pop("keep_firing_for", None)
    assert load(built / "vmalert" / "database.yml") == known
