"""From settings to the boards, as the text of their files. Pure; the same bytes for the same
settings, on any machine and in any locale."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable
from itertools import cycle
from typing import Any

from grafanalib import core

from phasegate.contract.boards import BOARDS, PANELS
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import runbook_url
from phasegate.contract.units import format_duration
from phasegate.dashboards import boards
from phasegate.dashboards.annotations import make_annotations
from phasegate.dashboards.colours import CYCLE
from phasegate.dashboards.limits import say_runbooks
from phasegate.dashboards.modern import SCHEMA_VERSION, modernise
from phasegate.dashboards.panels import Part, Words, of_name
from phasegate.dashboards.sketch import Place, Section, Sketch, plan_places
from phasegate.dashboards.variables import make_variables

TAG = "phasegate"
_SHARED_CROSSHAIR = 1


def make_sketches(settings: Settings) -> tuple[Sketch, ...]:
    """Every board that has a file in `boards/`, in the contract's order."""
    found = {}
    for module in pkgutil.iter_modules(boards.__path__):
        sketch: Sketch = importlib.import_module(f"{boards.__name__}.{module.name}").sketch(
            settings
        )
        found[sketch.board] = sketch
    return tuple(found[board] for board in BOARDS if board in found)


Change = Callable[[dict[str, Any]], dict[str, Any]]


def render_boards(settings: Settings, change: Change = lambda board: board) -> dict[str, str]:
    """The boards: file name -> its text. `change` is what an overlay makes of each."""
    return {
        f"{BOARDS[sketch.board].file}.json": render(change(make_board(settings, sketch)))
        for sketch in make_sketches(settings)
    }


def render(board: dict[str, Any]) -> str:
    """A board as its file holds it: sorted keys, whole numbers without a point, a last newline."""
    return json.dumps(_plain(board), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def make_board(settings: Settings, sketch: Sketch) -> dict[str, Any]:
    """One board in Grafana's classic format."""
    entry = BOARDS[sketch.board]
    return {
        "annotations": {"list": make_annotations()},
        "description": sketch.description,
        # What is changed in the browser is lost at the next provisioning.
        "editable": False,
        "fiscalYearStartMonth": 0,
        "graphTooltip": _SHARED_CROSSHAIR,
        "links": [_link_to_all(), _link_to_runbooks(settings)],
        "panels": [
            _make_panel(settings, sketch.board, what, place) for what, place in plan_places(sketch)
        ],
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": [TAG],
        "templating": {"list": make_variables(settings, *sketch.variables)},
        "time": {"from": sketch.since, "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": entry.title,
        "uid": entry.uid,
    }


def say(settings: Settings, words: Words) -> str:
    """What a panel's description says."""
    page, anchor = words.runbook
    runbook = (
        f" [Runbook]({runbook_url(settings.monitoring.runbooks, page, anchor)})" if page else ""
    )
    return f"{words.question}\n\n**First:** {words.action}{runbook}"


def _make_panel(
    settings: Settings, board: str, what: Section | Part, place: Place
) -> dict[str, Any]:
    grid = place._asdict()
    if isinstance(what, Section):
        row = modernise(core.RowPanel(title=what.title, collapsed=False))
        return {**row, "id": PANELS[board][what.name], "gridPos": grid, "panels": []}
    panel = modernise(what.panel)
    if panel["type"] == "timeseries":
        panel["fieldConfig"]["overrides"] += _colour_tables(settings, panel["targets"])
    panel |= {
        "id": PANELS[board][what.name],
        "gridPos": grid,
        "description": say(settings, what.words),
    }
    if panel["type"] != "text":
        panel["interval"] = format_duration(settings.monitoring.scrape_interval)
    page, anchor = what.words.runbook
    if page:
        url = runbook_url(settings.monitoring.runbooks, page, anchor)
        panel["links"] = [{"title": "Runbook", "url": url, "targetBlank": True}]
    return panel


def _colour_tables(settings: Settings, targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A colour for each table that is configured, under the names by which the legends show it."""
    found = []
    for table, colour in zip(settings.named_tables, cycle(CYCLE), strict=False):
        for target in targets:
            legend: str = target.get("legendFormat", "")
            name = legend.replace("{{schema}}", table.schema).replace("{{table}}", table.table)
            if name != legend and "{{" not in name:
                found.append(of_name(name, ("color", {"mode": "fixed", "fixedColor": colour})))
    return found


def _link_to_all() -> dict[str, Any]:
    link: dict[str, Any] = core.DashboardLink(
        title="Boards", tags=[TAG], includeVars=True, keepTime=True, type="dashboards"
    ).to_json_data()
    return {**link, "icon": "dashboard"}


def _link_to_runbooks(settings: Settings) -> dict[str, Any]:
    link: dict[str, Any] = core.DashboardLink(
        title="Runbooks",
        uri=say_runbooks(settings),
        keepTime=False,
        targetBlank=True,
        type="link",
        icon="doc",
        tooltip="What to do, one section for each alert",
    ).to_json_data()
    return link


def _plain(value: Any) -> Any:
    """Whole numbers as such, whoever computed them: 10.0 and 10 are one figure."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
