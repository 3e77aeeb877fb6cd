"""Overrides of the success criteria: what a user may loosen or tighten, by criterion.

The defaults of the limits are the entries of `contract/criteria.py`; `None` here means "as there".
A criterion without limits has only the keys that say how fresh its evidence must be.
"""

from __future__ import annotations

from phasegate.contract.frozen import keyed
from phasegate.contract.sections import ListOf, Section, setting, without_effect_yet
from phasegate.contract.settings_rules import of_limits
from phasegate.contract.shapes import Choice, Duration, Number, Shape, Size, Switch

SUCCESS_CRITERIA = (
    "health",
    "uuid_lookup_latency",
    "cache_hit_rate",
    "error_rate",
    "audit_coverage",
    "integration_tests",
    "customer_issues",
)
GATE_CRITERIA = (
    "uuid_missing",
    "indexes_valid",
    "constraints_validated",
    "audit_partition_size",
    "audit_partition_runway",
    "backup_restored",
    "preflight",
)
_DURATION = Duration(1e-6, 3_600)
_RATIO = Number("a ratio", 0, 1)
_ROWS = Number("rows an hour", 1, 1e15)
_RUNWAY = Duration(60)


@keyed
class Criterion:
    """What every criterion has."""

    max_age: float | None = setting(
        Duration(1, 30 * 86_400), "Evidence older than this decides nothing.", None, example="60s"
    )


_PLAIN = Section(Criterion, "max_age")


_COUNTED = "max_age, min_span, confidence, assumed_dispersion"


@keyed
class CountedCriterion(Criterion):
    """A criterion that is decided by a test on counts."""

    min_span: float | None = setting(
        Duration(1, 30 * 86_400), "Shortest span of the evidence.", None,
        example="15m",
    )  # fmt: skip
    confidence: float | None = setting(
        Number("a confidence", 0.5, 0.9999), "Confidence of passing.", None,
        example="0.95",
    )  # fmt: skip
    assumed_dispersion: float | None = setting(
        Number("a factor", 1, 10),
        "How far counts are assumed to vary more than independent ones, while there are too few "
        "blocks to measure it.",
        None,
        example="2",
    )


def _limit(shape: Shape, severity: str, example: str) -> float | None:
    found: float | None = setting(shape, f"Limit of {severity}.", None, example=example)
    return found


@keyed
class UuidLookupLatency(CountedCriterion):
    """Both limits become bucket edges of the histogram."""

    warning: float | None = _limit(_DURATION, "warning, and of passing", "10ms")
    critical: float | None = _limit(_DURATION, "critical", "20ms")


@keyed
class CacheHitRate(CountedCriterion):
    """Hits by lookups; worse below."""

    warning: float | None = _limit(_RATIO, "warning, and of passing", "0.9")
    critical: float | None = _limit(_RATIO, "critical", "0.8")


@keyed
class ErrorRate(CountedCriterion):
    """Errors by requests, against the captured baseline."""

    margin: float | None = setting(
        Number("a factor", 1, 100), "Most that the rate may be of the baseline's.", None,
        example="1.5",
    )  # fmt: skip
    floor: float | None = setting(
        Number("a ratio", 0, 1), "A rate below this passes whatever the baseline.", None,
        example="0.001",
    )  # fmt: skip


@keyed
class AuditCoverage(Criterion):
    """Whether every change leaves a row in the audit log."""

    catalog_alone: bool = setting(
        Switch(),
        "Whether triggers that stand as they should pass by themselves; `false`: counts of a "
        "window without a roll-back, or a proof, must support them.",
        True,
    )
    decoding: float | None = setting(
        Duration(1, 3_600),
        "How long `validate` watches committed changes by logical decoding, to find each one's "
        "audit row; absent: it does not.",
        None,
        example="30s",
    )


@keyed
class AuditGrowth(Criterion):
    """New audit rows in an hour; alert only."""

    max_age: float | None = without_effect_yet(Criterion, "max_age")
    warning: float | None = _limit(_ROWS, "warning, rows an hour", "10000")
    critical: float | None = _limit(_ROWS, "critical, rows an hour", "50000")


@keyed
class AuditPartitionSize(Criterion):
    """Size of the largest audit partition."""

    warning: int | None = setting(Size(), "Limit of warning.", None, example="10GiB")
    critical: int | None = setting(Size(), "Limit of critical.", None, example="20GiB")


@keyed
class AuditPartitionRunway(Criterion):
    """Time for which partitions stand ready; worse below."""

    warning: float | None = _limit(_RUNWAY, "warning", "14d")
    critical: float | None = _limit(_RUNWAY, "critical", "3d")


@keyed
class Criteria:
    """What `validate` judges, and overrides by criterion."""

    required: tuple[str, ...] = setting(
        ListOf(Choice(SUCCESS_CRITERIA + GATE_CRITERIA), "criteria", least=1, unique=True),
        "What `validate` judges when no `--criterion` is given.",
        SUCCESS_CRITERIA,
    )
    health: Criterion = setting(
        _PLAIN, "Every configured check, PostgreSQL and the cache answer.", Criterion
    )
    uuid_lookup_latency: UuidLookupLatency = setting(
        Section(
            UuidLookupLatency,
            _COUNTED + ", warning, critical",
            of_limits("uuid_lookup_latency"),
        ),
        "Lookups by UUID are fast enough.",
        UuidLookupLatency,
    )
    cache_hit_rate: CacheHitRate = setting(
        Section(CacheHitRate, _COUNTED + ", warning, critical", of_limits("cache_hit_rate")),
        "The permission cache hits often enough.",
        CacheHitRate,
    )
    error_rate: ErrorRate = setting(
        Section(ErrorRate, _COUNTED + ", margin, floor"),
        "No more errors than before.",
        ErrorRate,
    )
    audit_coverage: AuditCoverage = setting(
        Section(AuditCoverage, "max_age, catalog_alone, decoding"),
        "The audit log holds every change.",
        AuditCoverage,
    )
    integration_tests: Criterion = setting(_PLAIN, "The integration tests pass.", Criterion)
    customer_issues: Criterion = setting(_PLAIN, "No customer reports an issue.", Criterion)
    uuid_missing: Criterion = setting(_PLAIN, "No row lacks its UUID.", Criterion)
    indexes_valid: Criterion = setting(_PLAIN, "No index is invalid.", Criterion)
    constraints_validated: Criterion = setting(_PLAIN, "No constraint is NOT VALID.", Criterion)
    audit_growth: AuditGrowth = setting(
        Section(AuditGrowth, "warning, critical, max_age", of_limits("audit_growth")),
        "The audit log does not grow out of hand; alerts, and is never a gate.",
        AuditGrowth,
    )
    audit_partition_size: AuditPartitionSize = setting(
        Section(
            AuditPartitionSize, "warning, critical, max_age", of_limits("audit_partition_size")
        ),
        "No audit partition is too large.",
        AuditPartitionSize,
    )
    audit_partition_runway: AuditPartitionRunway = setting(
        Section(
            AuditPartitionRunway,
            "warning, critical, max_age",
            of_limits("audit_partition_runway"),
        ),
        "Audit partitions stand ready for long enough.",
        AuditPartitionRunway,
    )
    backup_restored: Criterion = setting(_PLAIN, "A backup was proved by a restore.", Criterion)
    preflight: Criterion = setting(_PLAIN, "The server can carry the migration.", Criterion)
