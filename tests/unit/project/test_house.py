"""The house's own limits and the four places that must agree on which rooms there are."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

from checks.tree import PACKAGE, ROOT, fetch_rooms, fetch_tracked_files

LINES_OF_A_FILE = 500
LINES_OF_A_FUNCTION = 60
MEANINGLESS = {"utils", "helpers", "common", "manager", "base"}

PYTHON_FILES = sorted(path for path in fetch_tracked_files() if path.endswith(".py"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_files_and_functions_stay_small() -> None:
    too_long = []
    for path in PYTHON_FILES:
        text = (ROOT / path).read_text(encoding="utf-8")
        if text.count("\n") > LINES_OF_A_FILE:
            too_long.append(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LINES_OF_A_FUNCTION:
                    too_long.append(f"{path}: {node.name} ({lines} lines)")
    assert too_long == []


def test_every_module_says_why_it_exists() -> None:
    silent = [
        path
        for path in PYTHON_FILES
        if not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_names_mean_something() -> None:
    names = {part: path for path in PYTHON_FILES for part in Path(path).with_suffix("").parts}
    assert {names[name] for name in names.keys() & MEANINGLESS} == set()


def test_every_room_is_packed_linked_and_known_by_its_full_name(project: dict[str, Any]) -> None:
    rooms = set(fetch_rooms())
    build = project["tool"]["hatch"]["build"]
    arrows = project["tool"]["importlinter"]["contracts"][0]["layers"]
    layered = {room.strip() for layer in arrows for room in layer.split("|")}
    banned = project["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert rooms
    assert {path for path in build["only-include"] if not path.startswith("src/")} == rooms
    assert build["targets"]["wheel"]["sources"] == {"src": ""} | {
        room: f"phasegate/{room}" for room in rooms
    }
    assert layered == rooms | {"cli"}
    assert set(banned) == rooms
    for room in rooms:
        link = ROOT / PACKAGE / room
        assert link.readlink() == Path("../..") / room
        assert (link / "__init__.py").is_file()


def test_the_package_s_own_files_are_packed(project: dict[str, Any]) -> None:
    own = {path for path in fetch_tracked_files() if path.startswith(PACKAGE)}
    links = {PACKAGE + room for room in fetch_rooms()}
    packed = set(project["tool"]["hatch"]["build"]["only-include"])
    assert own - links == {path for path in packed if path.startswith(PACKAGE)}
