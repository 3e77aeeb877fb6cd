"""Every criterion that there is evidence for, once: its limits, and what to do beyond them.

Alerts, panels, verdicts and bucket edges read these; `criteria:` of the configuration overrides
limits. To add a criterion: one entry here, together with what measures it and with its section of
the same name in `contract/settings_criteria.py`.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

import msgspec

from phasegate.contract.errors import ContractError
from phasegate.contract.gates import PREFLIGHT_CHECKS
from phasegate.contract.model import AlertPolicy
from phasegate.contract.quantities import Unit
from phasegate.contract.settings import Settings


class Direction(StrEnum):
    """On which side of its limit a value is bad."""

    ABOVE = "above"
    BELOW = "below"


class Decision(StrEnum):
    """How a criterion is decided."""

    EXACT = "exact"
    """A measured value against the limit."""
    COUNTS = "counts"
    """A test on counts, with a stated confidence; a single figure decides nothing."""
    COVERAGE = "coverage"
    """The catalog's triggers, which counts and proofs can support."""
    INCREASE = "increase"
    """A test on counts against those of a captured baseline."""
    TESTS = "tests"
    """The results of tests, which are given to the judge; the exporter knows none."""
    ISSUES = "issues"
    """What customers report, as alerts, trackers and sign-offs tell it; the exporter knows none."""
    ALERT = "alert"
    """Never: it only alerts."""


MEASURED = frozenset(Decision) - {Decision.TESTS, Decision.ISSUES}
"""Decided on what the exporter measures."""


class Limit(NamedTuple):
    """A value is bad on the side of `direction`; exactly at `value` it still passes."""

    direction: Direction
    value: float
    unit: str = ""

    def admits(self, value: float) -> bool:
        """Whether the value is on the good side; NaN never is."""
        if self.direction is Direction.ABOVE:
            return value <= self.value
        return value >= self.value


class Criterion(msgspec.Struct, frozen=True):
    """Exactly at `warning`, in `unit`, still passes; the guide's own figures where it gives them.

    Without `critical` there is one state that passes, and no setting for it. `source` names the
    settings of which one must be there for anything to be measured; empty: always measured.
    `floor` is of what must not increase: a share below it passes whatever the baseline. `alert` is
    None where a judgement alone is of use, or no series carries it.
    """

    direction: Direction
    unit: Unit
    decision: Decision
    warning: float
    remedy: str
    critical: float | None = None
    source: tuple[str, ...] = ()
    floor: float = 0.0
    alert: AlertPolicy | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.warning):
            raise ContractError(self.remedy, f"limit {self.warning} decides nothing")


_TABLE = "{{ $labels.schema }}.{{ $labels.table }}"
CRITERIA: dict[str, Criterion] = {
    "health": Criterion(
        *(Direction.BELOW, Unit.UP, Decision.EXACT, 1),
        "restore what does not answer; the exporter's log tells why a check fails",
        alert=AlertPolicy(
            "TargetDown",
            60,
            "{{ with $labels.target }}Target{{ else }}Health check{{ end }} "
            "{{ or $labels.target $labels.check }}",
            *("exporter", ("overview", "targets"), "critical"),
            # As long as a window that saw the outage, and what it makes fire, can last: until then
            # it inhibits those, which would wake somebody for what is over.
            660,
        ),
    ),
    "uuid_lookup_latency": Criterion(
        *(Direction.ABOVE, Unit.SECONDS, Decision.COUNTS, 0.01),
        "see the last probes, and whether each lookup has its index",
        *(0.02, ("tables",)),
        alert=AlertPolicy(
            *("HighUUIDLookupLatency", 300, f"P95 of lookups by UUID on {_TABLE}"),
            *("database-operations", ("database", "lookup_p95")),
        ),
    ),
    "cache_hit_rate": Criterion(
        *(Direction.BELOW, Unit.RATIO, Decision.COUNTS, 0.9),
        "warm the cache, and see whether it evicts keys for want of memory",
        *(0.8, ("cache", "application.cache")),
        alert=AlertPolicy(
            *("LowCacheHitRate", 600, "Hit rate of cache {{ $labels.cache }}"),
            *("cache", ("cache", "hit_rate")),
        ),
    ),
    "error_rate": Criterion(
        *(Direction.ABOVE, Unit.TIMES, Decision.INCREASE, 1.5),
        "see what the application logs of its errors, and whether they began with the change",
        source=("application.errors",),
        floor=0.001,
        alert=AlertPolicy(
            *("ErrorRateAboveBaseline", 300, "Errors among the application's requests"),
            *("migration", ("overview", "error_rate"), "critical"),
        ),
    ),
    "audit_coverage": Criterion(
        *(Direction.ABOVE, Unit.GAPS, Decision.COVERAGE, 0),
        "let an AFTER trigger that is enabled ALWAYS call the audit function for every change",
        source=("audit.watch",),
        alert=AlertPolicy(
            *("AuditCoverageLost", 300, f"Gaps in the triggers that audit {_TABLE}"),
            *("audit", ("audit", "coverage"), "critical"),
            after="infrastructure",
        ),
    ),
    "integration_tests": Criterion(
        *(Direction.ABOVE, Unit.FAILED, Decision.TESTS, 0),
        "see the report of the tests that failed, repair what they test, and run them all again",
    ),
    "customer_issues": Criterion(
        *(Direction.ABOVE, Unit.ISSUES, Decision.ISSUES, 0),
        "look after the issues that are named, and judge again once they are closed",
        source=("issues.alerts", "issues.tracker", "issues.signoff"),
    ),
    "backup_restored": Criterion(
        *(Direction.BELOW, Unit.CHECK, Decision.EXACT, 1),
        "make a backup and prove it by a restore: phasegate migrate run --phase prepare",
    ),
    "preflight": Criterion(
        *(Direction.BELOW, Unit.CHECK, Decision.EXACT, 1),
        "see what the preflight found and what each check needs: phasegate migrate status",
    ),
    "uuid_missing": Criterion(
        *(Direction.ABOVE, Unit.ROWS, Decision.EXACT, 0),
        "populate the UUIDs, and see that new rows get one",
        source=("tables",),
        alert=AlertPolicy(
            *("MissingUUIDs", 300, f"Missing UUIDs in {_TABLE}"),
            *("database-operations", ("database", "uuid_missing"), "critical"),
            after="schema",
        ),
    ),
    "indexes_valid": Criterion(
        *(Direction.ABOVE, Unit.INDEXES, Decision.EXACT, 0),
        "drop the invalid indexes and build them again (REINDEX CONCURRENTLY)",
        source=("tables", "audit"),
        alert=AlertPolicy(
            # As long as a large index is built concurrently it is invalid.
            *("InvalidIndex", 7_200, f"Invalid indexes of {_TABLE}"),
            *("database-operations", ("database", "invalid_indexes")),
        ),
    ),
    "constraints_validated": Criterion(
        *(Direction.ABOVE, Unit.CONSTRAINTS, Decision.EXACT, 0),
        "run ALTER TABLE … VALIDATE CONSTRAINT for each",
        source=("tables", "audit"),
        alert=AlertPolicy(
            *("UnvalidatedConstraint", 21_600, f"Constraints of {_TABLE} that are not validated"),
            *("database-operations", ("database", "constraints_unvalidated")),
        ),
    ),
    "audit_growth": Criterion(
        *(Direction.ABOVE, Unit.ROWS_AN_HOUR, Decision.ALERT, 10_000),
        "see which category of events grows, and whether a backfill is being audited",
        *(50_000, ("audit",)),
        alert=AlertPolicy(
            *("HighAuditLogGrowth", 300, f"Growth of {_TABLE}"),
            *("audit", ("audit", "growth")),
        ),
    ),
    "audit_partition_size": Criterion(
        *(Direction.ABOVE, Unit.BYTES, Decision.EXACT, 10 * 2**30),
        "use a shorter interval of partitions, or detach what is past use",
        *(20 * 2**30, ("audit",)),
        alert=AlertPolicy(
            *("AuditPartitionSize", 1_800, f"Size of audit partition {_TABLE}"),
            *("audit", ("audit", "largest_partition")),
        ),
    ),
    "audit_partition_runway": Criterion(
        *(Direction.BELOW, Unit.SECONDS, Decision.EXACT, 14 * 86_400),
        "create the partitions ahead (audit.premake)",
        *(3 * 86_400, ("audit",)),
        alert=AlertPolicy(
            *("AuditPartitionRunwayShort", 300, f"Time until {_TABLE} has no partition"),
            *("audit", ("audit", "runway")),
        ),
    ),
}

MAX_AGE_SECONDS = 60.0
PREFLIGHT_SECONDS = 3_600.0
"""How long what a preflight found is taken for true."""


def thresholds(settings: Settings, name: str) -> dict[str, float]:
    """The limits in force by severity: the configuration's where it gives one; none of a state."""
    criterion, override = CRITERIA[name], getattr(settings.criteria, name)
    if criterion.critical is None:
        return {}
    return {
        severity: default if (given := getattr(override, severity)) is None else float(given)
        for severity, default in (
            ("warning", criterion.warning),
            ("critical", criterion.critical),
        )
    }


def passing_limit(settings: Settings, name: str) -> Limit:
    """The limit of passing: the warning threshold or margin in force, or the one state that
    passes."""
    criterion = CRITERIA[name]
    value = thresholds(settings, name).get("warning", criterion.warning)
    if criterion.decision is Decision.INCREASE:
        margin: float | None = getattr(settings.criteria, name).margin
        value = value if margin is None else margin
    return Limit(criterion.direction, value, criterion.unit)


def severity_limit(settings: Settings, name: str, severity: str) -> Limit:
    """The limit of one severity; that of passing where the criterion has only one state."""
    passing = passing_limit(settings, name)
    return passing._replace(value=thresholds(settings, name).get(severity, passing.value))


def passing_floor(settings: Settings, name: str) -> float:
    """The share below which what must not increase passes whatever its baseline."""
    given: float | None = getattr(settings.criteria, name).floor
    return CRITERIA[name].floor if given is None else given


def max_age(settings: Settings, name: str) -> float:
    """Seconds after which a measured value decides nothing: the configuration's where it gives
    one, else a minute more than the measurement's own schedule lets a value grow old. Results of
    tests and sign-offs have no schedule, and so no limit."""
    given: float | None = getattr(settings.criteria, name).max_age
    if given is not None:
        return given
    if CRITERIA[name].decision not in MEASURED:
        return math.inf
    exporter = settings.exporter
    schedule = {
        # A count that takes as long as the interval must not go stale before the next is done.
        "uuid_missing": 2 * exporter.exact_count_interval,
        "preflight": PREFLIGHT_SECONDS,
        "audit_partition_size": exporter.evidence_block + exporter.partition_max_age,
    }
    return MAX_AGE_SECONDS + schedule.get(name, exporter.evidence_block)


def expected_subjects(settings: Settings, name: str) -> frozenset[str]:
    """What must have been measured for a criterion to pass, as observations name it."""
    tables = {str(table.name) for table in settings.tables}
    audit = set() if settings.audit is None else {str(settings.audit.table)}
    every = {str(name) for name in settings.named_tables}
    servers = {"database", *settings.database.replicas, *(["cache"] if settings.cache else [])}
    expected: dict[str, set[str]] = {
        "health": servers | {check.name for check in settings.health},
        "backup_restored": {"database"},
        "preflight": set(PREFLIGHT_CHECKS),
        "uuid_missing": tables,
        "indexes_valid": every,
        "constraints_validated": every,
        "audit_partition_runway": audit,
    }
    return frozenset(expected.get(name, ()))


def missing_source(settings: Settings, name: str) -> str:
    """The settings that would give a criterion its evidence; empty where one of them is there."""
    wanted = CRITERIA[name].source
    return (
        "" if not wanted or any(_is_set(settings, key) for key in wanted) else " or ".join(wanted)
    )


def _is_set(settings: Settings, key: str) -> bool:
    found: object = settings
    for step in key.split("."):
        found = getattr(found, step, None)
    return bool(found)
