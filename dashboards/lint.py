"""What is wrong with a board: the rules of Grafana's dashboard-linter, and ours.

Works on the final JSON, so that it also judges what an overlay made of a board. It reads PromQL as
far as its selectors and windows; whether an expression parses, a real Prometheus tells in tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from phasegate.dashboards import colours
from phasegate.dashboards.modern import ALLOWED, DATASOURCE, SCHEMA_VERSION
from phasegate.dashboards.sketch import COLUMNS

Json = Mapping[str, Any]
UNITS = frozenset(
    {
        *("none", "short", "percentunit", "bytes", "s", "ops", "reqps"),
        *("dateTimeAsIso", "dateTimeFromNow"),
    }
)
"""Those of Grafana's that our boards use."""
WORDLESS = ("row", "text")
"""Panels that ask nothing."""
BUILT_IN = frozenset({"__rate_interval", "__range", "__url_time_range", "__all_variables"})
COLOURS = frozenset(
    [value for name, value in vars(colours).items() if name.isupper() and isinstance(value, str)]
)
_VARIABLE = re.compile(r"\$\{?(\w+)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{((?:[^{}\"`]|\"(?:[^\"\\]|\\.)*\"|`[^`]*`)*)\}")
_ASKING = re.compile(r"^(label_values|query_result)\(.+\)$", re.DOTALL)


class Selector(NamedTuple):
    """One selector of an expression: its metric, its matchers as written, what stands around."""

    metric: str
    matchers: str
    before: str
    after: str


def find_selectors(expression: str) -> Iterator[Selector]:
    """Every selector that has braces; ours always have."""
    for found in _SELECTOR.finditer(expression):
        before, after = expression[: found.start()], expression[found.end() :]
        yield Selector(found[1], found[2], before, after)


def lint_board(board: Json) -> list[str]:
    """What is wrong, each as a sentence that begins with its place; empty for nothing."""
    found = [*_of_board(board), *_of_variables(board), *_of_grid(board["panels"])]
    for panel in board["panels"]:
        place = f"panel {panel.get('id')} ({panel.get('title', 'without a title')})"
        rules = _OF_EVERY if panel["type"] in WORDLESS else (*_OF_EVERY, *_OF_ASKING)
        found += [f"{place}: {fault}" for rule in rules for fault in rule(panel)]
    found += [f"annotation {name}: {fault}" for name, fault in _of_annotations(board)]
    return found


def _of_board(board: Json) -> Iterator[str]:
    if board.get("schemaVersion") != SCHEMA_VERSION:
        yield f"board: schemaVersion is not {SCHEMA_VERSION}"
    if board.get("editable") is not False:
        yield "board: can be edited, and would lose that at the next provisioning"
    if not board.get("uid") or not board.get("title"):
        yield "board: has no uid or no title"
    ids = [panel.get("id") for panel in board["panels"]]
    for twice in sorted({str(one) for one in ids if ids.count(one) > 1}):
        yield f"board: id {twice} is that of several panels"
    known = {variable["name"] for variable in board["templating"]["list"]} | BUILT_IN
    for name in sorted(set(_VARIABLE.findall(_text_of(board))) - known):
        yield f"board: variable {name} is used and not defined"


def _of_variables(board: Json) -> Iterator[str]:
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    source = variables.get("datasource", {})
    if (source.get("type"), source.get("label")) != ("datasource", "Data source"):
        yield "variable datasource: is not the data source, labelled so"
    for name in ("job", "instance"):
        variable = variables.get(name, {})
        if not (variable.get("type") == "query" and variable.get("multi")):
            yield f"variable {name}: is no query that takes several values"
    for name, variable in variables.items():
        if variable["type"] != "query":
            continue
        if variable.get("datasource") != DATASOURCE:
            yield f"variable {name}: does not ask the chosen data source"
        if variable.get("refresh") != 2:
            yield f"variable {name}: does not follow the time range"
        if not _ASKING.match(variable["query"]["query"]):
            yield f"variable {name}: asks by no function of Grafana"


def _of_grid(panels: list[Json]) -> Iterator[str]:
    """Lines of panels without gaps or overlaps: each covers all columns, and begins where the one
    above ends."""
    lines: dict[int, list[Json]] = {}
    for panel in panels:
        lines.setdefault(panel["gridPos"]["y"], []).append(panel["gridPos"])
    bottom = 0
    for y, places in sorted(lines.items()):
        if y != bottom:
            yield f"grid: row {y} does not begin at {bottom}, where the one above ends"
        places.sort(key=lambda place: place["x"])
        edges = [(place["x"], place["x"] + place["w"]) for place in places]
        if edges[0][0] != 0 or edges[-1][1] != COLUMNS:
            yield f"grid: row {y} does not cover its {COLUMNS} columns"
        if any(left[1] != right[0] for left, right in pairwise(edges)):
            yield f"grid: row {y} has a gap or an overlap"
        if len({place["h"] for place in places}) != 1:
            yield f"grid: row {y} has panels of several heights"
        bottom = y + places[0]["h"]


def _type(panel: Json) -> Iterator[str]:
    if panel["type"] not in ALLOWED:
        yield f"type {panel['type']} is not one of those that boards use"
    if not panel.get("id"):
        yield "has no id"
    if not panel.get("title"):
        yield "has no title"


def _words(panel: Json) -> Iterator[str]:
    if not panel.get("description"):
        yield "has no description"
    if not panel["fieldConfig"]["defaults"].get("noValue"):
        yield "does not say why it may be empty"
    if not panel.get("interval"):
        yield "has no interval: rates would be empty at long scrapes"


def _units(panel: Json) -> Iterator[str]:
    config = panel["fieldConfig"]
    units = [config["defaults"].get("unit")]
    units += [
        one["value"]
        for override in config["overrides"]
        for one in override["properties"]
        if one["id"] == "unit"
    ]
    for unit in units:
        if unit not in UNITS:
            yield f"unit {unit} is none of Grafana's that boards use"


def _colours(panel: Json) -> Iterator[str]:
    for key, value in _walk(panel):
        if key in ("color", "fixedColor") and isinstance(value, str) and value not in COLOURS:
            yield f"colour {value} is not in the table"
        if key == "steps" and isinstance(value, list):
            limits = [step["value"] for step in value]
            if limits[:1] != [None] or None in limits[1:] or limits[1:] != sorted(set(limits[1:])):
                yield f"thresholds {limits} do not ascend from below all values"
        if key == "mappings":
            for word in (word for one in value for word in one["options"].values()):
                if not word.get("text"):
                    yield "a value has a colour and no word"


def _nothing_left_over(panel: Json) -> Iterator[str]:
    for key, value in _walk(panel):
        if value in (None, "") and key != "value":
            yield f"{key} is {value!r}"


def _targets(panel: Json) -> Iterator[str]:
    targets = panel.get("targets", [])
    if not targets:
        yield "asks nothing"
    letters = [target.get("refId") for target in targets]
    if len(set(letters)) != len(letters) or not all(letters):
        yield f"refIds {letters} are not each one's own"
    for asked in (panel, *targets):
        if asked.get("datasource") != DATASOURCE:
            yield "does not ask the chosen data source"
    for target in targets:
        yield from _expression(target["expr"])


def _expression(expression: str) -> Iterator[str]:
    if "vector(0)" in expression:
        yield "shows 0 where there is no data"
    for one in find_selectors(expression):
        for label in ("job", "instance"):
            if not re.search(rf'\b{label}=~"\${label}\|?"', one.matchers):
                yield f"{one.metric} is not selected by the variable {label}"
        window = re.match(r"\[([^\]]+)\]", one.after)
        called = re.search(r"(\w+)\($", one.before)
        function = called[1] if called else ""
        if one.metric.endswith("_total") and function not in ("rate", "irate", "increase"):
            yield f"counter {one.metric} is neither a rate nor an increase"
        if function in ("rate", "irate") and window and window[1] != "$__rate_interval":
            yield f"{function} of {one.metric} is not over $__rate_interval"


def _of_annotations(board: Json) -> Iterator[tuple[str, str]]:
    for one in board["annotations"]["list"]:
        if "builtIn" in one:
            continue
        if one.get("datasource") != DATASOURCE:
            yield one["name"], "does not ask the chosen data source"
        if one.get("iconColor") not in COLOURS:
            yield one["name"], "has a colour that is not in the table"
        for fault in _expression(one["expr"]):
            yield one["name"], fault


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield key, one
            yield from _walk(one)
    elif isinstance(value, list):
        for one in value:
            yield from _walk(one)


def _text_of(board: Json) -> str:
    """All texts in which Grafana fills in variables, but those of series (`${__value…}`)."""
    texts = [value for key, value in _walk(board) if key in _FILLED and isinstance(value, str)]
    return "\n".join(texts)


_FILLED = ("expr", "url", "query", "uid", "title", "content")
_OF_EVERY: tuple[Callable[[Json], Iterator[str]], ...] = (_type, _colours)
_OF_ASKING: tuple[Callable[[Json], Iterator[str]], ...] = (
    *(_words, _units, _nothing_left_over, _targets),
)
