"""State of the schema."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

UUID_MISSING = gauge(
    "schema",
    "phasegate_uuid_missing_rows",
    "schema table",
    "",
    "Rows whose UUID is NULL, counted exactly on a slow schedule",
)
UUID_MISSING_COUNTED = gauge(
    "schema",
    "phasegate_uuid_missing_counted_timestamp_seconds",
    "schema table",
    "seconds",
    "Unix time at which the exact count of missing UUIDs began",
)
UUID_MISSING_ESTIMATED = gauge(
    "schema",
    "phasegate_uuid_missing_estimated_rows",
    "schema table",
    "",
    "Rows whose UUID is NULL by the planner's statistics; as old as the last ANALYZE",
)
INVALID_INDEXES = gauge(
    "schema",
    "phasegate_invalid_indexes",
    "schema table",
    "",
    "Indexes of the table and its partitions that are not valid, or not yet ready",
)
CONSTRAINTS_UNVALIDATED = gauge(
    "schema",
    "phasegate_constraints_unvalidated",
    "schema table",
    "",
    "Constraints of the table, and foreign keys towards it, that are not proved for every row",
)
TRIGGERS_DISABLED = gauge(
    "schema",
    "phasegate_triggers_disabled",
    "schema table",
    "",
    "Triggers of the table and its partitions that do not fire in ordinary sessions",
)
