"""Alerts that no criterion stands behind: what makes measuring itself, or the way on, doubtful.

One entry each: what is looked at, from when on it is bad, and what to do first.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.alerts.model import Alert
from phasegate.alerts.words import COUNT, SAYS, say_value
from phasegate.contract import metrics
from phasegate.contract.criteria import CRITERIA, severity_limit, thresholds
from phasegate.contract.migration import PhaseState
from phasegate.contract.promql import SCRAPED, select
from phasegate.contract.quantities import Unit
from phasegate.contract.settings import Settings
from phasegate.contract.watched import (
    CERTIFICATE_SECONDS,
    KEY_LEFT_SECONDS,
    KEY_USED,
    LOCK_WAIT_SECONDS,
    SILENCE_SECONDS,
    STUCK_SECONDS,
)

COLD_SHARE, WIPED_SHARE = 0.5, 0.1
_RUNS_OUT = (
    "Once it is used up, every INSERT fails: widen the key to bigint before that. A UUID beside it "
    "does not help, for each row takes a number still."
)
SAME = "on (job, instance)"
TABLE = "{{ $labels.schema }}.{{ $labels.table }}"


def make_meta(settings: Settings) -> tuple[Alert, ...]:
    """All of them, for the exporter's job."""
    job = {"job": settings.monitoring.job}
    return (
        *_of_the_exporter(job),
        *_of_collectors(job),
        *_of_the_settings(settings, job),
        *_of_the_audit_log(job),
        *_of_the_cache(job),
        *_of_the_database(job),
        *_of_the_migration(job),
    )


def _of_the_exporter(job: dict[str, str]) -> Iterator[Alert]:
    yield Alert(
        name="Watchdog", severity="none", expression="vector(1)", hold=0, keep=0,
        summary="Alerting works: this one always fires",
        description="Let something outside call somebody when it stops; the criterion "
        "customer_issues looks for it too.",
        page="exporter", panel=("overview", "alerts"), absence=True,
    )  # fmt: skip
    up = select(SCRAPED, job)
    yield Alert(
        name="ExporterDown", severity="critical", expression=f"{up} < 1", hold=120, keep=120,
        summary="Prometheus cannot scrape the exporter {{ $labels.instance }}",
        description="See whether its process runs and answers /-/healthy; nothing is measured, "
        "and no gate opens, until it does.",
        page="exporter", panel=("overview", "targets"),
    )  # fmt: skip
    yield Alert(
        name="ExporterAbsent", severity="critical", expression=f"absent({up})", hold=600, keep=0,
        summary="Prometheus has no target of job {{ $labels.job }}",
        description="See Prometheus' service discovery and its page /targets: whoever removed the "
        "exporter removed every other alert too.",
        page="exporter", panel=("overview", "targets"), absence=True,
    )  # fmt: skip
    answered = select(metrics.PROBE_LAST_SUCCESS.name, job)
    yield Alert(
        name="MeasurementsStopped", severity="critical",
        expression=f"time() - {answered} > {SILENCE_SECONDS:g}", hold=60, keep=120,
        summary=say_value(
            "Since the last answered lookup on {{ $labels.target }}", SILENCE_SECONDS, Unit.SECONDS
        ),
        description="See the exporter's log and page for why its probes get no answer; verdicts "
        "are inconclusive meanwhile.",
        page="exporter", panel=("overview", "freshness"),
    )  # fmt: skip


def _of_collectors(job: dict[str, str]) -> Iterator[Alert]:
    yield Alert(
        name="CollectorFailing", severity="warning",
        expression=f"{select(metrics.COLLECTOR_SUCCESS.name, job)} < 1", hold=300, keep=300,
        summary=f"Collector {{{{ $labels.collector }}}} fails{SAYS}",
        description="The exporter's page names the error and its remedy; the collector's series "
        "are absent meanwhile.",
        page="exporter", panel=("overview", "collectors"),
    )  # fmt: skip
    yield Alert(
        name="SeriesCapped", severity="warning",
        expression=f"{select(metrics.SERIES_DROPPED.name, job)} > 0", hold=300, keep=300,
        summary=say_value("Series of {{ $labels.metric }} left out", 0, ""),
        description="Raise exporter.max_series, or detach partitions that are past use: what is "
        "left out is not judged.",
        page="exporter", panel=("overview", "series_dropped"),
    )  # fmt: skip
    ends = select(metrics.HEALTH_CERTIFICATE_EXPIRY.name, job)
    for severity, limit in CERTIFICATE_SECONDS.items():
        yield Alert(
            name="CertificateNearEnd", severity=severity,
            expression=f"{ends} - time() < {limit:.0f}", hold=300, keep=300,
            summary=say_value(
                "Until the certificate of check {{ $labels.check }} ends", limit, Unit.SECONDS
            ),
            description="Renew the certificate and let the server load it: once it has ended, the "
            "check fails and the gates close.",
            page="exporter", panel=("overview", "certificates"),
        )  # fmt: skip


def _of_the_settings(settings: Settings, job: dict[str, str]) -> Iterator[Alert]:
    yield Alert(
        name="ConfigReloadFailed", severity="warning",
        expression=f"{select(metrics.CONFIG_LAST_RELOAD_SUCCESSFUL.name, job)} < 1",
        hold=300, keep=300,
        summary="The exporter {{ $labels.instance }} refused its configuration",
        description="It goes on with the last good one. Its log names file, line and key; "
        "phasegate exporter --check-config says the same.",
        page="exporter", panel=("overview", "config_reload"),
    )  # fmt: skip
    drifted = []
    for name in CRITERIA:
        for severity in thresholds(settings, name):
            limit = severity_limit(settings, name, severity).value
            labels = {**job, "criterion": name, "severity": severity}
            shown = select(metrics.CRITERION_THRESHOLD.name, labels)
            # Under another name: the rule's own severity would hide the limit's.
            drifted.append(f'label_replace({shown} != {limit!r}, "limit", "{severity}", "", "")')
    yield Alert(
        name="ThresholdDrift", severity="warning",
        expression=f"max without (severity) ({' or '.join(drifted)})",
        hold=900, keep=300,
        summary="The exporter {{ $labels.instance }} judges {{ $labels.criterion }} by another "
        "{{ $labels.limit }} limit than these rules: {{ $value }}",
        description="Build the rules again from the configuration that the exporter runs with: "
        "phasegate alerts build --config phasegate.yaml.",
        page="exporter", panel=("overview", "thresholds"),
    )  # fmt: skip


def _of_the_audit_log(job: dict[str, str]) -> Iterator[Alert]:
    yield Alert(
        name="AuditPartitionMissing", severity="critical",
        expression=f"{select(metrics.PARTITION_RUNWAY.name, job)} <= 0", hold=30, keep=300,
        summary=f"{TABLE} has no partition for now: the application's writes fail{SAYS}",
        description="Make the missing partitions at once: phasegate migrate partitions.",
        page="audit", panel=("audit", "runway"), criterion="audit_partition_runway",
    )  # fmt: skip
    yield Alert(
        name="AuditPartitionGap", severity="critical",
        expression=f"{select(metrics.PARTITION_GAPS.name, job)} > 0", hold=300, keep=300,
        summary=say_value(f"Holes between partitions of {TABLE}", 0, ""),
        description="Make the missing partitions before time reaches the hole: phasegate migrate "
        "partitions.",
        page="audit", panel=("audit", "gaps"),
    )  # fmt: skip

    yield Alert(
        name="AuditDefaultPartitionUsed", severity="warning",
        expression=f"{select(metrics.DEFAULT_PARTITION_USED.name, job)} > 0", hold=300, keep=300,
        summary=f"Default partition {TABLE} holds rows{SAYS}",
        description="Move its rows into partitions of their own and drop it: a new partition for "
        "their time is refused, and every other one scans it under a lock.",
        page="audit", panel=("audit", "default_partition"),
    )  # fmt: skip


def _of_the_cache(job: dict[str, str]) -> Iterator[Alert]:
    keys = f"sum without (prefix) ({select(metrics.CACHE_KEYS.name, job)})"
    epoch = select(metrics.SOURCE_EPOCH.name, {**job, "target": "cache"})
    restarted = f"(changes({epoch}[30m]) > 0)"
    yield Alert(
        name="CacheCold", severity="warning",
        # Keys that end by themselves overnight are no cold cache: it restarted, or was wiped.
        expression=f"({keys} < {COLD_SHARE:g} * max_over_time({keys}[30m:1m]) and {SAME} "
        f"{restarted}) or {keys} < {WIPED_SHARE:g} * max_over_time({keys}[15m:1m])",
        hold=120, keep=300,
        summary=f"The cache was emptied: {COUNT} keys are left{SAYS}",
        description="Fill it before the database feels it: phasegate migrate warm-cache --if-cold.",
        page="cache", panel=("cache", "keys"),
    )  # fmt: skip
    yield Alert(
        name="CacheEvicting", severity="warning",
        expression=f"increase({select(metrics.CACHE_EVICTED.name, job)}[10m]) > 0",
        hold=600, keep=300,
        summary=say_value(
            "Keys thrown out of cache {{ $labels.cache }} for want of memory in ten minutes", 0, ""
        ),
        description="Raise maxmemory, or shorten the keys' time to live; see whose keys grow.",
        page="cache", panel=("cache", "evicted"),
    )  # fmt: skip


def _of_the_database(job: dict[str, str]) -> Iterator[Alert]:
    waited = select(metrics.LOCK_LONGEST_WAIT.name, job)
    yield Alert(
        name="LockQueue", severity="critical",
        expression=f"{waited} > {LOCK_WAIT_SECONDS:g}", hold=30, keep=120,
        summary=say_value(
            f"Longest wait for a lock on {TABLE}", LOCK_WAIT_SECONDS, Unit.SECONDS
        ),
        description="Find who holds it (pg_blocking_pids); phasegate migrate pause where it is "
        "the migration.",
        page="database-operations", panel=("database", "lock_waits"),
    )  # fmt: skip
    yield Alert(
        name="TriggerDisabled", severity="warning",
        expression=f"{select(metrics.TRIGGERS_DISABLED.name, job)} > 0", hold=300, keep=300,
        summary=say_value(f"Triggers of {TABLE} that do not fire", 0, ""),
        description="Find who disabled them and why, then ALTER TABLE … ENABLE ALWAYS TRIGGER; "
        "what was written meanwhile may lack its UUID or its audit row.",
        page="database-operations", panel=("database", "triggers_disabled"),
    )  # fmt: skip
    used = select(metrics.KEY_USED.name, job)
    for severity, limit in KEY_USED.items():
        yield Alert(
            name="IntegerKeyNearEnd", severity=severity, expression=f"{used} > {limit:g}",
            hold=300, keep=300,
            summary=say_value(
                f"Used of the range of {TABLE}.{{{{ $labels.column }}}}", limit, Unit.RATIO
            ),
            description=_RUNS_OUT,
            page="database-operations", panel=("database", "key_used"),
        )  # fmt: skip
    left = select(metrics.KEY_OVERFLOW.name, job)
    yield Alert(
        name="IntegerKeyRunsOut", severity="critical",
        expression=f"{left} < {KEY_LEFT_SECONDS:.0f}", hold=3_600, keep=3_600,
        summary=say_value(
            f"Until {TABLE}.{{{{ $labels.column }}}} runs out at the rate of the last day",
            KEY_LEFT_SECONDS, Unit.SECONDS,
        ),
        description=_RUNS_OUT,
        page="database-operations", panel=("database", "key_overflow"),
    )  # fmt: skip


def _of_the_migration(job: dict[str, str]) -> Iterator[Alert]:
    yield Alert(
        name="GateOverridden", severity="info",
        expression=f"{select(metrics.MIGRATION_OVERRIDDEN.name, job)} > 0", hold=0, keep=0,
        summary="Somebody accepted {{ $labels.criterion }} at the gate of phase "
        f"{{{{ $labels.phase }}}}, though it did not pass{SAYS}",
        description="phasegate migrate status names who and why; repair what did not pass.",
        page="migration", panel=("migration", "overrides"),
    )  # fmt: skip
    running = select(metrics.MIGRATION_PHASE_STATE.name, {**job, "state": PhaseState.RUNNING})
    told = " or ".join(
        select(one.name, job)
        for one in (metrics.MIGRATION_LAST_CHANGE, metrics.MIGRATION_PROGRESS_UPDATED)
    )
    paused = select(metrics.MIGRATION_PAUSED.name, job)
    yield Alert(
        name="MigrationPhaseStuck", severity="warning",
        expression=f"({running} > 0) and {SAME} "
        f"(time() - max by (job, instance) ({told}) > {STUCK_SECONDS:g}) "
        f"unless {SAME} ({paused} > 0)",
        hold=300, keep=300,
        summary="Phase {{ $labels.phase }} runs, and nothing was done for "
        f"{STUCK_SECONDS / 60:g} minutes{SAYS}",
        description="phasegate migrate status shows where it stands; where no runner lives, "
        "phasegate migrate resume goes on.",
        page="migration", panel=("migration", "phases"),
    )  # fmt: skip
    failed = select(metrics.MIGRATION_PHASE_STATE.name, {**job, "state": PhaseState.FAILED})
    yield Alert(
        name="MigrationPhaseFailed", severity="warning", expression=f"{failed} > 0",
        hold=60, keep=300,
        summary=f"Phase {{{{ $labels.phase }}}} failed, or its gate did{SAYS}",
        description="phasegate migrate status names the step or the criterion; repair it and "
        "resume, or phasegate migrate rollback.",
        page="migration", panel=("migration", "phases"),
    )  # fmt: skip
