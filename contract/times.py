"""Points in time as people and machines write them: Unix seconds, or RFC 3339 with its offset."""

from __future__ import annotations

import re
from datetime import UTC, datetime

EXPECTED = "one Unix time in seconds or one RFC 3339 time, e.g. 1767225600 or 2026-01-01T00:00:00Z"
_UNIX = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
# A plus sign that was not quoted in a URL reaches us as a space.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+\- ]\d\d:\d\d)", re.ASCII
)


def parse_time(text: str) -> float:
    """Unix seconds from Unix seconds or RFC 3339 with its offset; ValueError for anything else."""
    if _UNIX.fullmatch(text):
        return float(text)
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction, offset = match.groups()
    offset = offset.upper().replace(" ", "+")
    # Later digits than microseconds are cut: to begin earlier than asked takes more in by 1 µs.
    return datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0')[:7]:0<7}{offset}").timestamp()


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC with whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
