"""What leaves for Grafana is on the list of its type, and an oracle of Grafana's own knows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafanalib import core

from phasegate.contract.errors import ContractError
from phasegate.contract.settings import Settings
from phasegate.dashboards.build import render_boards
from phasegate.dashboards.modern import DATASOURCE, modernise

BOARDS = {name: json.loads(text) for name, text in render_boards(Settings()).items()}
OF_THE_DATA_SOURCE = {
    f".annotations.list[].{key}"
    for key in ("step", "tagKeys", "textFormat", "titleFormat", "useValueForTime")
}
"""Keys that the Prometheus data source gives to annotations; the schema knows none of them."""


def paths(value: Any, place: str = "") -> Iterator[str]:
    """Each key with the way to it, numbers of lists left out."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield f"{place}.{key}"
            yield from paths(one, f"{place}.{key}")
    elif isinstance(value, list):
        for one in value:
            yield from paths(one, f"{place}[]")


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_reads_every_key_that_is_written(name: str) -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(BOARDS[name]), cls=JSONEncoder))
    assert set(paths(BOARDS[name])) - set(paths(read)) <= OF_THE_DATA_SOURCE


def test_the_oracle_misses_what_grafanalib_writes_by_itself() -> None:
    """Else the test above proves nothing."""
    register_default_plugins()
    old = {"panels": [{**BOARDS["overview.json"]["panels"][0], "span": 6, "minSpan": 2}]}
    read = json.loads(json.dumps(Dashboard.from_json(old), cls=JSONEncoder))
    assert {".panels[].span", ".panels[].minSpan"} <= set(paths(old)) - set(paths(read))


def test_nothing_of_old_gets_through() -> None:
    old = core.TimeSeries(
        title="t", targets=[core.Target(expr="up")], thresholds=[core.Threshold("green", 0, 0.0)]
    )
    panel = modernise(old)
    assert set(panel) == {"title", "type", "targets", "datasource", "fieldConfig", "options"}
    [target] = panel["targets"]
    assert set(target) == {"datasource", "expr", "format", "instant", "refId"}
    assert target["datasource"] == DATASOURCE
    assert not re.search(r'"(steps|refId|datasource)": (""|null)', json.dumps(panel))


def test_what_is_wanted_beyond_grafanalib_must_be_on_the_list() -> None:
    wrong = core.Stat(title="t", extraJson={"options": {"colourMode": "value"}})
    with pytest.raises(ContractError, match=r"options\.colourMode is not on the list of stat"):
        modernise(wrong)


def test_a_kind_of_panel_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(ContractError, match="panels of type graph"):
        modernise(core.Graph(title="t"))


def test_the_one_null_is_the_step_below_all_values() -> None:
    for board in BOARDS.values():
        for found in re.findall(r'"(\w+)": null', json.dumps(board)):
            assert found == "value"
