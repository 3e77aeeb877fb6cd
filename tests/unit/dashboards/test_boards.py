"""Every board: the linter's rules, ids that never change, the criteria's limits, a first screen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from phasegate.alerts.meta import make_meta
from phasegate.contract.boards import BOARDS, PANELS, RETIRED
from phasegate.contract.criteria import CRITERIA, thresholds
from phasegate.contract.metrics import METRICS
from phasegate.contract.model import Kind
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import Criteria, UuidLookupLatency
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.contract.settings_tables import Table
from phasegate.dashboards.build import make_sketches, render_boards
from phasegate.dashboards.lint import find_selectors, lint_board
from phasegate.dashboards.panels import Part
from phasegate.dashboards.reference import render_panels
from phasegate.dashboards.sketch import FIRST_SCREEN, plan_places
from tests.fixtures.boards import targets

ROOT = Path(__file__).parents[3]
RELEASED: dict[str, dict[str, int]] = yaml.safe_load(
    (Path(__file__).parent / "released_panels.yaml").read_text(encoding="utf-8")
)
TEXTS = render_boards(Settings())
JSON = {name: json.loads(text) for name, text in TEXTS.items()}
_AS_NUMBERS = {"$__rate_interval": "5m", "$__range": "6h", "${began}": "0"}


def panel_of(boards: dict[str, Any], board: str, name: str) -> dict[str, Any]:
    """A panel by its name in the contract."""
    panels = boards[f"{BOARDS[board].file}.json"]["panels"]
    found: list[dict[str, Any]] = [one for one in panels if one["id"] == PANELS[board][name]]
    return found[0]


def test_there_is_a_file_for_each_board_of_the_contract() -> None:
    assert set(TEXTS) == {f"{board.file}.json" for board in BOARDS.values()}


@pytest.mark.parametrize("name", JSON)
def test_the_linter_finds_nothing(name: str) -> None:
    assert lint_board(JSON[name]) == []


@pytest.mark.parametrize("board", PANELS)
def test_every_id_of_the_contract_is_on_its_board(board: str) -> None:
    """An alert leads to it."""
    shown = {panel["id"] for panel in JSON[f"{BOARDS[board].file}.json"]["panels"]}
    assert shown == set(PANELS[board].values())
    assert len(shown) == len(PANELS[board])


@pytest.mark.parametrize("board", RELEASED)
def test_an_id_is_never_that_of_another_panel(board: str) -> None:
    now = {**PANELS[board], **RETIRED[board]}
    for name, number in RELEASED[board].items():
        assert now[name] == number
    others = {number for name, number in now.items() if name not in RELEASED[board]}
    assert not others & set(RELEASED[board].values())


@pytest.mark.parametrize("name", JSON)
def test_every_expression_parses(name: str) -> None:
    for panel, target in targets(JSON[name]):
        text = target["expr"]
        for written, figure in _AS_NUMBERS.items():
            text = text.replace(written, figure)
        try:
            promql_parser.parse(text)
        except ValueError as error:
            raise AssertionError(panel["title"], text) from error


@pytest.mark.parametrize("name", JSON)
def test_only_series_of_the_contract_are_asked_for(name: str) -> None:
    suffixes = {Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
    known = {
        metric.name + suffix for metric in METRICS for suffix in suffixes.get(metric.kind, ("",))
    } | {"up", "ALERTS", "ALERTS_FOR_STATE"}
    asked = {one.metric for _, t in targets(JSON[name]) for one in find_selectors(t["expr"])}
    assert asked <= known


def test_what_is_configured_for_a_scrape_is_on_every_panel() -> None:
    settings = Settings(monitoring=Monitoring(job="mine", scrape_interval=60.0))
    for text in render_boards(settings).values():
        board = json.loads(text)
        asking = [panel for panel in board["panels"] if panel["type"] != "row"]
        assert {panel["interval"] for panel in asking} == {"1m"}
        [job] = [one for one in board["templating"]["list"] if one["name"] == "job"]
        assert job["current"]["value"] == ["mine"]


_SHOWN = {
    "uuid_lookup_latency": ("database", "lookup_p95"),
    "cache_hit_rate": ("cache", "hit_rate"),
    "audit_growth": ("audit", "growth"),
    "audit_partition_size": ("audit", "largest_partition"),
    "audit_partition_runway": ("audit", "runway"),
}


@pytest.mark.parametrize("criterion", _SHOWN)
def test_the_steps_of_a_panel_are_the_limits_of_its_criterion(criterion: str) -> None:
    settings = Settings()
    panel = panel_of(JSON, *_SHOWN[criterion])
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    limits = {step["value"] for step in steps} - {None}
    assert limits == set(thresholds(settings, criterion).values())


def test_other_limits_make_other_panels() -> None:
    tighter = UuidLookupLatency(warning=0.005, critical=0.007)
    settings = Settings(criteria=Criteria(uuid_lookup_latency=tighter))
    boards = {name: json.loads(text) for name, text in render_boards(settings).items()}
    panel = panel_of(boards, "database", "lookup_p95")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [step["value"] for step in steps] == [None, 0.005, 0.007]
    assert panel["title"] == "UUID lookup p95 (≤ 5 ms)"
    share = panel_of(boards, "database", "slow_share")["targets"][0]["expr"]
    assert "0\\\\.005" in share
    assert "0\\\\.01" not in share


def test_a_table_has_its_colour_on_every_panel() -> None:
    names = ("public.users", "public.orders")
    tables = tuple(Table(name=TableName(*name.split("."))) for name in names)
    boards = [json.loads(text) for text in render_boards(Settings(tables=tables)).values()]
    found: dict[str, set[str]] = {name: set() for name in names}
    for panel in (panel for board in boards for panel in board["panels"]):
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            if override["matcher"]["options"] in names:
                [colour] = override["properties"]
                found[override["matcher"]["options"]].add(colour["value"]["fixedColor"])
    assert [len(colours) for colours in found.values()] == [1, 1]
    assert found[names[0]] != found[names[1]]


def test_every_runbook_of_a_panel_is_that_of_an_alert_or_criterion() -> None:
    settings = Settings()
    alerts = {(one.page, one.name.lower()) for one in make_meta(settings)}
    alerts |= {
        (entry.alert.page, entry.alert.name.lower()) for entry in CRITERIA.values() if entry.alert
    }
    others = {("index", ""), *(("migration", name) for name in CRITERIA)}
    for sketch in make_sketches(settings):
        for part, _ in plan_places(sketch):
            if isinstance(part, Part):
                assert part.words.runbook in alerts | others, part.name


def test_what_an_alert_leads_to_is_there() -> None:
    policies = [entry.alert for entry in CRITERIA.values() if entry.alert is not None]
    for board, panel in (
        *(one.panel for one in make_meta(Settings())),
        *(one.panel for one in policies),
    ):
        assert panel_of(JSON, board, panel)["title"]


def test_the_first_section_is_seen_without_scrolling() -> None:
    for board in JSON.values():
        rows = [panel["gridPos"]["y"] for panel in board["panels"] if panel["type"] == "row"]
        assert min(rows) <= FIRST_SCREEN


def test_the_bytes_are_the_same_in_another_process_and_locale() -> None:
    program = (
        "import hashlib\n"
        "from phasegate.contract.settings import Settings\n"
        "from phasegate.dashboards.build import render_boards\n"
        "texts = ''.join(render_boards(Settings()).values())\n"
        "print(hashlib.sha256(texts.encode()).hexdigest())"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONUTF8": "0", "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for locale, seed in (("C", "1"), ("tr_TR.ISO-8859-9", "2"))
    }
    assert len(sums) == 1


def test_the_reference_lists_every_panel_with_its_question() -> None:
    page = render_panels(Settings())
    rows = re.findall(r"^\| (\d+) \| .+\? ", page, re.MULTILINE)
    asking = sum(panel["type"] != "row" for board in JSON.values() for panel in board["panels"])
    assert len(re.findall(r"^\| \d+ \|", page, re.MULTILINE)) == asking
    assert len(rows) == asking
