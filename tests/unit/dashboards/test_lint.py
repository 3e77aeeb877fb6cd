"""Each rule of the linter is red on a board that breaks it, and on nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from phasegate.contract.settings import Settings
from phasegate.dashboards.build import render_boards
from phasegate.dashboards.lint import find_selectors, lint_board

Board = dict[str, Any]
WHOLE: Board = json.loads(render_boards(Settings())["database-performance.json"])


def _panel(board: Board) -> Any:
    return next(one for one in board["panels"] if one["type"] == "timeseries")


def _variable(board: Board, name: str) -> Any:
    return next(one for one in board["templating"]["list"] if one["name"] == name)


def _asks(expression: str) -> Callable[[Board], None]:
    def break_it(board: Board) -> None:
        _panel(board)["targets"][0]["expr"] = expression

    return break_it


def _sets(*path: Any, to: Any) -> Callable[[Board], None]:
    def break_it(board: Board) -> None:
        found = _panel(board)
        for step in path[:-1]:
            found = found[step]
        found[path[-1]] = to

    return break_it


OURS = 'job=~"$job",instance=~"$instance"'
CASES: dict[str, Callable[[Board], None]] = {
    "schemaVersion": lambda board: board.update(schemaVersion=36),
    "can be edited": lambda board: board.update(editable=True),
    "has no uid": lambda board: board.update(uid=""),
    "that of several panels": lambda board: _panel(board).update(id=board["panels"][0]["id"]),
    "used and not defined": lambda board: _panel(board).update(title="of $nobody"),
    "is not the data source": lambda board: _variable(board, "datasource").update(label="DS"),
    "is no query that takes several": lambda board: _variable(board, "job").update(multi=False),
    "does not follow the time range": lambda board: _variable(board, "table").update(refresh=1),
    "by no function of Grafana": lambda board: _variable(board, "table").update(
        query={"query": "up"}
    ),
    "a gap or an overlap": _sets("gridPos", "w", to=11),
    "does not begin at": _sets("gridPos", "y", to=5),
    "has no id": _sets("id", to=None),
    "has no title": _sets("title", to=""),
    "has no description": _sets("description", to=""),
    "why it may be empty": _sets("fieldConfig", "defaults", "noValue", to=""),
    "has no interval": _sets("interval", to=""),
    "none of Grafana's": _sets("fieldConfig", "defaults", "unit", to="parsecs"),
    "not in the table": _sets("fieldConfig", "defaults", "color", to={"fixedColor": "#FF0000"}),
    "do not ascend": _sets(
        "fieldConfig", "defaults", "thresholds", "steps", to=[{"color": "#009E73", "value": 1}]
    ),
    "a colour and no word": _sets(
        "fieldConfig",
        *("defaults", "mappings"),
        to=[{"type": "value", "options": {"0": {"color": "#009E73"}}}],
    ),
    "asks nothing": _sets("targets", to=[]),
    "not each one's own": _sets("targets", 0, "refId", to=""),
    "does not ask the chosen data source": _sets("targets", 0, "datasource", to=None),
    "where there is no data": _asks(f"phasegate_up{{{OURS}}} or vector(0)"),
    "not selected by the variable job": _asks('phasegate_up{instance=~"$instance"}'),
    "not selected by the variable instance": _asks('phasegate_up{job=~"$job",instance="a"}'),
    "neither a rate nor an increase": _asks(f"cache_hits_total{{{OURS}}}"),
    "is not over $__rate_interval": _asks(f"rate(cache_hits_total{{{OURS}}}[5m])"),
}


@pytest.mark.parametrize("words", CASES)
def test_a_broken_board_is_told_by_its_rule(words: str) -> None:
    board = copy.deepcopy(WHOLE)
    CASES[words](board)
    found = lint_board(board)
    assert any(words in fault for fault in found), found


def test_a_selector_is_found_whatever_stands_in_its_values() -> None:
    text = 'rate(a_total{x="}",y=~`{"`,z!="\\"}"}[5m]) / b{c="d"}'
    assert [(one.metric, one.after[:4]) for one in find_selectors(text)] == [
        ("a_total", "[5m]"),
        ("b", ""),
    ]
