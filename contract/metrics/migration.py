"""Where a migration stands, as its journal tells."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

MIGRATION_PHASE_STATE = gauge(
    "migration",
    "phasegate_migration_phase_state",
    "phase state",
    "",
    "1 for the state that the phase is in, 0 for the others",
)
MIGRATION_PHASE_STARTED = gauge(
    "migration",
    "phasegate_migration_phase_started_timestamp_seconds",
    "phase",
    "seconds",
    "Unix time at which the phase began",
)
MIGRATION_PHASE_FINISHED = gauge(
    "migration",
    "phasegate_migration_phase_finished_timestamp_seconds",
    "phase",
    "seconds",
    "Unix time at which the gate of the phase opened",
)
MIGRATION_LAST_CHANGE = gauge(
    "migration",
    "phasegate_migration_last_change_timestamp_seconds",
    "",
    "seconds",
    "Unix time of the last change or hook; what was measured before says nothing of what is now",
)
MIGRATION_HOOK_FINISHED = gauge(
    "migration",
    "phasegate_migration_hook_finished_timestamp_seconds",
    "hook",
    "seconds",
    "Unix time at which the hook last ended, whether it succeeded or not",
)
MIGRATION_PROGRESS = gauge(
    "migration",
    "phasegate_migration_progress_ratio",
    "step object",
    "ratio",
    "Share of a work over rows that is done",
)
MIGRATION_RATE = gauge(
    "migration",
    "phasegate_migration_progress_rate",
    "step object unit",
    "",
    "Units that a work over rows does in a second",
)
MIGRATION_PROGRESS_UPDATED = gauge(
    "migration",
    "phasegate_migration_progress_updated_timestamp_seconds",
    "step object",
    "seconds",
    "Unix time at which the work last said how far it is",
)
MIGRATION_OVERRIDDEN = gauge(
    "migration",
    "phasegate_migration_criterion_overridden",
    "phase criterion",
    "",
    "1 for a criterion that somebody accepted instead of its passing",
)
MIGRATION_PAUSED = gauge(
    "migration",
    "phasegate_migration_paused",
    "",
    "",
    "1 while somebody wants the run to pause or to end",
)
PREFLIGHT_CHECK = gauge(
    "migration",
    "phasegate_preflight_check",
    "check",
    "",
    "1 for a check of the newest preflight that passed, 0 for one that did not; absent: unknown",
)
PREFLIGHT_TIME = gauge(
    "migration",
    "phasegate_preflight_timestamp_seconds",
    "",
    "seconds",
    "Unix time of the newest preflight",
)
BACKUP_PROVED = gauge(
    "migration",
    "phasegate_backup_proved",
    "",
    "",
    "1 where the newest backup of this database was proved by a restore, else 0",
)
