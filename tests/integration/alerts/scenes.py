"""What makes each alert fire, and what is just not enough for it: in series of a real exposition.

One entry for each alert and severity; a scene is all that a new alert needs to be proved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from phasegate.contract import metrics
from phasegate.contract.criteria import severity_limit
from phasegate.contract.migration import PhaseState
from phasegate.contract.model import Metric
from phasegate.contract.promql import SCRAPED
from phasegate.contract.settings import Settings
from phasegate.contract.watched import (
    CERTIFICATE_SECONDS,
    KEY_LEFT_SECONDS,
    KEY_USED,
    LOCK_WAIT_SECONDS,
    SILENCE_SECONDS,
    STUCK_SECONDS,
)
from tests.fixtures.history import EVERYTHING, Change

USERS = {"schema": "public", "table": "users"}
LOG = {"schema": "public", "table": "audit_logs"}
PARTITION = {"schema": "public", "table": "audit_logs_legacy", "parent": "audit_logs"}
KEY = {**USERS, "column": "id"}
LOOKUP = {"query_type": "uuid_lookup", **USERS}
APPLICATION = {"cache": "permissions", "scope": "application"}
SERVER = {"cache": "cache", "scope": "server"}
BETWEEN_SCRAPES = 61.0
"""An age grows from one scrape to the next: that much below a limit it stays below it."""
FOREVER = -1.0
"""In `until`: what does not go back when all else is in order again."""


class Scene(NamedTuple):
    """`bad` makes the alert fire and `almost` does not; both end again. `rest` is so all the time.

    `labels` are those of the series that fires, besides job and instance; `says` what its summary
    must hold. `window`: seconds over which the expression looks back, so that it comes and goes
    that much later.
    """

    bad: tuple[Change, ...]
    almost: tuple[Change, ...] = ()
    labels: Mapping[str, str] = {}
    says: str = ""
    rest: tuple[Change, ...] = ()
    window: float = 0.0


def _limit(criterion: str, severity: str) -> float:
    return severity_limit(Settings(), criterion, severity).value


def _gauge(
    metric: Metric,
    bad: float,
    almost: float,
    labels: Mapping[str, str] = {},
    says: str = "",
) -> Scene:
    """One series of a gauge on either side of a limit."""
    on, off = (Change(metric.name, value, labels) for value in (bad, almost))
    return Scene((on,), (off,), labels, says)


def _age(
    metric: Metric,
    bad: float,
    almost: float,
    labels: Mapping[str, str] = {},
    says: str = "",
) -> Scene:
    """A time that is so far from now; negative for the past."""
    on, off = (Change(metric.name, value, labels, follows=True) for value in (bad, almost))
    return Scene((on,), (off,), labels, says)


def _phase(phase: str, state: PhaseState) -> tuple[Change, ...]:
    """The phase is in that state, and in no other."""
    others = Change(metrics.MIGRATION_PHASE_STATE.name, 0, {"phase": phase})
    return others, others._replace(value=1, labels={"phase": phase, "state": state})


def _slow(median_ms: float, almost_ms: float) -> Scene:
    on, off = (
        Change(metrics.QUERY_DURATION.name, median / 1_000, LOOKUP)
        for median in (median_ms, almost_ms)
    )
    return Scene((on,), (off,), LOOKUP, "public.users", window=300)


def _lost(metric: Metric, labels: Mapping[str, str]) -> Scene:
    """Of 5 lookups in a second more than one in twenty is lost, or one in thirty."""
    own = {"target": "database", **LOOKUP, **labels}
    on, off = (Change(metric.name, rate, own) for rate in (0.3, 0.17))
    return Scene((on,), (off,), LOOKUP, "30s", window=300)


def _hits(rate: float, labels: Mapping[str, str], rest: tuple[Change, ...] = ()) -> Scene:
    """Of 100 lookups in a second one hit less than the limit, or one more."""
    asked = Change(metrics.CACHE_REQUESTS.name, 100, labels)
    on, off = (
        Change(metrics.CACHE_HITS.name, hits, labels) for hits in (100 * rate - 1, 100 * rate + 1)
    )
    says = f"{100 * rate - 1:.0f}%"
    return Scene((asked, on), (asked, off), labels, says, rest, window=300)


def _growth(severity: str) -> Scene:
    """One row an hour more than the limit, or one less."""
    limit = _limit("audit_growth", severity)
    on, off = (
        Change(metrics.AUDIT_CREATED.name, rows / 3_600, LOG) for rows in (limit + 1, limit - 1)
    )
    return Scene((on,), (off,), LOG, f"{limit + 1:.0f} rows an hour", window=3_600)


def _errors(baseline: float, limit: float) -> Scene:
    """Of 60 requests in a second a little more than the limit fail, or a little less."""
    asked = Change(metrics.APPLICATION_REQUESTS.name, 60)
    on, off = (
        Change(metrics.APPLICATION_ERRORS.name, 60 * limit * times) for times in (1.02, 0.98)
    )
    rest = (Change(metrics.ERROR_BASELINE.name, baseline),)
    return Scene((asked, on), (asked, off), {}, f"{102 * limit:.4g}%", rest, window=300)


_KEYS = Change(metrics.CACHE_KEYS.name, 200)
_RESTARTED = Change(metrics.SOURCE_EPOCH.name, 7, {"target": "cache"}, until=FOREVER)
_NO_JOURNAL = Change(metrics.MIGRATION_PHASE_STATE.name, None)
_SCHEMA_PASSED = _phase("schema", PhaseState.PASSED)
_MISSING = Change(metrics.UUID_MISSING.name, 1, USERS)
_GAPS = Change(metrics.AUDIT_COVERAGE_GAPS.name, 1, USERS)
_QUIET = Change(metrics.MIGRATION_PROGRESS_UPDATED.name, -STUCK_SECONDS - 1, follows=True)
_BUSY = _QUIET._replace(value=-STUCK_SECONDS + BETWEEN_SCRAPES)
_DRIFTED = {"criterion": "cache_hit_rate", "severity": "warning"}

SCENES: dict[tuple[str, str], tuple[Scene, ...]] = {
    ("TargetDown", "critical"): (
        _gauge(metrics.UP, 0, 1, {"target": "cache"}, "Target cache does not answer"),
        _gauge(metrics.HEALTH_UP, 0, 1, {"check": "web"}, "Health check web does not answer"),
    ),
    # The 95th percentile of a logarithmic spread of 0.45 is 2.1 times its median.
    ("HighUUIDLookupLatency", "warning"): (
        _slow(4.9, 4.6),
        _lost(metrics.PROBE_FAILURES, {"class": "57"}),
        _lost(metrics.PROBE_SKIPPED, {"reason": "server_busy"}),
    ),
    ("HighUUIDLookupLatency", "critical"): (_slow(9.8, 9.2),),
    ("LowCacheHitRate", "warning"): (
        _hits(_limit("cache_hit_rate", "warning"), APPLICATION),
        _hits(
            _limit("cache_hit_rate", "warning"),
            SERVER,
            (
                Change(metrics.CACHE_REQUESTS.name, None, APPLICATION),
                Change(metrics.CACHE_HITS.name, None, APPLICATION),
            ),
        ),
    ),
    ("LowCacheHitRate", "critical"): (_hits(_limit("cache_hit_rate", "critical"), APPLICATION),),
    ("ErrorRateAboveBaseline", "critical"): (_errors(0.004, 0.006), _errors(0.0001, 0.001)),
    ("AuditCoverageLost", "critical"): (
        Scene((_GAPS,), (), USERS, "1 gaps", _phase("infrastructure", PhaseState.PASSED)),
        Scene((_GAPS,), (), USERS, "1 gaps", (_NO_JOURNAL,)),
    ),
    ("MissingUUIDs", "critical"): (
        Scene((_MISSING,), (), USERS, "1 rows", _SCHEMA_PASSED),
        Scene((_MISSING,), (), USERS, "1 rows", (_NO_JOURNAL,)),
        # While the schema phase runs they are only what it is there for.
        Scene(
            (_MISSING, *_SCHEMA_PASSED),
            (_MISSING,),
            USERS,
            rest=_phase("schema", PhaseState.RUNNING),
        ),
    ),
    ("InvalidIndex", "warning"): (_gauge(metrics.INVALID_INDEXES, 1, 0, USERS, "1 indexes"),),
    ("UnvalidatedConstraint", "warning"): (
        _gauge(metrics.CONSTRAINTS_UNVALIDATED, 1, 0, LOG, "1 constraints"),
    ),
    ("HighAuditLogGrowth", "warning"): (_growth("warning"),),
    ("HighAuditLogGrowth", "critical"): (_growth("critical"),),
    **{
        ("AuditPartitionSize", severity): (
            _gauge(metrics.TABLE_SIZE, limit + 1, limit, PARTITION, "GiB"),
        )
        for severity in ("warning", "critical")
        for limit in [_limit("audit_partition_size", severity)]
    },
    **{
        ("AuditPartitionRunwayShort", severity): (
            _gauge(metrics.PARTITION_RUNWAY, limit - 1, limit, LOG, "d"),
        )
        for severity in ("warning", "critical")
        for limit in [_limit("audit_partition_runway", severity)]
    },
    ("ExporterDown", "critical"): (
        Scene((Change(SCRAPED, 0), Change(EVERYTHING, None)), says="cannot scrape the exporter"),
    ),
    ("ExporterAbsent", "critical"): (
        Scene((Change(SCRAPED, None), Change(EVERYTHING, None)), says="no target of job phasegate"),
    ),
    ("MeasurementsStopped", "critical"): (
        _age(
            metrics.PROBE_LAST_SUCCESS,
            -SILENCE_SECONDS - 1,
            -SILENCE_SECONDS + BETWEEN_SCRAPES,
            {"target": "database"},
            "2m",
        ),
    ),
    ("CollectorFailing", "warning"): (
        _gauge(metrics.COLLECTOR_SUCCESS, 0, 1, {"collector": "schema/uuid_missing"}, "uuid_miss"),
    ),
    ("SeriesCapped", "warning"): (
        _gauge(metrics.SERIES_DROPPED, 1, 0, {"metric": metrics.TABLE_SIZE.name}, ": 1 "),
    ),
    **{
        ("CertificateNearEnd", severity): (
            _age(
                metrics.HEALTH_CERTIFICATE_EXPIRY,
                limit - 1,
                limit + BETWEEN_SCRAPES,
                {"check": "web"},
                "check web ends",
            ),
        )
        for severity, limit in CERTIFICATE_SECONDS.items()
    },
    ("ConfigReloadFailed", "warning"): (
        _gauge(metrics.CONFIG_LAST_RELOAD_SUCCESSFUL, 0, 1, {}, "refused its configuration"),
    ),
    ("ThresholdDrift", "warning"): (
        _gauge(metrics.CRITERION_THRESHOLD, 0.91, 0.9, _DRIFTED, "warning limit")._replace(
            labels={"criterion": "cache_hit_rate", "limit": "warning"}
        ),
    ),
    ("AuditPartitionMissing", "critical"): (
        _gauge(metrics.PARTITION_RUNWAY, 0, 1, LOG, "no partition for now"),
    ),
    ("AuditPartitionGap", "critical"): (_gauge(metrics.PARTITION_GAPS, 1, 0, LOG, ": 1 "),),
    ("AuditDefaultPartitionUsed", "warning"): (
        _gauge(
            metrics.DEFAULT_PARTITION_USED,
            *(1, 0, {"schema": "public", "table": "audit_logs_rest"}, "public.audit_logs_rest"),
        ),
    ),
    ("CacheCold", "warning"): (
        # Restarted, and half of the keys are gone; as many without a restart may have ended.
        Scene(
            (_RESTARTED, _KEYS._replace(value=99)),
            (_KEYS._replace(value=99),),
            {},
            "99 keys",
            (_KEYS,),
        ),
        Scene((_KEYS._replace(value=19),), (_KEYS._replace(value=20),), {}, "19 keys", (_KEYS,)),
    ),
    ("CacheEvicting", "warning"): (
        Scene(
            (Change(metrics.CACHE_EVICTED.name, 1 / 60),),
            (),
            {"cache": "cache"},
            "10 (",
            window=600,
        ),
    ),
    ("LockQueue", "critical"): (
        _gauge(metrics.LOCK_LONGEST_WAIT, LOCK_WAIT_SECONDS + 1, LOCK_WAIT_SECONDS, USERS, "31s"),
    ),
    ("TriggerDisabled", "warning"): (_gauge(metrics.TRIGGERS_DISABLED, 1, 0, LOG, ": 1 "),),
    **{
        ("IntegerKeyNearEnd", severity): (
            _gauge(metrics.KEY_USED, limit + 0.01, limit, KEY, f"{100 * limit + 1:.0f}%"),
        )
        for severity, limit in KEY_USED.items()
    },
    ("IntegerKeyRunsOut", "critical"): (
        _gauge(metrics.KEY_OVERFLOW, KEY_LEFT_SECONDS - 1, KEY_LEFT_SECONDS, KEY, "29d 23h 59m"),
    ),
    ("GateOverridden", "info"): (
        Scene(
            (Change(metrics.MIGRATION_OVERRIDDEN.name, 1),),
            labels={"phase": "infrastructure", "criterion": "health"},
            says="Somebody accepted health at the gate of phase infrastructure",
            rest=(Change(metrics.MIGRATION_OVERRIDDEN.name, None),),
        ),
    ),
    ("MigrationPhaseStuck", "warning"): (
        Scene((_QUIET,), (_BUSY,), {"phase": "schema", "state": "running"}, "Phase schema runs"),
    ),
    ("MigrationPhaseFailed", "warning"): (
        Scene(
            _phase("schema", PhaseState.FAILED),
            labels={"phase": "schema", "state": "failed"},
            says="Phase schema failed",
        ),
    ),
}
