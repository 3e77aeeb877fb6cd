"""An alert and a group of rules before they are spelled in the dialect of a tool."""

from __future__ import annotations

import msgspec

from phasegate.contract.promql import Record

INTERVAL_SECONDS = 30.0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that wakes somebody. Seconds.

    It fires once `expression` has had a series for `hold`, and goes on for `keep` after the last
    one. `summary` and `description` are templates over `$value` and labels of the series alone:
    labels of a rule print as nothing there. `page` is the runbook's page, `panel` the board and the
    panel. `absence`: it fires where there is no data at all. `criterion` is empty where none stands
    behind it.
    """

    name: str
    severity: str
    expression: str
    hold: float
    keep: float
    summary: str
    description: str
    page: str
    panel: tuple[str, str]
    criterion: str = ""
    absence: bool = False


class Group(msgspec.Struct, frozen=True):
    """Rules that are evaluated together, in their order: records first, alerts may use them."""

    name: str
    interval: float
    records: tuple[Record, ...]
    alerts: tuple[Alert, ...]
