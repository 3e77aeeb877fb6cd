"""Every series that Phasegate exposes, once: name, kind, labels, unit, collector, help.

The exposition, the reference, boards and rules read these entries. To add a series: one entry
here and the code that emits it, in one commit; the parity test is red while only one is there.
The guide's names (`db_query_duration_seconds`, …) are pinned; everything of ours is
`phasegate_…`.
"""

from __future__ import annotations

from phasegate.contract.model import Kind, Metric


def _gauge(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    return Metric(name, Kind.GAUGE, tuple(labels.split()), unit, collector, text)


def _counter(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    return Metric(name, Kind.COUNTER, tuple(labels.split()), unit, collector, text)


def _histogram(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, tuple(labels.split()), unit, collector, text)


# --- what the exporter says of itself -------------------------------------------------------------
BUILD_INFO = _gauge(
    "exporter", "phasegate_build_info", "version python", "", "Always 1; the build that answers"
)
COLLECTOR_SUCCESS = _gauge(
    "exporter",
    "phasegate_collector_success",
    "collector",
    "",
    "1 when the collector's last run succeeded, else 0",
)
COLLECTOR_DURATION = _gauge(
    "exporter",
    "phasegate_collector_duration_seconds",
    "collector",
    "seconds",
    "Time that the collector's last run took",
)
COLLECTOR_LAST_SUCCESS = _gauge(
    "exporter",
    "phasegate_collector_last_success_timestamp_seconds",
    "collector",
    "seconds",
    "Unix time of the collector's last success",
)
COLLECTOR_ERRORS = _counter(
    "exporter",
    "phasegate_collector_errors_total",
    "collector reason",
    "",
    "Failed runs of the collector, by reason",
)
SERIES_DROPPED = _gauge(
    "exporter",
    "phasegate_series_dropped",
    "metric",
    "",
    "Series of this metric left out of this scrape by the cap on cardinality",
)

CONFIG_LAST_RELOAD_SUCCESSFUL = _gauge(
    "exporter",
    "phasegate_config_last_reload_successful",
    "",
    "",
    "1 when the last reload was taken, 0 when it was refused and the last good one stayed",
)
CONFIG_LAST_RELOAD_SUCCESS = _gauge(
    "exporter",
    "phasegate_config_last_reload_success_timestamp_seconds",
    "",
    "seconds",
    "Unix time at which the settings in force were loaded",
)

CRITERION_THRESHOLD = _gauge(
    "exporter",
    "phasegate_criterion_threshold",
    "criterion severity",
    "",
    "The limit in force, in the unit of the criterion",
)

# --- identity: who answers ------------------------------------------------------------------------
UP = _gauge(
    "identity",
    "phasegate_up",
    "target",
    "",
    "1 when the target answered during this scrape, else 0",
)
TARGET_INFO = _gauge(
    "identity",
    "phasegate_target_info",
    "target environment system_identifier database role",
    "",
    "Always 1; which server and database the target is, and in which role",
)
SOURCE_EPOCH = _gauge(
    "identity",
    "phasegate_source_epoch",
    "target",
    "",
    "A number that changes whenever the target's own counters restart",
)

# --- latency of lookups ---------------------------------------------------------------------------
# 1-2.5-5 from 100 µs to 30 s; every configured limit gets an edge of its own besides.
LATENCY_EDGES = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
QUERY_DURATION = _histogram(
    "latency",
    "db_query_duration_seconds",
    "query_type schema table",
    "seconds",
    "Round trip of the exporter's own lookups on the primary, without connecting",
)
REPLICA_QUERY_DURATION = _histogram(
    "latency",
    "phasegate_replica_query_duration_seconds",
    "target query_type schema table",
    "seconds",
    "Round trip of the exporter's own lookups on a replica, without connecting",
)
PROBE_FAILURES = _counter(
    "latency",
    "phasegate_probe_failures_total",
    "target query_type schema table class",
    "",
    "Lookups that got no answer, by class of SQLSTATE (57: cancelled, 08: no connection)",
)
PROBE_SKIPPED = _counter(
    "latency",
    "phasegate_probe_skipped_total",
    "target query_type schema table reason",
    "",
    "Slots of the schedule in which nothing was measured, by reason",
)
PROBE_ABSENT = _gauge(
    "latency",
    "phasegate_probe_absent",
    "target query_type schema table reason",
    "",
    "Always 1; a configured lookup that is not made, and why",
)
PROBE_LAST_SUCCESS = _gauge(
    "latency",
    "phasegate_probe_last_success_timestamp_seconds",
    "target",
    "seconds",
    "Unix time of the last lookup that got an answer",
)

# --- partitions of the audit log ------------------------------------------------------------------
TABLE_SIZE = _gauge(
    "partitions",
    "pg_table_size_bytes",
    "schema table parent",
    "bytes",
    "Size of an audit partition with its TOAST table and maps, without indexes (pg_table_size)",
)
PARTITION_MAX_AGE = _gauge(
    "partitions",
    "phasegate_audit_partition_size_age_seconds",
    "",
    "seconds",
    "Age of the oldest partition size in this scrape",
)
PARTITIONS_SKIPPED = _gauge(
    "partitions",
    "phasegate_audit_partitions_skipped",
    "reason",
    "",
    "Partitions without a size in this scrape, by reason",
)
PARTITIONS_AHEAD = _gauge(
    "partitions",
    "phasegate_audit_partitions_ahead",
    "schema table",
    "",
    "Partitions that begin after now, without a gap, counted from the one that holds now",
)
PARTITION_RUNWAY = _gauge(
    "partitions",
    "phasegate_audit_partition_runway_seconds",
    "schema table",
    "seconds",
    "Time until the first moment for which no partition stands ready",
)
PARTITION_GAPS = _gauge(
    "partitions",
    "phasegate_audit_partition_gaps",
    "schema table",
    "",
    "Holes between the bounds of neighbouring partitions",
)
PARTITION_OVERLAPS = _gauge(
    "partitions",
    "phasegate_audit_partition_overlaps",
    "schema table",
    "",
    "Neighbouring partitions whose bounds overlap (inheritance allows it)",
)
PARTITIONS_DETACH_PENDING = _gauge(
    "partitions",
    "phasegate_audit_partitions_detach_pending",
    "schema table",
    "",
    "Partitions that an interrupted DETACH CONCURRENTLY left behind",
)
PARTITIONS_MISSING_INDEX = _gauge(
    "partitions",
    "phasegate_audit_partitions_missing_index",
    "schema table",
    "",
    "Pairs of partition and parent index without a valid index of the partition for it",
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
