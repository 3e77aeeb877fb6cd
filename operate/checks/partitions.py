"""The audit log's partitions: of now and of what comes, their bounds, and what is in their way.

The guide asks `pg_constraint`, which does not show a partition's bounds, and finds partitions by
`LIKE 'audit_logs_%'`, which finds other tables too: here the catalog's own bounds decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation, fetch_catalog
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.operations.premake import bounded, children_of
from phasegate.migrate.partitions_command import keep_partitions
from phasegate.migrate.periods import Period, ahead, parse_bound, period_of, uncovered
from phasegate.operate.doctor import Finding, Fix, ok, problem, warning
from phasegate.operate.doctor_ground import Connection, Ground

SUMMARY = "the audit log has partitions for now and for what comes, without holes, in UTC"
_MAKE = "phasegate migrate partitions"
_MISSING, _SHORT = "audit.md#auditpartitionmissing", "audit.md#auditpartitionrunwayshort"
_GAP, _DEFAULT = "audit.md#auditpartitiongap", "audit.md#auditdefaultpartitionused"


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, PlanRefused behind a pooler, LockNotAcquired, psycopg.Error."""
    audit = ground.settings.audit
    if audit is None:
        yield ok("no audit log is configured")
        return
    with ground.look_by_session() as connection:
        catalog = fetch_catalog(connection, [audit.table])
        used = _default_is_used(connection, catalog, audit)
    yield from evaluate_partitions(catalog, audit, used)


def _default_is_used(connection: Connection, catalog: Catalog, audit: Audit) -> bool:
    relation = catalog.get(audit.table)
    default = None if relation is None else _default_of(relation, catalog)
    if default is None:
        return False
    query = f"SELECT EXISTS (SELECT FROM {qualify(default.name)})"  # noqa: S608
    [[used]] = connection.execute(query.encode()).fetchall()
    return bool(used)


def evaluate_partitions(catalog: Catalog, audit: Audit, used: bool) -> Iterator[Finding]:
    """`used`: there are rows in a default partition."""
    relation, log = catalog.get(audit.table), qualify(audit.table)
    if relation is None or relation.kind != PARTITIONED:
        found = "there is no such table" if relation is None else "it is not partitioned"
        yield warning(
            f"{log}: {found}",
            "the phase infrastructure has not been run yet",
            "phasegate migrate run --until infrastructure",
            _MISSING,
        )
        return
    default = _default_of(relation, catalog)
    faults = [
        *_evaluate_ahead(relation, catalog, audit, None if default else _fix(audit.table)),
        *_evaluate_default(relation, default, used),
        *_evaluate_gaps(relation, catalog, audit),
        *_evaluate_bounds(relation, catalog, audit),
        *_evaluate_detaching(relation, catalog),
    ]
    periods = [period for _, period in bounded(relation, catalog)]
    if not faults:
        until = max(period.end for period in periods)
        told = f"{len(periods)} partitions, by {audit.partition}, up to {_tell(until)}, no hole"
        yield ok(f"{log}: {told}")
    yield from faults


def _evaluate_ahead(
    relation: Relation, catalog: Catalog, audit: Audit, fix: Fix | None
) -> Iterator[Finding]:
    now = datetime.fromtimestamp(catalog.now, UTC)
    taken = [period for _, period in bounded(relation, catalog)]
    log = qualify(audit.table)
    wanted = list(ahead(now, audit.partition, audit.premake))
    holes = [hole for period in wanted for hole in uncovered(period, taken) if hole.end > now]
    if not holes:
        return
    told = f"{log}: no partition {holes[0].text}"
    if len(holes) > 1:
        told += f", and {len(holes) - 1} more of audit.premake ({audit.premake}) are missing"
    if holes[0].start <= now:
        cause = "every audited write fails now: no partition of relation found for row"
        yield problem(told, cause, _MAKE, _MISSING, fix)
    elif holes[0].start <= wanted[0].end:
        cause = (
            f"the {audit.partition} after this one has none: audited writes fail from "
            f"{_tell(holes[0].start)} on; the timer of `{_MAKE}` does not run, or it was detached"
        )
        yield problem(told, cause, _MAKE, _SHORT, fix)
    else:
        cause = f"the timer of `{_MAKE}` does not run, or fails"
        yield warning(told, cause, _MAKE, _SHORT, fix)


def _evaluate_default(
    relation: Relation, default: Relation | None, used: bool
) -> Iterator[Finding]:
    if default is None:
        return
    name = qualify(default.name)
    detach = f"ALTER TABLE {qualify(relation.name)} DETACH PARTITION {name};"
    cause = "each new partition would scan it under a strong lock, so none is made"
    if used:
        told = f"{name}: rows lie in this default partition"
        cause = f"no other partition held their moment; {cause}"
        yield problem(told, cause, f"{detach}\nthen move its rows, as the runbook says", _DEFAULT)
    else:
        yield warning(f"{name}: an empty default partition", cause, detach, _DEFAULT)


def _evaluate_gaps(relation: Relation, catalog: Catalog, audit: Audit) -> Iterator[Finding]:
    """Holes before and after what is kept ready; what is missing of that is told already."""
    log = qualify(relation.name)
    now = datetime.fromtimestamp(catalog.now, UTC)
    *_, last = ahead(now, audit.partition, audit.premake)
    for (one, before), (other, after) in pairwise(bounded(relation, catalog)):
        between = f"{qualify(one.name)} and {qualify(other.name)}"
        if before.end < after.start and not now <= after.start <= last.end:
            hole = Period(before.end, after.start)
            yield problem(
                f"{log}: a hole between {between}, {hole.text}",
                "one was made by hand with bounds in local time, or detached; a row of that time "
                "is refused",
                f"{_MAKE}\n(a hole in the past: by hand, with exactly these bounds)",
                _GAP,
            )
        elif before.end > after.start:
            yield problem(
                f"{log}: {between} overlap",
                "their bounds are not moments of one column alone",
                "detach one of them, move its rows, and attach it with the bounds that are left",
                _GAP,
            )


def _evaluate_bounds(relation: Relation, catalog: Catalog, audit: Audit) -> Iterator[Finding]:
    """Bounds that are no limits of a day in UTC: made by a session in another time zone."""
    odd = []
    for child, period in bounded(relation, catalog):
        ends = [period.end] if period.start.year == 1 else [period.start, period.end]
        if any(end.year < 9999 and period_of(end, "day").start != end for end in ends):
            odd.append(f"{qualify(child.name)} {period.text}")
    if odd:
        yield warning(
            f"bounds that are no midnight in UTC: {'; '.join(odd)}",
            "made by a session in another time zone; the next one in UTC leaves a hole or overlaps",
            f"{_MAKE}\n(it fills the holes beside them, up to the end of audit.premake)",
            _GAP,
        )
    unread = [
        qualify(child.name)
        for child in children_of(relation, catalog)
        if child.bound != "DEFAULT" and parse_bound(child.bound) is None
    ]
    if unread:
        detach = f"ALTER TABLE {qualify(audit.table)} DETACH PARTITION {unread[0]};"
        cause = "it is bound by something else than two moments, so no calendar holds for the log"
        yield problem(f"bounds that cannot be read: {', '.join(unread)}", cause, detach, _GAP)


def _evaluate_detaching(relation: Relation, catalog: Catalog) -> Iterator[Finding]:
    for child in children_of(relation, catalog):
        if child.detaching:
            name, log = qualify(child.name), qualify(relation.name)
            yield problem(
                f"{name}: its detach was begun and not ended",
                "DETACH CONCURRENTLY was cancelled; nothing else can be detached before it",
                f"ALTER TABLE {log} DETACH PARTITION {name} FINALIZE;",
                _GAP,
            )


def _default_of(relation: Relation, catalog: Catalog) -> Relation | None:
    return next((one for one in children_of(relation, catalog) if one.bound == "DEFAULT"), None)


def _tell(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _fix(table: TableName) -> Fix:
    """The product's own command, and of it the making alone: what is past its retention stays."""

    def apply(ground: Ground) -> str:
        audit = ground.settings.audit
        assert audit is not None
        said: list[str] = []
        settings = replace(ground.settings, audit=replace(audit, retention=None))
        keep_partitions(settings, ground.by, said.append)
        return "; ".join(said)

    return Fix(f"make the missing partitions of {qualify(table)} (as `{_MAKE}`)", apply)
