"""A board before it is JSON: its sections, and the places of its panels on Grafana's grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from phasegate.contract.errors import ContractError
from phasegate.dashboards.panels import Part

COLUMNS = 24
FIRST_SCREEN = 17
"""Rows of the grid that 1280 x 800 shows below Grafana's own bars, 38 pixels each."""

Line = tuple[Part, ...]


class Section(NamedTuple):
    """Lines of panels under a heading; the first section has none. `name` is of the fixed id."""

    name: str
    title: str
    lines: tuple[Line, ...]


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """One board, by its name in the contract. Its first section fits on the first screen and says
    whether it is broken, since when and what next. `variables` are those beyond every board's."""

    board: str
    description: str
    sections: tuple[Section, ...]
    variables: tuple[str, ...] = ()
    since: str = "now-6h"


class Place(NamedTuple):
    """A rectangle of the grid."""

    x: int
    y: int
    w: int
    h: int


def plan_places(sketch: Sketch) -> Iterator[tuple[Section | Part, Place]]:
    """Headings and panels with their places, in reading order. Raises ContractError where a line
    leaves a gap, or the first section does not fit on the first screen."""
    y = 0
    for section in sketch.sections:
        if section.title:
            yield section, Place(0, y, COLUMNS, 1)
            y += 1
        for line in section.lines:
            where = f"{sketch.board}/{line[0].name}"
            if sum(part.width for part in line) != COLUMNS:
                raise ContractError(where, f"its line is not {COLUMNS} columns wide")
            if len({part.height for part in line}) != 1:
                raise ContractError(where, "its line has panels of several heights")
            x = 0
            for part in line:
                yield part, Place(x, y, part.width, part.height)
                x += part.width
            y += line[0].height
        if section is sketch.sections[0] and y > FIRST_SCREEN:
            raise ContractError(sketch.board, f"its first section is {y} rows high")
