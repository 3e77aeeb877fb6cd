"""For machines: the whole report, after docs/reference/verdict.schema.json."""

from __future__ import annotations

import msgspec

from phasegate.validators.verdict import Report


def render(report: Report) -> str:
    """Keys in the order of the report's own classes, so that equal reports are equal bytes."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
