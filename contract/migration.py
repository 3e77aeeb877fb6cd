"""What a migration writes into its journal, and what the journal's entries together say.

The mover writes them, the exporter serves what they say, every status and board shows it: so their
words, and how they add up, stand here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from phasegate.contract.evidence import Override
from phasegate.contract.gates import GATES

JOURNAL_VERSION = 1
SCHEMA = "phasegate"
"""The schema of the journal, and of all else that is ours in a database."""
PHASES = tuple(GATES)


class Event(StrEnum):
    """What an entry tells."""

    RUN_STARTED = "run_started"
    RUN_ENDED = "run_ended"
    PHASE_STARTED = "phase_started"
    STEP_STARTED = "step_started"
    ACTION = "action"
    """Something was changed; in the same transaction where that was one."""
    CHECKED = "checked"
    """Something was looked at, waited for or kept, and nothing was changed."""
    HOOK = "hook"
    """A hook ended; what follows is measured anew."""
    STEP_FINISHED = "step_finished"
    STEP_FAILED = "step_failed"
    GATE_PASSED = "gate_passed"
    GATE_CLOSED = "gate_closed"
    OVERRIDE = "override"
    PREFLIGHT = "preflight"
    BACKUP_MADE = "backup_made"
    BACKUP_PROVED = "backup_proved"
    ROLLBACK_STARTED = "rollback_started"
    UNDONE = "undone"
    """One step was taken back."""
    RESTORED = "restored"
    ROLLBACK_FINISHED = "rollback_finished"
    CONTROL = "control"
    """Somebody asked for a pause, its end, or an abort."""


CHANGES = frozenset({Event.ACTION, Event.HOOK, Event.UNDONE, Event.RESTORED})
"""After one of these, what was measured before says nothing of what is now."""


class PhaseState(StrEnum):
    """Where a phase stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    """Its steps are done, its gate has not opened yet."""
    PASSED = "passed"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the journal. `at` is Unix seconds, `seconds` how long it took; `checksum` is of
    the step's definition. `identity` is of the server and database, as evidence spells it. What was
    redacted before is in `facts`; nothing here is a secret."""

    id: str
    at: float
    run: str
    event: Event
    phase: str = ""
    step: str = ""
    operation: str = ""
    what: str = ""
    seconds: float | None = None
    checksum: str = ""
    facts: dict[str, Any] = {}
    by: str = ""
    host: str = ""
    version: str = ""
    identity: str = ""


class PhaseFacts(msgspec.Struct, frozen=True):
    """A phase as the journal tells it. Unix seconds, 0 for not yet; `finished` is when its gate
    opened. `steps` are those finished, in order; `failed` is the one that failed last, if any."""

    phase: str
    state: PhaseState = PhaseState.PENDING
    started: float = 0.0
    finished: float = 0.0
    steps: tuple[str, ...] = ()
    failed: str = ""
    overridden: tuple[str, ...] = ()


def fold_phases(entries: Iterable[Entry]) -> dict[str, PhaseFacts]:
    """Every phase, in order, as the entries (oldest first) leave it."""
    found = {phase: PhaseFacts(phase) for phase in PHASES}
    for entry in entries:
        # One that was cut off may have brought the previous application back: none of the works
        # after `to` stands from its beginning on. A restore that was cut off changed nothing.
        begun = entry.event is Event.ROLLBACK_STARTED and entry.facts.get("to") in PHASES
        if begun or entry.event in (Event.ROLLBACK_FINISHED, Event.RESTORED):
            for phase in undone_by(entry):
                found[phase] = PhaseFacts(phase, state=PhaseState.ROLLED_BACK)
        elif entry.phase in found:
            found[entry.phase] = _after(found[entry.phase], entry)
    return found


def find_overrides(entries: Iterable[Entry]) -> tuple[Override, ...]:
    """What was accepted though it did not pass, the newest of each criterion and phase; but not of
    phases that were rolled back since."""
    found: dict[tuple[str, str], Override] = {}
    kept: list[Entry] = []
    for entry in entries:
        kept.append(entry)
        if entry.event is Event.OVERRIDE:
            for name in entry.facts.get("criteria", ()):
                reason, by = (str(entry.facts.get(key, "")) for key in ("reason", "by"))
                found[entry.phase, name] = Override(name, entry.phase, by, reason, entry.at)
    phases = fold_phases(kept)
    return tuple(
        one
        for (phase, name), one in found.items()
        if phase in phases and name in phases[phase].overridden
    )


def last_change(entries: Iterable[Entry]) -> float:
    """Unix seconds of the last change or hook; 0 for none. Evidence must be younger."""
    return max((entry.at for entry in entries if entry.event in CHANGES), default=0.0)


def is_backup_proved(entries: Iterable[Entry], identity: str) -> bool:
    """Whether the newest backup of that server and database was proved, and none restored since."""
    proved = False
    for entry in entries:
        if entry.identity and entry.identity != identity:
            continue
        if entry.event in (Event.BACKUP_MADE, Event.RESTORED):
            proved = False
        elif entry.event is Event.BACKUP_PROVED:
            proved = bool(entry.facts.get("proved"))
    return proved


def last_preflight(entries: Iterable[Entry], identity: str) -> Entry | None:
    """The newest one of that server and database."""
    found = [one for one in entries if one.event is Event.PREFLIGHT and one.identity == identity]
    return found[-1] if found else None


def undone_by(entry: Entry) -> list[str]:
    """The phases that a rollback took back; `facts` names the one that it went back to."""
    kept = entry.facts.get("to", "")
    first = PHASES.index(kept) + 1 if kept in PHASES else 0
    return list(PHASES[first:])


def _after(facts: PhaseFacts, entry: Entry) -> PhaseFacts:
    replace = msgspec.structs.replace
    match entry.event:
        case Event.PHASE_STARTED:
            return replace(
                facts, state=PhaseState.RUNNING, started=facts.started or entry.at, finished=0.0
            )
        case Event.STEP_STARTED if facts.state is not PhaseState.PASSED:
            return replace(facts, state=PhaseState.RUNNING, failed="")
        case Event.STEP_FINISHED:
            steps = facts.steps if entry.step in facts.steps else (*facts.steps, entry.step)
            return replace(facts, steps=steps)
        case Event.STEP_FAILED:
            return replace(facts, state=PhaseState.FAILED, failed=entry.step)
        case Event.GATE_CLOSED:
            failed = entry.facts.get("exit_code") == 1
            return replace(facts, state=PhaseState.FAILED if failed else PhaseState.WAITING)
        case Event.GATE_PASSED:
            return replace(facts, state=PhaseState.PASSED, finished=entry.at, failed="")
        case Event.OVERRIDE:
            named = tuple(entry.facts.get("criteria", ()))
            return replace(facts, overridden=tuple(dict.fromkeys((*facts.overridden, *named))))
        case Event.UNDONE:
            steps = tuple(step for step in facts.steps if step != entry.step)
            return replace(facts, steps=steps, state=PhaseState.RUNNING, finished=0.0)
    return facts
