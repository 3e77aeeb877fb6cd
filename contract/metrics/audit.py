"""Audit growth."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge

AUDIT_CREATED = counter(
    "audit",
    "audit_logs_created_total",
    "schema table",
    "",
    "Rows that reached the audit log; what a count of rows has yet to prove comes later",
)
AUDIT_UNPROVED = gauge(
    "audit",
    "phasegate_audit_rows_unproved",
    "schema table",
    "",
    "Rows that statistics report and that wait for a count of rows to prove them",
)
AUDIT_RECONCILE_AGE = gauge(
    "audit",
    "phasegate_audit_reconcile_age_seconds",
    "schema table",
    "seconds",
    "Time since the last count that settled every changed partition began",
)
AUDIT_COVERAGE_GAPS = gauge(
    "coverage",
    "phasegate_audit_coverage_gaps",
    "schema table",
    "",
    "Gaps in the triggers that audit the table, its partitions and children; 0 is covered",
)
AUDIT_EVENTS = gauge(
    "audit", "phasegate_audit_events", "category", "", "Audit events of the last hour by category"
)
AUDIT_LAST_EVENT = gauge(
    "audit",
    "phasegate_audit_last_event_timestamp_seconds",
    "category",
    "seconds",
    "Unix time of the category's latest event of the last hour",
)
