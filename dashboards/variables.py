"""The variables on top of each board, and what they may be.

`All` of the instances is the list of them: so the database that is chosen narrows them, which a
pattern for all would not. An exporter whose database is down tells no database; it is shown with
every one, since that is the moment at which people look.
"""

from __future__ import annotations

from typing import Any

from phasegate.contract.promql_series import (
    find_began,
    find_databases,
    find_instances,
    find_jobs,
    find_tables,
)
from phasegate.contract.settings import Settings
from phasegate.dashboards.modern import DATASOURCE

_SHOWN, _HIDDEN = 0, 2
_BY_NAME = 1
_WITH_THE_RANGE = 2
ALL_VALUES = {"text": ["All"], "value": ["$__all"]}


def make_variables(settings: Settings, *more: str) -> list[dict[str, Any]]:
    """Data source, job, database and instance, which every board has; then those that it names:
    `table`, and `began`, the moment before the migration."""
    job = settings.monitoring.job
    found = [
        {
            "type": "datasource",
            "name": "datasource",
            "label": "Data source",
            "query": "prometheus",
            "current": {"text": "default", "value": "default"},
            "refresh": 1,
            "hide": _SHOWN,
            "includeAll": False,
            "multi": False,
            "options": [],
            "regex": "",
        },
        _query(
            "job", "Job", "The scrape job of the exporter.", find_jobs(job), ".+",
            regex='/job="([^"]+)"/', current={"text": [job], "value": [job]},
        ),
        _query(
            "database", "Database", "Narrows the instances to those that measure it.",
            find_databases(), ".*",
        ),
        _query(
            "instance", "Instance", "Exporters; what several of them measure is shown by its "
            "worst.", find_instances(), "", regex='/instance="([^"]+)"/',
        ),
    ]  # fmt: skip
    if "table" in more:
        found.append(_query("table", "Table", "Tables that are watched.", find_tables(), ".*"))
    if "began" in more:
        began = _query(
            "began", "Began", "Unix time at which the migration began; 0 before.", find_began(), "",
            regex="/} ([0-9.]+) /",
        )  # fmt: skip
        began |= {"hide": _HIDDEN, "includeAll": False, "multi": False, "current": {}}
        found.append(began)
    return found


def _query(
    name: str,
    label: str,
    description: str,
    query: str,
    every: str,
    *,
    regex: str = "",
    current: dict[str, Any] | None = None,
) -> dict[str, Any]:
    pattern = {"allValue": every} if every else {}
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": dict(DATASOURCE),
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": _WITH_THE_RANGE,
        "sort": _BY_NAME,
        "hide": _SHOWN,
        "includeAll": True,
        "multi": True,
        "options": [],
        "regex": regex,
        "current": ALL_VALUES if current is None else current,
        **pattern,
    }
