"""Partitions of the audit log."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

TABLE_SIZE = gauge(
    "partitions",
    "pg_table_size_bytes",
    "schema table parent",
    "bytes",
    "Size of an audit partition with its TOAST table and maps, without indexes (pg_table_size)",
)
PARTITION_MAX_AGE = gauge(
    "partitions",
    "phasegate_audit_partition_size_age_seconds",
    "",
    "seconds",
    "Age of the oldest partition size in this scrape",
)
PARTITIONS_SKIPPED = gauge(
    "partitions",
    "phasegate_audit_partitions_skipped",
    "reason",
    "",
    "Partitions without a size in this scrape, by reason",
)
PARTITIONS_AHEAD = gauge(
    "partitions",
    "phasegate_audit_partitions_ahead",
    "schema table",
    "",
    "Partitions that begin after now, without a gap, counted from the one that holds now",
)
PARTITION_RUNWAY = gauge(
    "partitions",
    "phasegate_audit_partition_runway_seconds",
    "schema table",
    "seconds",
    "Time until the first moment for which no partition stands ready",
)
PARTITION_GAPS = gauge(
    "partitions",
    "phasegate_audit_partition_gaps",
    "schema table",
    "",
    "Holes between the bounds of neighbouring partitions",
)
PARTITION_OVERLAPS = gauge(
    "partitions",
    "phasegate_audit_partition_overlaps",
    "schema table",
    "",
    "Neighbouring partitions whose bounds overlap (the server admits none)",
)
PARTITIONS_DETACH_PENDING = gauge(
    "partitions",
    "phasegate_audit_partitions_detach_pending",
    "schema table",
    "",
    "Partitions that an interrupted DETACH CONCURRENTLY left behind",
)
PARTITIONS_MISSING_INDEX = gauge(
    "partitions",
    "phasegate_audit_partitions_missing_index",
    "schema table",
    "",
    "Pairs of partition and parent index without a valid index of the partition for it",
)
DEFAULT_PARTITION_USED = gauge(
    "partitions",
    "phasegate_audit_default_partition_used",
    "schema table",
    "",
    "1 where this default partition of the audit log holds a row, else 0; absent without one",
)
