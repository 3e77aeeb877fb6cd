"""The boards and the fixed ids of their panels: what alerts, runbooks and links lead to.

An id is given once and never again: a link in an old alert must not lead to another panel. Who
removes a panel leaves its name here, in `RETIRED`; tests hold the ids of the last release.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote


class Board(NamedTuple):
    """One board: its fixed uid, its file's stem and its title."""

    uid: str
    file: str
    title: str


BOARDS: dict[str, Board] = {
    "overview": Board("phasegate-overview", "overview", "Phasegate / Overview"),
    "database": Board(
        "phasegate-database", "database-performance", "Phasegate / Database performance"
    ),
    "cache": Board("phasegate-cache", "cache-metrics", "Phasegate / Cache"),
    "audit": Board("phasegate-audit", "audit-system", "Phasegate / Audit system"),
    "migration": Board("phasegate-migration", "migration", "Phasegate / Migration"),
}

PANELS: dict[str, dict[str, int]] = {
    "overview": {
        "criteria": 1,
        "alerts": 2,
        "targets": 3,
        "phase": 4,
        "freshness": 5,
        "health_checks": 6,
        "collectors": 7,
        "series_dropped": 8,
        "certificates": 9,
        "thresholds": 10,
        "error_rate": 11,
        "config_reload": 12,
        "not_passed": 13,
        "firing": 14,
        "values": 15,
        "health_duration": 16,
        "requests": 17,
        "durations": 18,
        "faults": 19,
        "identities": 20,
        "row_health": 101,
        "row_exporter": 102,
    },
    "database": {
        "slow_share": 1,
        "lookup_p95": 2,
        "probe_failures": 3,
        "lock_waits": 4,
        "key_used": 5,
        "key_overflow": 6,
        "uuid_missing": 7,
        "invalid_indexes": 8,
        "constraints_unvalidated": 9,
        "triggers_disabled": 10,
        "p95_now": 11,
        "answering": 12,
        "waiters_now": 13,
        "last_answer": 14,
        "p95_by_kind": 15,
        "distribution": 16,
        "replica_p95": 17,
        "pace": 18,
        "skipped": 19,
        "plan_changes": 20,
        "absent": 21,
        "lock_queue": 22,
        "connections": 23,
        "oldest": 24,
        "prepared": 25,
        "wraparound": 26,
        "lag": 27,
        "slots": 28,
        "row_lookups": 101,
        "row_server": 102,
        "row_schema": 103,
    },
    "cache": {
        "hit_rate": 1,
        "evicted": 2,
        "keys": 3,
        "memory": 4,
        "hit_rate_now": 5,
        "up": 6,
        "used_now": 7,
        "evicted_now": 8,
        "lookups": 9,
        "key_bytes": 10,
        "clients": 11,
        "persistence": 12,
        "server": 13,
        "row_server": 101,
    },
    "audit": {
        "growth": 1,
        "largest_partition": 2,
        "runway": 3,
        "gaps": 4,
        "default_partition": 5,
        "coverage": 6,
        "runway_now": 7,
        "by_category": 8,
        "pace": 9,
        "latest": 10,
        "unproved": 11,
        "reconciled": 12,
        "sizes": 13,
        "ahead": 14,
        "overlaps": 15,
        "detach_pending": 16,
        "missing_index": 17,
        "skipped": 18,
        "size_age": 19,
        "row_rows": 101,
        "row_partitions": 102,
    },
    "migration": {
        "phases": 1,
        "overrides": 2,
        "progress": 3,
        "states": 4,
        "eta": 5,
        "silent": 6,
        "paused": 7,
        "foreground": 8,
        "locks": 9,
        "done": 10,
        "pace": 11,
        "queue": 12,
        "lag": 13,
        "scans_most": 14,
        "scans_least": 15,
        "both_keys": 16,
        "factor": 17,
        "gates": 18,
        "hooks": 19,
        "overridden": 20,
        "preflight": 21,
        "preflight_age": 22,
        "backup": 23,
        "row_work": 101,
        "row_readers": 102,
        "row_keys": 103,
        "row_gates": 104,
    },
}

RETIRED: dict[str, dict[str, int]] = {name: {} for name in BOARDS}


def board_url(grafana: str, board: str, panel: str, variables: str = "") -> str:
    """Where one panel is seen alone; `variables` is appended as it is (`&var-job=…`)."""
    found = BOARDS[board]
    base = f"{grafana.rstrip('/')}/d/{found.uid}/{quote(found.file)}"
    return f"{base}?viewPanel={PANELS[board][panel]}{variables}"
