"""Where a migration stands: phases, steps, verdicts with their evidence, progress, who and when.

Read from the journal alone, so it works while a run goes on and shows what a dead one left.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from phasegate.contract.migration import PHASES, Entry, Event, PhaseState, fold_phases
from phasegate.contract.times import format_time
from phasegate.contract.units import format_duration
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.control import describe_runner
from phasegate.migrate.journal import exists, fetch_entries
from phasegate.migrate.screen import describe_progress

STATUS_VERSION = 1
_SQL = load_sql("status")


class Progress(msgspec.Struct, frozen=True):
    """One work over rows: `rate` is `unit` a second, `note` why it is slow,
    `updated` Unix seconds."""

    step: str
    object: str
    unit: str
    done: float
    total: float
    rate: float
    note: str
    updated: float


class PhaseStatus(msgspec.Struct, frozen=True):
    """Unix seconds; 0 for not yet. `verdicts` are those of the newest gate, by criterion."""

    phase: str
    state: PhaseState
    started: float
    finished: float
    steps: tuple[str, ...]
    failed: str
    why: str
    verdicts: dict[str, str]
    evidence_sha256: str
    overridden: tuple[str, ...]


class Status(msgspec.Struct, frozen=True):
    """The whole. `runner` describes who is at work now, empty for nobody; `left_by` the last run
    where it ended without saying so; `wanted` is run, pause or abort."""

    version: int
    at: float
    runner: str
    left_by: str
    wanted: str
    phases: tuple[PhaseStatus, ...]
    progress: tuple[Progress, ...]
    last: Entry | None


def fetch_status(connection: Connection) -> Status:
    """As the database has it now; all phases pending where there is no journal."""
    entries = fetch_entries(connection)
    runner = describe_runner(connection)
    progress, wanted = [], "run"
    if exists(connection):
        progress = connection.execute(_SQL["progress"].encode()).fetchall()
        row = connection.execute(load_sql("journal")["wanted"].encode()).fetchone()
        wanted = "run" if row is None else row[0]
    return Status(
        version=STATUS_VERSION,
        at=time.time(),
        runner=runner,
        left_by="" if runner else _left_by(entries),
        wanted=wanted,
        phases=tuple(_of_phase(phase, entries) for phase in PHASES),
        progress=tuple(Progress(*row) for row in progress),
        last=entries[-1] if entries else None,
    )


def render_status(status: Status) -> str:
    """For a terminal."""
    lines = []
    if status.runner:
        lines.append(f"at work: {status.runner}")
    elif status.left_by:
        lines.append(f"nobody is at work; {status.left_by}: phasegate migrate resume")
    else:
        lines.append("nobody is at work")
    if status.wanted != "run":
        lines.append(f"wanted: {status.wanted}")
    for one in status.phases:
        lines += _render_phase(one)
    for work in status.progress:
        told = describe_progress(work.object, work.done, work.total, work.unit, work.rate)
        age = format_duration(max(0.0, round(status.at - work.updated)))
        note = f"; {work.note}" if work.note else ""
        lines.append(f"{work.step}: {told} ({age} ago){note}")
    if status.last is not None:
        entry = status.last
        who = f"{entry.by}@{entry.host}"
        what = " ".join(part for part in (entry.event, entry.phase, entry.step, entry.what) if part)
        lines.append(f"last entry: {format_time(entry.at)} {what} ({who}, {entry.version})")
    return "\n".join(lines) + "\n"


def _render_phase(one: PhaseStatus) -> list[str]:
    times = ""
    if one.started:
        times = f"  since {format_time(one.started)}"
    if one.finished:
        times += f", {format_duration(max(1.0, round(one.finished - one.started)))}"
    lines = [f"{one.phase:<15} {one.state}{times}"]
    if one.steps:
        lines.append(f"  done: {', '.join(one.steps)}")
    if one.failed:
        lines.append(f"  failed: {one.failed}: {one.why}")
    if one.verdicts:
        told = ", ".join(f"{name} {verdict}" for name, verdict in one.verdicts.items())
        lines.append(f"  gate: {told} (evidence {one.evidence_sha256[:12]})")
    if one.overridden:
        lines.append(f"  OVERRIDDEN: {', '.join(one.overridden)}")
    return lines


def _of_phase(phase: str, entries: list[Entry]) -> PhaseStatus:
    facts = fold_phases(entries)[phase]
    gates = {Event.GATE_PASSED, Event.GATE_CLOSED}
    asked = [one for one in entries if one.phase == phase and one.event in gates]
    failures = [one for one in entries if one.phase == phase and one.event is Event.STEP_FAILED]
    said: dict[str, Any] = asked[-1].facts if asked else {}
    return PhaseStatus(
        phase=phase,
        state=facts.state,
        started=facts.started,
        finished=facts.finished,
        steps=facts.steps,
        failed=facts.failed,
        why=str(failures[-1].facts.get("why", "")) if facts.failed and failures else "",
        verdicts=said.get("verdicts", {}),
        evidence_sha256=said.get("evidence_sha256", ""),
        overridden=facts.overridden,
    )


def _left_by(entries: list[Entry]) -> str:
    ends = {Event.RUN_STARTED, Event.RUN_ENDED}
    last = next((one for one in reversed(entries) if one.event in ends), None)
    if last is None or last.event is Event.RUN_ENDED:
        return ""
    return f"the run of {last.by}@{last.host} since {format_time(last.at)} ended without a word"
