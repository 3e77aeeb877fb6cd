"""What a Prometheus-compatible API answers, as far as the checks ask it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from phasegate.contract.errors import SourceError
from phasegate.operate.doctor_ground import Ground


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Result(msgspec.Struct):
    resultType: str = ""  # noqa: N815  (their name)
    result: list[_Series] = []


class _Query(msgspec.Struct):
    status: str
    data: _Result = msgspec.field(default_factory=_Result)


class Rule(msgspec.Struct):
    """A rule that is loaded. `duration` is its `for` in seconds; `health` is ok, err, unknown."""

    name: str
    query: str
    type: str = ""
    duration: float = 0.0
    labels: dict[str, str] = {}
    health: str = "ok"
    lastError: str = ""  # noqa: N815


class _Group(msgspec.Struct):
    name: str
    rules: list[Rule] = []


class _Groups(msgspec.Struct):
    groups: list[_Group] = []


class _Rules(msgspec.Struct):
    status: str
    data: _Groups = msgspec.field(default_factory=_Groups)


class _Text(msgspec.Struct):
    status: str
    data: Any = None


def fetch_vector(ground: Ground, query: str) -> list[tuple[dict[str, str], float]]:
    """The series of an instant query, each with its value. Raises SourceError."""
    asked = urlencode({"query": query})
    found, _ = ground.ask_prometheus(f"/api/v1/query?{asked}", _Query)
    return [(one.metric, float(one.value[1])) for one in found.data.result]


def fetch_rules(ground: Ground) -> list[Rule]:
    """All rules that are loaded. Raises SourceError."""
    found, _ = ground.ask_prometheus("/api/v1/rules", _Rules)
    return [rule for group in found.data.groups for rule in group.rules]


def fetch_formatted(ground: Ground, query: str) -> str | None:
    """The expression as the server itself writes it; None where it offers no such thing."""
    asked = urlencode({"query": query})
    try:
        found, _ = ground.ask_prometheus(f"/api/v1/format_query?{asked}", _Text)
    except SourceError:
        return None
    return found.data if isinstance(found.data, str) else None


def quote_label(value: str) -> str:
    """A label's value in a selector."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
