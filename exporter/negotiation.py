"""Which form of an answer a client asked for: its format and its compression.

A weight of 0 means "not this one", which a search for the name would take for the contrary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from aiohttp import web


def accepts_gzip(request: web.Request) -> bool:
    """Whether the body may be compressed: gzip is named, or everything is, with a weight."""
    weights = _weights(request, "Accept-Encoding")
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def prefers_openmetrics(request: web.Request) -> bool:
    """Whether OpenMetrics is named with a weight, and none greater for the text format."""
    weights = _weights(request, "Accept")
    openmetrics = weights.get("application/openmetrics-text", 0.0)
    return openmetrics > 0 and openmetrics >= weights.get("text/plain", 0.0)


def _weights(request: web.Request, header: str) -> dict[str, float]:
    """The greatest weight of each name in all headers of that kind."""
    found: dict[str, float] = {}
    for name, weight in _entries(",".join(request.headers.getall(header, ()))):
        found[name] = max(weight, found.get(name, 0.0))
    return found


def _entries(header: str) -> Iterator[tuple[str, float]]:
    for entry in header.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = "1"
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = value.strip()
        yield name, _number(weight)


def _number(text: str) -> float:
    """A weight; 0 for what is none, as for a form that was not asked for."""
    try:
        number = float(text)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0
