"""Latency of lookups."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge, histogram

# 1-2.5-5 from 100 µs to 30 s; every configured limit gets an edge of its own besides.
LATENCY_EDGES = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
QUERY_DURATION = histogram(
    "latency",
    "db_query_duration_seconds",
    "query_type schema table",
    "seconds",
    "Round trip of the exporter's own lookups on the primary, without connecting",
)
REPLICA_QUERY_DURATION = histogram(
    "latency",
    "phasegate_replica_query_duration_seconds",
    "target query_type schema table",
    "seconds",
    "Round trip of the exporter's own lookups on a replica, without connecting",
)
PROBE_FAILURES = counter(
    "latency",
    "phasegate_probe_failures_total",
    "target query_type schema table class",
    "",
    "Lookups that got no answer, by class of SQLSTATE (57: cancelled, 08: no connection)",
)
PROBE_SKIPPED = counter(
    "latency",
    "phasegate_probe_skipped_total",
    "target query_type schema table reason",
    "",
    "Slots of the schedule in which nothing was measured, by reason",
)
PROBE_ABSENT = gauge(
    "latency",
    "phasegate_probe_absent",
    "target query_type schema table reason",
    "",
    "Always 1; a configured lookup that is not made, and why",
)
PROBE_PLAN_CHANGES = counter(
    "plans",
    "phasegate_probe_plan_changes_total",
    "target query_type schema table",
    "",
    "Changes of the lookup's plan (kinds of nodes and indexes, not costs) between two EXPLAINs",
)
PROBE_LAST_SUCCESS = gauge(
    "latency",
    "phasegate_probe_last_success_timestamp_seconds",
    "target",
    "seconds",
    "Unix time of the last lookup that got an answer",
)
