"""From grafanalib's objects to the panels that Grafana 11 to 13 take.

grafanalib 0.7.1 writes for Grafana 8 and before. Whatever its panels say goes through a list of
what is allowed for their type, so that nothing old or unknown gets out; and what we ourselves want
said beyond grafanalib must be on the list, or the build fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from string import ascii_uppercase
from typing import Any

from grafanalib._gen import DashboardEncoder

from phasegate.contract.errors import ContractError

SCHEMA_VERSION = 41
"""The last of the classic format; Grafana 11 reads it, and 12 and 13 take it by file."""
DATASOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}

Allowed = Mapping[str, Any]
"""Keys that may stay: ALL with whatever is below, else the list of what is below."""
ALL = True


def _keys(names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), ALL)


_GRID = {"gridPos": _keys("h w x y")}
_REDUCE = {"reduceOptions": _keys("calcs fields values")}
_LEGEND = {"legend": _keys("calcs displayMode placement showLegend")}
_TOOLTIP = {"tooltip": _keys("mode sort")}
_STEPS = {"thresholds": {"mode": ALL, "steps": _keys("color value")}}
_DEFAULTS = {
    **_keys("unit noValue mappings min max decimals color"),
    **_STEPS,
    "links": _keys("title url targetBlank"),
}
_TARGET = {
    "targets": {
        **_keys("expr refId legendFormat format instant range exemplar editorMode"),
        "datasource": _keys("type uid"),
    }
}
_PANEL = {
    **_keys("id type title description datasource interval transformations"),
    **_GRID,
    **_TARGET,
    "links": _keys("title url targetBlank"),
}


def _panel(options: Allowed, custom: Allowed | None = None) -> Allowed:
    defaults = {**_DEFAULTS, **({"custom": custom} if custom else {})}
    return {
        **_PANEL,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": ALL},
    }


ALLOWED: Mapping[str, Allowed] = {
    "timeseries": _panel(
        {**_LEGEND, **_TOOLTIP},
        {
            **_keys("axisPlacement axisLabel axisSoftMin axisSoftMax barAlignment drawStyle"),
            **_keys("fillOpacity gradientMode lineInterpolation lineWidth pointSize showPoints"),
            **_keys("spanNulls"),
            "hideFrom": _keys("legend tooltip viz"),
            "scaleDistribution": _keys("type"),
            "stacking": _keys("group mode"),
            "thresholdsStyle": _keys("mode"),
        },
    ),
    "stat": _panel(
        {
            **_keys("colorMode graphMode justifyMode orientation textMode wideLayout"),
            **_keys("showPercentChange"),
            **_REDUCE,
        }
    ),
    "gauge": _panel(
        {**_keys("orientation showThresholdLabels showThresholdMarkers"), **_REDUCE},
    ),
    "bargauge": _panel(
        {**_keys("displayMode valueMode namePlacement orientation showUnfilled"), **_REDUCE}
    ),
    "table": _panel(
        {**_keys("cellHeight showHeader"), "sortBy": _keys("displayName desc")},
        {**_keys("align filterable inspect"), "cellOptions": _keys("type mode")},
    ),
    "state-timeline": _panel(
        {**_keys("alignValue mergeValues rowHeight showValue"), **_LEGEND, **_TOOLTIP},
        _keys("fillOpacity lineWidth"),
    ),
    "heatmap": _panel(
        {
            **_keys("calculate cellGap color exemplars filterValues rowsFrame showValue"),
            "legend": _keys("show"),
            "tooltip": _keys("mode showColorScale yHistogram"),
            "yAxis": _keys("axisPlacement reverse unit"),
        }
    ),
    "text": {**_keys("id type title description"), **_GRID, "options": _keys("content mode")},
    "row": {**_keys("id type title collapsed panels"), **_GRID},
}


def modernise(panel: Any) -> dict[str, Any]:
    """One panel as Grafana takes it, without its place, id and description. Raises ContractError
    for what is not allowed in it."""
    raw = json.loads(json.dumps(panel, cls=DashboardEncoder))
    kind = raw["type"]
    if kind not in ALLOWED:
        raise ContractError(raw["title"], f"panels of type {kind} are not on the list")
    for path in _refused(panel.extraJson or {}, ALLOWED[kind]):
        raise ContractError(raw["title"], f"{path} is not on the list of {kind}")
    kept: dict[str, Any] = _filter(raw, ALLOWED[kind])
    for repair in (_repair_targets, _repair_config):
        repair(kept)
    return kept


def _filter(value: Any, allowed: Any) -> Any:
    if allowed is ALL:
        return value
    if isinstance(value, list):
        return [_filter(one, allowed) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _filter(value[key], allowed[key]) for key in allowed if key in value}
    # grafanalib says what was not asked for as null, "" and empty lists. The step below all values
    # is the one that has no value, and says so.
    return {
        key: one
        for key, one in found.items()
        if one not in (None, "", [], {}) or (key == "value" and "color" in found)
    }


def _refused(value: Any, allowed: Any, path: str = "") -> Iterator[str]:
    if allowed is ALL or not isinstance(value, dict):
        return
    for key, one in value.items():
        place = f"{path}.{key}".lstrip(".")
        if key not in allowed:
            yield place
        else:
            yield from _refused(one, allowed[key], place)


def _repair_targets(panel: dict[str, Any]) -> None:
    targets = panel.get("targets", [])
    if targets:
        panel["datasource"] = dict(DATASOURCE)
    for letter, target in zip(ascii_uppercase, targets, strict=False):
        target |= {"refId": letter, "datasource": dict(DATASOURCE)}


def _repair_config(panel: dict[str, Any]) -> None:
    config = panel.get("fieldConfig")
    if config is None:
        return
    config.setdefault("overrides", [])
    defaults = config["defaults"]
    if "steps" not in defaults.get("thresholds", {}):
        defaults.pop("thresholds", None)
    if panel["type"] == "timeseries":
        defaults["custom"].setdefault("stacking", {"group": "A", "mode": "none"})
