"""What every format of a plan tells, said once: how long is waited, where a lock is known from."""

from __future__ import annotations

from phasegate.contract.units import format_duration
from phasegate.migrate.model import Patience
from phasegate.migrate.plan import PlannedAction
from phasegate.migrate.sessions import LIMITS

CONTRACT = "contract: not part of this release"
CONTRACT_EVIDENCE = (
    "the integer keys stay; to drop one would need, over a window that holds the application's "
    "rarest job:",
    "phasegate_key_index_scans_total minus phasegate_key_own_scans_total does not rise for it, on "
    "the primary and on every replica",
    "phasegate_key_foreign_key_scans_bound_total does not rise: no child is checked by it any more",
    "no statement in pg_stat_statements names it, and none of the dependents that the plan lists",
)
NO_REHEARSAL = "unknown: no rehearsal"


def describe_patience(patience: Patience) -> str:
    """The time-outs of the class, in words."""
    lock, statement = LIMITS[patience]
    runs = f"at most {_time(statement)} a statement" if statement else "runs as long as it takes"
    return f"{patience}: at most {_time(lock)} for a lock, then gives way and tries again; {runs}"


def describe_seconds(seconds: float | None) -> str:
    """As measured by a rehearsal; nothing else can tell."""
    return NO_REHEARSAL if seconds is None else f"{seconds:.1f} in the rehearsal"


def describe_source(planned: PlannedAction) -> str:
    """Where the locks are known from; on which server, `Plan.measured_on` says."""
    return "measured" if planned.measured is not None else f"by table: {planned.note}"


def _time(milliseconds: int) -> str:
    return format_duration(milliseconds / 1_000)
