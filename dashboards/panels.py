"""The vocabulary of the boards: each function one kind of panel, over grafanalib's own.

A panel is a question with its answer: its words say what it asks, what to do first where the answer
is bad, and why it may be empty. What grafanalib does not know goes in as `extraJson`, and all of it
through `dashboards/modern.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from grafanalib import core

from phasegate.dashboards.colours import ACTIVE, OK, SERIES
from phasegate.dashboards.limits import Steps

Mappings = list[dict[str, Any]]
TALL = 7
"""Grid rows from which on a legend has room for a table."""


class Words(NamedTuple):
    """What a panel says. `question` is one sentence, `action` what to do where the answer is bad,
    `empty` why there may be no value; `runbook` is page and anchor."""

    title: str
    question: str
    action: str
    empty: str
    runbook: tuple[str, str] = ("", "")


class Query(NamedTuple):
    """What one line of a panel asks. `legend` is Grafana's (`{{table}}`)."""

    expression: str
    legend: str = ""
    exemplar: bool = False


class Part(msgspec.Struct, frozen=True):
    """A panel before it has its place: `name` is that of its fixed id, sizes are in grid units."""

    name: str
    words: Words
    width: int
    height: int
    panel: Any


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """How values are shown. `names` are those series, of the table of colours, that the queries may
    give beyond those that a legend names as it is."""

    unit: str = "none"
    steps: Steps = []
    mappings: Mappings = []
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    names: tuple[str, ...] = ()
    overrides: Sequence[dict[str, Any]] = ()


def time_series(
    name: str, words: Words, size: tuple[int, int], look: Look, *queries: Query, bars: bool = False
) -> Part:
    """Values over time, with the limits as dashed lines."""
    width, height = size
    legend = "table" if height >= TALL else "list"
    panel = core.TimeSeries(
        title=words.title,
        targets=[_target(query) for query in queries],
        thresholds=look.steps,
        thresholdsStyleMode="dashed" if len(look.steps) > 1 else "off",
        colorMode="palette-classic-by-name",
        drawStyle="bars" if bars else "line",
        fillOpacity=60 if bars else 8,
        lineWidth=2,
        showPoints="auto",
        legendDisplayMode=legend,
        legendCalcs=["lastNotNull", "max"],
        tooltipMode="multi",
        tooltipSort="desc",
        unit=look.unit,
        mappings=look.mappings,
        overrides=[*_named(look, queries), *look.overrides],
        extraJson={
            "fieldConfig": {
                "defaults": {**_limits_of(look, words), "custom": _nearest_limit(look.steps)}
            },
            "options": {"legend": {"showLegend": True}},
        },
    )
    return Part(name, words, width, height, panel)


def stat(
    name: str,
    words: Words,
    size: tuple[int, int],
    look: Look,
    *queries: Query,
    text: str = "auto",
    filled: bool = True,
) -> Part:
    """Values of now, large. Asked for now alone: the last of a range would outlive its series."""
    panel = core.Stat(
        title=words.title,
        targets=[_target(query, instant=True) for query in queries],
        thresholds=look.steps or _NEUTRAL,
        colorMode="background_solid" if filled else "value",
        graphMode="none",
        reduceCalc="lastNotNull",
        textMode=text,
        format=look.unit,
        mappings=look.mappings,
        noValue=words.empty,
        overrides=list(look.overrides),
        extraJson={
            "fieldConfig": {"defaults": {**_limits_of(look, words), **_BY_STEPS}},
            "options": {"wideLayout": True, "showPercentChange": False},
        },
    )
    return Part(name, words, *size, panel)


def gauge(name: str, words: Words, size: tuple[int, int], look: Look, *queries: Query) -> Part:
    """Values of now within their range, with the limits as marks."""
    panel = core.GaugePanel(
        title=words.title,
        targets=[_target(query, instant=True) for query in queries],
        thresholds=look.steps or _NEUTRAL,
        format=look.unit,
        min=look.low,
        max=look.high,
        extraJson={
            "fieldConfig": {
                "defaults": {**_limits_of(look, words), **_BY_STEPS},
                "overrides": list(look.overrides),
            },
            "options": {
                **_LAST,
                "orientation": "auto",
                "showThresholdLabels": False,
                "showThresholdMarkers": True,
            },
        },
    )
    return Part(name, words, *size, panel)


def bar_gauge(name: str, words: Words, size: tuple[int, int], look: Look, *queries: Query) -> Part:
    """Values of now side by side, as bars."""
    panel = core.BarGauge(
        title=words.title,
        targets=[_target(query, instant=True) for query in queries],
        thresholds=look.steps or _NEUTRAL,
        format=look.unit,
        extraJson={
            "fieldConfig": {
                "defaults": {**_limits_of(look, words), **_BY_STEPS, "unit": look.unit},
                "overrides": list(look.overrides),
            },
            "options": {
                **_LAST,
                "displayMode": "basic",
                "valueMode": "text",
                "namePlacement": "top",
                "orientation": "horizontal",
                "showUnfilled": True,
            },
        },
    )
    return Part(name, words, *size, panel)


class Column(NamedTuple):
    """A column of a table: the field as the queries give it, its title, and how it is shown.

    `cell` is Grafana's kind of cell, `empty` what a row says that has no value; `link` is where a
    click leads, as title and URL.
    """

    field: str
    title: str
    unit: str = ""
    width: int = 0
    steps: Sequence[dict[str, Any]] = ()
    mappings: Sequence[dict[str, Any]] = ()
    cell: str = ""
    empty: str = "-"
    link: tuple[str, str] = ("", "")


def table(
    name: str,
    words: Words,
    size: tuple[int, int],
    columns: Sequence[Column],
    *queries: Query,
    join: str = "",
    sort: tuple[str, bool] = ("", False),
) -> Part:
    """Rows of now. Several queries are joined by the label `join`; the columns in this order,
    all others hidden. `sort` is a column's title, and whether it descends."""
    steps_of_rows: list[dict[str, Any]] = []
    if join:
        steps_of_rows.append({"id": "joinByField", "options": {"byField": join, "mode": "outer"}})
    else:
        steps_of_rows.append({"id": "merge", "options": {}})
    steps_of_rows.append(
        {
            "id": "filterFieldsByName",
            "options": {"include": {"names": [column.field for column in columns]}},
        }
    )
    steps_of_rows.append(
        {
            "id": "organize",
            "options": {
                "indexByName": {column.field: place for place, column in enumerate(columns)},
                "renameByName": {column.field: column.title for column in columns},
            },
        }
    )
    panel = core.Table(
        title=words.title,
        targets=[_target(query, instant=True, form="table") for query in queries],
        overrides=[_of_column(column) for column in columns],
        sortBy=[core.TableSortByField(displayName=sort[0], desc=sort[1])] if sort[0] else [],
        transformations=steps_of_rows,
        unit="none",
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "noValue": words.empty,
                    "custom": {"cellOptions": {"type": "auto"}, "inspect": False},
                }
            },
            "options": {"cellHeight": "sm"},
        },
    )
    return Part(name, words, *size, panel)


def state_timeline(
    name: str, words: Words, size: tuple[int, int], look: Look, *queries: Query
) -> Part:
    """States over time, each with its word."""
    panel = core.StateTimeline(
        title=words.title,
        targets=[_target(query) for query in queries],
        thresholds=look.steps,
        colorMode="thresholds",
        mappings=look.mappings,
        overrides=list(look.overrides),
        fillOpacity=80,
        rowHeight=0.85,
        extraJson={
            "fieldConfig": {"defaults": {"noValue": words.empty, "unit": look.unit}},
            "options": {"legend": {"showLegend": True}},
        },
    )
    return Part(name, words, *size, panel)


def heatmap(name: str, words: Words, size: tuple[int, int], unit: str, query: Query) -> Part:
    """A histogram's buckets over time."""
    panel = core.Heatmap(
        title=words.title,
        targets=[_target(query, form="heatmap")],
        options={
            "calculate": False,
            "cellGap": 1,
            "color": {
                "mode": "scheme",
                "scheme": "Blues",
                "exponent": 0.5,
                "fill": "dark-blue",
                "reverse": False,
                "steps": 64,
            },
            "exemplars": {"color": SERIES["p99"]},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        },
        extraJson={"fieldConfig": {"defaults": {"noValue": words.empty, "unit": unit}}},
    )
    return Part(name, words, *size, panel)


def text(name: str, words: Words, size: tuple[int, int], content: str) -> Part:
    """Words alone, in Markdown."""
    panel = core.Text(title=words.title, content=content, mode="markdown")
    return Part(name, words, *size, panel)


def say_values(values: Mapping[str | int, tuple[str, str]]) -> Mappings:
    """Values as words: value -> word and colour."""
    options = {
        str(value): {"text": word, "color": colour, "index": index}
        for index, (value, (word, colour)) in enumerate(values.items())
    }
    return [{"type": "value", "options": options}]


def of_name(name: str, *properties: tuple[str, Any]) -> dict[str, Any]:
    """An override of the field of that name."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties],
    }


def _named(look: Look, queries: Sequence[Query]) -> list[dict[str, Any]]:
    names = dict.fromkeys([*look.names, *(query.legend for query in queries)])
    return [
        of_name(name, ("color", {"mode": "fixed", "fixedColor": SERIES[name]}))
        for name in names
        if name in SERIES
    ]


def _of_column(column: Column) -> dict[str, Any]:
    """By its title: Grafana matches overrides after the transformations have named the fields."""
    properties: list[tuple[str, Any]] = [("noValue", column.empty)]
    if column.unit:
        properties.append(("unit", column.unit))
    if column.width:
        properties.append(("custom.width", column.width))
    if column.steps:
        properties.append(("thresholds", {"mode": "absolute", "steps": list(column.steps)}))
    if column.mappings:
        properties.append(("mappings", list(column.mappings)))
    if column.cell:
        properties.append(("custom.cellOptions", {"type": column.cell}))
    title, url = column.link
    if url:
        properties.append(("links", [{"title": title, "url": url, "targetBlank": False}]))
    return of_name(column.title, *properties)


def _nearest_limit(limits: Steps) -> dict[str, float]:
    """The axis reaches the limit that comes first, so that its line is seen from a good value."""
    if len(limits) < 2:
        return {}
    if limits[0]["color"] == OK:
        return {"axisSoftMax": limits[1]["value"]}
    return {"axisSoftMin": limits[-1]["value"]}


def _limits_of(look: Look, words: Words) -> dict[str, Any]:
    given = {"min": look.low, "max": look.high, "decimals": look.decimals}
    shown = {key: value for key, value in given.items() if value is not None}
    mapped = {"mappings": look.mappings} if look.mappings else {}
    return {"noValue": words.empty, **mapped, **shown}


def _target(query: Query, *, instant: bool = False, form: str = "time_series") -> dict[str, Any]:
    target: dict[str, Any] = core.Target(
        expr=query.expression, legendFormat=query.legend, format=form, instant=instant
    ).to_json_data()
    # Grafana tells a question about now from one about a range by both.
    more = {"range": not instant, "editorMode": "code"}
    return {**target, **more, **({"exemplar": True} if query.exemplar else {})}


_NEUTRAL = [{"color": ACTIVE, "value": None}]
"""Of what has no limit; Grafana would draw it in the colour of text."""
_BY_STEPS = {"color": {"mode": "thresholds"}}
_LAST = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
