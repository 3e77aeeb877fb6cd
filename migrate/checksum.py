"""What a step is, as a checksum: so that a journal shows when the plan under it has changed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from phasegate.contract.migration import Entry, Event, undone_by
from phasegate.migrate.model import Operation, Step

# Of a definition, what the catalog, what was measured or the time of the day decides, and not the
# configuration.
_NOT_DEFINING = frozenset({"now", "clock", "unread"})


def checksum_step(step: Step) -> str:
    """SHA-256 of the definition of its operations, in order; 64 hex digits."""
    return hashlib.sha256("\n".join(define_step(step)).encode()).hexdigest()


def define_step(step: Step) -> list[str]:
    """One line an operation: its kind and fields, canonical."""
    return [_define(operation) for operation in step.operations]


def find_drift(steps: Iterable[Step], entries: Iterable[Entry]) -> list[str]:
    """A line for each step that was begun with another definition than it has now."""
    begun: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        key = entry.phase, entry.step
        if entry.event is Event.STEP_STARTED:
            begun[key] = entry
        elif entry.event is Event.UNDONE:
            begun.pop(key, None)
        elif entry.event in (Event.ROLLBACK_FINISHED, Event.RESTORED):
            gone = undone_by(entry)
            begun = {key: one for key, one in begun.items() if key[0] not in gone}
    found = []
    for step in steps:
        entry_ = begun.get((step.phase, step.name))
        if entry_ is not None and entry_.checksum != checksum_step(step):
            then = entry_.facts.get("definition") or [f"checksum {entry_.checksum[:16]}…"]
            found += [f"  step {step.name}", *(f"  - {line}" for line in then)]
            found += [f"  + {line}" for line in define_step(step)]
    return found


def _define(operation: Operation) -> str:
    definition: Any = operation
    fields = {
        one.name: getattr(operation, one.name)
        for one in dataclasses.fields(definition)
        if one.name not in _NOT_DEFINING
    }
    return f"{operation.kind} {json.dumps(fields, sort_keys=True, default=_plain)}"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    return str(value)
