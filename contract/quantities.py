"""What the values of criteria count, and how a person reads them: rounded, in words of the unit."""

from __future__ import annotations

import sys
from enum import StrEnum

from phasegate.contract.units import DURATION_UNITS, SIZE_UNITS

WITHOUT_END = sys.float_info.max
"""Stands for a time without end: JSON has no infinity, and a judge lets none pass."""


class Unit(StrEnum):
    """What a value counts."""

    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"
    ROWS = "rows"
    ROWS_AN_HOUR = "rows an hour"
    INDEXES = "indexes"
    CONSTRAINTS = "constraints"
    GAPS = "gaps"
    FAILED = "failed"
    ISSUES = "issues"
    TIMES = "times the baseline"
    CHECK = "check"
    """1 for a check that passed, 0 for one that did not."""
    UP = "up"
    """1 for what answers as it should, 0 for what does not."""


def format_value(value: float, unit: str) -> str:
    """`9.8 ms`, `10 GiB`, `89.5 %`, `up`, `12 rows`; the bare figure for no unit."""
    match unit:
        case Unit.SECONDS if value == WITHOUT_END:
            return "without end"
        case Unit.SECONDS:
            # Weeks and minutes between the others make nothing easier to compare.
            lengths = {name: DURATION_UNITS[name] for name in ("d", "h", "s", "ms", "us")}
            return _in_largest(value, lengths, "s")
        case Unit.BYTES:
            lengths = {name: SIZE_UNITS[name] for name in ("TiB", "GiB", "MiB", "KiB")}
            return _in_largest(value, lengths, "B")
        case Unit.RATIO:
            return f"{100 * value:.4g} %"
        case Unit.CHECK:
            return "passed" if value == 1 else "not passed"
        case Unit.UP:
            return "up" if value == 1 else "down"
        case _:
            figure = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
            return f"{figure} {unit}".rstrip()


def _in_largest(value: float, lengths: dict[str, float], smallest: str) -> str:
    """In the largest unit of which the value holds at least one."""
    for name, length in lengths.items():
        if abs(value) >= length:
            return f"{value / length:.4g} {name}"
    return f"{value:.4g} {smallest}"
