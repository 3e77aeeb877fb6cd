"""For programs. `format` counts up when a key changes its meaning or goes; keys may be added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import phasegate
from phasegate.migrate.model import Lock
from phasegate.migrate.plan import Plan, PlannedAction, PlannedOperation, PlannedStep
from phasegate.migrate.plan_words import CONTRACT, CONTRACT_EVIDENCE
from phasegate.migrate.sessions import LIMITS

FORMAT = 1


def render(plan: Plan, seconds: Mapping[str, float] | None = None) -> str:
    """One object. `seconds` is what a rehearsal took, by step; null where it is not known."""
    told = {
        "format": FORMAT,
        "phasegate_version": phasegate.__version__,
        "database": plan.database,
        "server_version_num": plan.version,
        "role": plan.role,
        "digest": plan.digest,
        "free_bytes_needed": plan.free_bytes,
        "refusals": [
            {"object": one.object, "found": one.found, "remedy": one.remedy}
            for one in plan.refusals
        ],
        "clone_lacks": list(plan.lacks),
        "tables": [
            {
                "schema": one.name.schema,
                "table": one.name.table,
                "rows": one.rows if one.rows >= 0 else None,
                "bytes": one.bytes,
                "owner": one.owner,
            }
            for one in plan.tables
        ],
        "event_triggers": list(plan.event_triggers),
        "steps": [_step(one, (seconds or {}).get(one.step.name)) for one in plan.steps],
        "dependents": [
            {
                "on": one.on,
                "kind": one.dependent.kind,
                "name": one.dependent.name,
                "definition": one.dependent.definition,
            }
            for one in plan.dependents
        ],
        "contract": {"decision": CONTRACT, "evidence": list(CONTRACT_EVIDENCE)},
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _step(step: PlannedStep, seconds: float | None) -> dict[str, Any]:
    return {
        "phase": step.step.phase,
        "step": step.step.name,
        "title": step.step.title,
        "checksum": step.checksum,
        "rehearsed_seconds": seconds,
        "operations": [_operation(one) for one in step.operations],
    }


def _operation(operation: PlannedOperation) -> dict[str, Any]:
    undo = operation.undo
    return {
        "kind": operation.operation.kind,
        "object": operation.operation.object,
        "actions": [_planned(one) for one in operation.actions],
        "undo": None if undo is None else [_planned(one) for one in undo],
        "undo_loses": operation.loss,
    }


def _planned(planned: PlannedAction) -> dict[str, Any]:
    action, size, measured = planned.action, planned.size, planned.measured
    lock, statement = LIMITS[action.patience]
    return {
        "what": action.what,
        "statements": list(action.statements),
        "transactional": action.transactional,
        "patience": str(action.patience),
        "is_work": action.work is not None,
        "lock_timeout_ms": lock,
        "statement_timeout_ms": statement,
        "locks": _locks(planned.locks),
        "locks_measured_on": None if measured is None else measured.server,
        "locks_not_measured_because": planned.note or None,
        "locks_by_table": _locks(action.locks),
        "scans": list(planned.scans),
        "rewrites": list(planned.rewrites),
        "builds": [] if measured is None else list(measured.builds),
        "rows": size.rows,
        "disk_bytes": size.stays_bytes,
        "meanwhile_bytes": size.meanwhile_bytes,
        "wal_bytes": size.wal_bytes,
        "sizes_known": size.known,
    }


def _locks(locks: tuple[Lock, ...]) -> list[dict[str, str]]:
    return [{"mode": str(one.mode), "relation": one.relation} for one in locks]
