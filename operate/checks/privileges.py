"""Whether the exporter's role may do all that its collectors need: each query is sent once.

This is what `phasegate exporter --check-config --connect` does, told by what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from phasegate.exporter.command import try_collectors
from phasegate.exporter.remedies import remedy_for
from phasegate.exporter.runner import Status
from phasegate.operate.doctor import Finding, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "the role may read all that the exporter measures (each query is sent once)"
SECONDS = 6.0
_PLACE = "exporter.md#collectorfailing"
_GRANTS = (
    "phasegate init --grants > grants.sql\n"
    'psql -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -f grants.sql\n'
    "phasegate exporter --config.file phasegate.yaml --check-config --connect"
)
_OURS = frozenset({"privilege", "undefined_object", "baseline_unusable", "secret", "standby"})
"""Reasons that lie with the role or the configuration; all others may be gone at the next run."""
_OF_THE_APPLICATION = ("application", "health")


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError."""
    with ground.look() as connection:
        [(role,)] = fetch_rows(connection, "SELECT current_user::text")
    statuses, _ = asyncio.run(try_collectors(ground.load, SECONDS))
    yield from evaluate_statuses(statuses, role)


def evaluate_statuses(statuses: Sequence[Status], role: str) -> Iterator[Finding]:
    """One finding each that failed for a reason of its own; `role` is whose rights they had."""
    failed = [one for one in statuses if not one.success]
    for one in failed:
        told = f"{one.collector}, as {role}: {one.reason}: {one.error}"
        if one.reason == "privilege":
            cause = "a right was never given, or a column or partition is newer than the grants"
            yield problem(told, cause, _GRANTS, _PLACE)
        elif one.collector.startswith(_OF_THE_APPLICATION):
            remedy = "phasegate validate --criterion health"
            yield warning(told, "the application does not answer", remedy, "exporter.md#targetdown")
        elif one.reason in _OURS:
            cause = "the exporter cannot measure this"
            yield problem(told, cause, remedy_for(one.reason) or "see the error", _PLACE)
        else:
            yield unknown(told, remedy_for(one.reason) or "see the error", _PLACE)
    good = len(statuses) - len(failed)
    if good:
        yield ok(f"{good} of {len(statuses)} collectors got all that they asked for, as {role}")
