"""The boards against Grafana's own types: keys and kinds of values, board and panel by panel.

The types are TypeScript, of the package that Grafana itself is made with; npm brings them, so that
this is no part of `make test`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phasegate.contract.settings import Settings
from phasegate.dashboards.build import render_boards
from tests.fixtures.presence import require_present

PACKAGES = ("@grafana/schema@13.2", "ts-json-schema-generator@2")
TYPES = "node_modules/@grafana/schema/dist/types/raw"
BOARDS = {name: json.loads(text) for name, text in render_boards(Settings()).items()}
WITH_FIELDS = ("timeseries", "table", "statetimeline", "heatmap")
KINDS = (*WITH_FIELDS, "stat", "gauge", "bargauge")
OF_THE_DATA_SOURCE = ("expr", "step", "tagKeys", "textFormat", "titleFormat", "useValueForTime")
"""Of annotations: the Prometheus data source's own, which the types of the board do not know."""
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("grafana_types")]


class Types:
    """The JSON Schemas of Grafana's types, each made when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], dict[str, Any]] = {}
        _run(folder, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES)

    def faults(self, file: str, name: str, value: Any) -> Iterator[str]:
        """What is wrong with a value of that type."""
        if (file, name) not in self._made:
            self._made[file, name] = self._make(f"{TYPES}/{file}/x/types.gen.d.ts", name)
        for fault in jsonschema.Draft7Validator(self._made[file, name]).iter_errors(value):
            yield f"{list(fault.absolute_path)}: {fault.message[:200]}"

    def _make(self, path: str, name: str) -> dict[str, Any]:
        maker = "node_modules/.bin/ts-json-schema-generator"
        flags = ("--no-type-check", "--no-top-ref")
        text = _run(self._folder, maker, "--path", path, "--type", name, *flags)
        made: dict[str, Any] = _without_required(json.loads(text))
        return made


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _without_required(schema: Any) -> Any:
    """Grafana fills in what a file leaves out."""
    if isinstance(schema, dict):
        return {key: _without_required(one) for key, one in schema.items() if key != "required"}
    if isinstance(schema, list):
        return [_without_required(one) for one in schema]
    return schema


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Types:
    """Grafana's types, of the registry."""
    require_present("npm", shutil.which("npm") is not None)
    return Types(tmp_path_factory.mktemp("types"))


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_of_grafanas_types(types: Types, name: str) -> None:
    board = BOARDS[name]
    annotations = [
        {key: one for key, one in mark.items() if key not in OF_THE_DATA_SOURCE}
        for mark in board["annotations"]["list"]
    ]
    whole = {**board, "annotations": {"list": annotations}}
    assert list(types.faults("dashboard", "Dashboard", whole)) == []
    for panel in board["panels"]:
        kind = panel["type"].replace("-", "")
        if kind not in KINDS:
            continue
        file = f"composable/{kind}/panelcfg"
        assert list(types.faults(file, "Options", panel["options"])) == [], panel["title"]
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None and kind in WITH_FIELDS:
            assert list(types.faults(file, "FieldConfig", custom)) == [], panel["title"]


def test_the_types_refuse_what_is_none(types: Types) -> None:
    """Else the test above proves nothing."""
    file = "composable/timeseries/panelcfg"
    assert list(types.faults(file, "FieldConfig", {"lineWidth": "2"}))
    assert list(types.faults(file, "Options", {"legendary": True}))
    assert list(types.faults("dashboard", "Panel", {"type": "stat", "gridPos": {"h": "4"}}))
