"""The jsonnet mixin says what the rule file says, and its `_config` changes what it names."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import _jsonnet
import pytest
import yaml

from phasegate.alerts.build import render_all
from phasegate.alerts.rules import make_group
from phasegate.contract.boards import BOARDS
from phasegate.contract.built_files import write_files
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import CacheHitRate, Criteria
from phasegate.contract.settings_monitoring import Monitoring
from tests.fixtures.programs import run_program

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "alerts" / "mixin" / "mixin.libsonnet"
RULES = "{ records: m.prometheusRules, alerts: m.prometheusAlerts }"


@functools.cache
def evaluate(mixin: Path, config: str = "", wanted: str = RULES) -> Any:
    """What jsonnet makes of the mixin with that overlay."""
    overlay = f"+ {{ _config+:: {{ {config} }} }}" if config else ""
    snippet = f"local m = (import {json.dumps(str(mixin))}) {overlay}; {wanted}"
    return json.loads(_jsonnet.evaluate_snippet("test", snippet))


def split(mixin: Path, config: str = "") -> list[dict[str, Any]]:
    """Its rules in the order of the rule file."""
    found = evaluate(mixin, config)
    groups = [*found["records"]["groups"], *found["alerts"]["groups"]]
    assert {group["interval"] for group in groups} == {"30s"}
    assert len({group["name"] for group in groups}) == len(groups)
    return [rule for group in groups for rule in group["rules"]]


def read_rules(file: Path) -> list[dict[str, Any]]:
    """Those of a rule file."""
    (group,) = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def find(rules: list[dict[str, Any]], name: str, severity: str) -> dict[str, Any]:
    """The alert of that name and severity."""
    (found,) = (
        rule
        for rule in rules
        if rule.get("alert") == name and rule["labels"]["severity"] == severity
    )
    return found


def test_without_an_overlay_it_is_the_rule_file() -> None:
    assert split(SHIPPED) == read_rules(ROOT / "alerts" / "database.yml")


def test_built_from_a_configuration_it_is_that_configurations_rule_file(tmp_path: Path) -> None:
    settings = Settings(
        monitoring=Monitoring(
            job='it\'s "quoted"/ä',
            team="storage",
            labels={"service": "mo'no"},
            runbooks="https://wiki.example/100%25/{page}#{anchor}",
            grafana="https://grafana.example/sub/",
        ),
        criteria=Criteria(cache_hit_rate=CacheHitRate(warning=0.95, critical=0.85)),
    )
    write_files(render_all(settings, ["mixin", "prometheus"]), tmp_path)
    assert split(tmp_path / "mixin" / "mixin.libsonnet") == read_rules(tmp_path / "database.yml")


def test_another_limit_changes_the_expression_the_text_and_the_check_for_drift() -> None:
    before = split(SHIPPED)
    after = split(SHIPPED, "thresholds+: { cache_hit_rate+: { warning: '0.85' } }")
    changed = find(after, "LowCacheHitRate", "warning")
    assert changed["expr"].endswith("< 0.85")
    assert "(limit 0.85)" in changed["annotations"]["summary"]
    assert (
        'severity="warning"} != 0.85, "limit"' in find(after, "ThresholdDrift", "warning")["expr"]
    )
    differing = {one["alert"] for one, two in zip(after, before, strict=True) if one != two}
    assert differing == {"LowCacheHitRate", "ThresholdDrift"}


def test_every_limit_of_the_config_is_read() -> None:
    known = evaluate(SHIPPED, wanted="m._config")["thresholds"]
    keys = [(name, key) for name, limits in known.items() for key in limits]
    assert all(isinstance(known[name][key], str) for name, key in keys)
    given = {pair: f"1234{number:02}" for number, pair in enumerate(keys)}
    overlay = ", ".join(
        f"{name}+: {{ {', '.join(f'{key}: {given[name, key]!r}' for key in limits)} }}"
        for name, limits in known.items()
    )
    text = json.dumps(split(SHIPPED, f"thresholds+: {{ {overlay} }}"))
    assert [pair for pair, value in given.items() if value not in text] == []


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("job: 'phasegate-eu'", 'up{job="phasegate-eu"} < 1'),
        ("team: 'storage'", '"team": "storage"'),
        ("grafana: 'https://g.example/'", "https://g.example/d/phasegate-overview/"),
        ("runbooks: 'https://w.example/%(anchor)s'", "https://w.example/exporterdown"),
    ],
)
def test_a_place_changes_what_is_its_own(config: str, found: str) -> None:
    text = json.dumps(split(SHIPPED, config))
    assert found in text.replace('\\"', '"')
    for default in ('job=\\"phasegate\\"', '"team": "database"', "grafana.example", "/runbooks/"):
        named = {"job": "job", "team": "team", "grafana": "grafana", "runbooks": "runbooks"}
        key = next(key for key, word in named.items() if word in default)
        assert (default in text) is not config.startswith(key)


def test_what_jsonnet_makes_of_it_is_taken_by_promtool(tmp_path: Path) -> None:
    found = evaluate(SHIPPED, "job: 'eu'")
    file = tmp_path / "rules.yml"
    groups = [*found["records"]["groups"], *found["alerts"]["groups"]]
    file.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    checked = run_program("promtool", "check", "rules", file)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = len(make_group(Settings()).alerts) + len(make_group(Settings()).records)
    assert f"{rules} rules found" in checked.stdout


def test_the_boards_are_those_that_are_shipped_at_the_pace_of_the_place() -> None:
    boards = evaluate(SHIPPED, wanted="m.grafanaDashboards")
    assert set(boards) == {f"{board.file}.json" for board in BOARDS.values()}
    for name, board in boards.items():
        shipped = json.loads((ROOT / "dashboards" / name).read_text(encoding="utf-8"))
        assert board == shipped
    slow = evaluate(SHIPPED, "scrapeInterval: '60s'", "m.grafanaDashboards")
    intervals = {
        panel["interval"]
        for board in slow.values()
        for panel in board["panels"]
        if "interval" in panel
    }
    assert intervals == {"60s"}
