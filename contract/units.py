"""How durations, sizes and retentions are written in the configuration and printed again.

One grammar for the file, the command line and the reference: a figure without a unit is refused
for a duration, since nobody can tell `10` seconds from `10` milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

DURATION_UNITS = {
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}
SIZE_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
DURATION_PATTERN = r"^([0-9]{1,12}(\.[0-9]{1,9})?(us|ms|s|m|h|d|w) ?)+$"
SIZE_PATTERN = r"^[0-9]{1,18}(\.[0-9]{1,9})? ?([kMGT]B|[KMGT]iB|B)$"
RETENTION_PATTERN = r"^[1-9][0-9]{0,4} ?(days?|weeks?|months?|years?)$"

RetentionUnit = Literal["day", "week", "month", "year"]
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h|d|w)")


@dataclass(frozen=True)
class Retention:
    """A span of the calendar. Kept as count and unit: a month has no fixed length."""

    count: int
    unit: RetentionUnit

    def __str__(self) -> str:
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"


def parse_duration(text: str) -> float:
    """Seconds of `200ms`, `10s`, `1h30m`, `7d`. Raises ValueError."""
    if not re.fullmatch(DURATION_PATTERN, text) or text.endswith(" "):
        raise ValueError("not a duration")
    parts = _DURATION_PART.findall(text)
    return float(sum(float(figure) * DURATION_UNITS[unit] for figure, unit in parts))


def format_duration(seconds: float) -> str:
    """The shortest spelling in one unit that reads back as `seconds`: 900 -> `15m`."""
    for unit, length in DURATION_UNITS.items():
        count = seconds / length
        if round(count) >= 1 and abs(count - round(count)) < 1e-9 * count:
            return f"{round(count)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def parse_size(text: str) -> int:
    """Bytes of `64MB` (decimal), `10GiB` (binary) or `4096`. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    if not re.fullmatch(SIZE_PATTERN, text):
        raise ValueError("not a size")
    figure = re.match(r"[0-9.]+", text)
    assert figure is not None
    return round(float(figure[0]) * SIZE_UNITS[text[figure.end() :].strip()])


def format_size(size_bytes: int) -> str:
    """The shortest spelling in one unit that reads back as `size_bytes`."""
    fits = [u for u, length in SIZE_UNITS.items() if size_bytes and size_bytes % length == 0]
    unit = min(fits, key=lambda u: size_bytes // SIZE_UNITS[u], default="B")
    return f"{size_bytes // SIZE_UNITS[unit]}{unit}"


def parse_retention(text: str) -> Retention:
    """`24 months`, `90 days`. Raises ValueError."""
    if not re.fullmatch(RETENTION_PATTERN, text):
        raise ValueError("not a retention")
    count, unit = re.findall(r"[0-9]+|[a-z]+", text)
    return Retention(int(count), cast(RetentionUnit, unit.removesuffix("s")))
