"""What a rehearsal measured: a record beside the backups, which plan and preflight read.

Seconds from another class of hardware are no prediction, so the record says whether its seconds may
be taken for any; and those of a step count only for the very step, told by its checksum.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from phasegate.migrate.backup import PART, RECORD, lasting_identity, sync_file
from phasegate.migrate.checksum import checksum_step
from phasegate.migrate.model import Step

RECORD_FORMAT = 1
PREFIX = "rehearsal_"
PAGE = ".html"
ELSEWHERE = frozenset(
    {
        *("backup", "backup_proof", "preflight", "hook", "drain", "framework"),
        *("await_criteria", "await_unread", "warm_cache"),
    }
)
"""Kinds of operations that are about the application, the cache or the original: none is done in a
rehearsal."""
WINDOW = ("schema", "application")
"""Phases while which a maintenance window is open."""


class LoadFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the load saw in a span of time. Seconds are of single statements, None where none ended
    there; `longest_statement` is what and on which table. `lock_wait_seconds` is the longest that
    one was seen to wait for a lock, and `lock_wait` for which."""

    statements: int = 0
    failed: int = 0
    median_seconds: float | None = None
    p95_seconds: float | None = None
    longest_seconds: float | None = None
    longest_statement: str = ""
    lock_wait_seconds: float = 0.0
    lock_wait: str = ""


class StepFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `began` counts from the begin of the load, in seconds. `wal_bytes` is all that the
    server wrote meanwhile, `load_wal_bytes` about how much of it the load did, by what it wrote
    alone; `disk_bytes` is how much the database grew. `mover_wait_seconds` is the longest that a
    session of the mover waited for a lock."""

    phase: str
    step: str
    title: str
    checksum: str
    began: float
    seconds: float
    actions: int
    rows: int
    wal_bytes: int
    load_wal_bytes: int
    disk_bytes: int
    load: LoadFacts
    mover_wait_seconds: float = 0.0


class Moment(msgspec.Struct, frozen=True):
    """The load in a short piece of time: seconds since its begin, statements that began there, and
    their median and longest seconds."""

    at: float
    statements: int
    median_seconds: float
    longest_seconds: float


class TableFacts(msgspec.Struct, frozen=True):
    """A migrated table of the copy before anything was changed; bytes with indexes."""

    table: str
    rows: int
    bytes: int


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is Unix seconds of the begin; `identity` and `database` are of what was copied. `where`
    says on what it ran; `predicts` whether its seconds say anything of the original. `before` and
    `after` are the load alone. `failed` tells which step failed, and why; empty for none.
    `errors` are failures of the load by what the server said, with their number."""

    at: float
    identity: str
    database: str
    where: str
    server: str
    predicts: bool
    rate: float
    dump_seconds: float
    restore_seconds: float
    tables: tuple[TableFacts, ...]
    before: LoadFacts
    after: LoadFacts
    steps: tuple[StepFacts, ...]
    moments: tuple[Moment, ...] = ()
    notes: tuple[str, ...] = ()
    errors: dict[str, int] = {}
    failed: str = ""
    format: int = RECORD_FORMAT

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(one.seconds for one in self.steps)


def write_rehearsal(folder: Path, rehearsal: Rehearsal, page: str) -> tuple[Path, Path]:
    """The record and the page of it, whole or not at all; their paths."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = _free_stem(folder, rehearsal.at)
    record, shown = folder / f"{stem}{RECORD}", folder / f"{stem}{PAGE}"
    told = msgspec.json.format(msgspec.json.encode(rehearsal), indent=1) + b"\n"
    # The record last: whoever finds it finds the page as well.
    for path, content in ((shown, page.encode()), (record, told)):
        part = path.with_name(path.name + PART)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        sync_file(part)
        part.rename(path)
    sync_file(folder)
    return record, shown


def list_rehearsals(folder: Path, identity: str) -> list[Rehearsal]:
    """Those of this server and database, newest first; an unreadable record is none."""
    found = []
    for path in folder.glob(f"{PREFIX}*{RECORD}"):
        try:
            rehearsal = msgspec.json.decode(path.read_bytes(), type=Rehearsal)
        except (OSError, msgspec.DecodeError):
            continue
        same = lasting_identity(rehearsal.identity) == lasting_identity(identity)
        if rehearsal.format == RECORD_FORMAT and same:
            found.append(rehearsal)
    return sorted(found, key=lambda one: one.at, reverse=True)


def find_predicting(folder: Path, identity: str) -> Rehearsal | None:
    """The newest whose seconds say something of the original, and that came to its end."""
    found = list_rehearsals(folder, identity)
    return next((one for one in found if one.predicts and not one.failed), None)


def keep_rehearsed(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps with those of their operations that a copy can show; no step without any."""
    found = (
        dataclasses.replace(
            step, operations=tuple(one for one in step.operations if one.kind not in ELSEWHERE)
        )
        for step in steps
    )
    return tuple(step for step in found if step.operations)


def seconds_by_step(rehearsal: Rehearsal | None, steps: Iterable[Step]) -> dict[str, float]:
    """Of those of the steps that were rehearsed as they are."""
    if rehearsal is None:
        return {}
    took = {(one.phase, one.step, one.checksum): one.seconds for one in rehearsal.steps}
    found = {
        step.name: took.get((step.phase, step.name, checksum_step(step)))
        for step in keep_rehearsed(steps)
    }
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def window_seconds(rehearsal: Rehearsal | None, steps: Iterable[Step]) -> float | None:
    """How long a maintenance window these steps need; None where one of them was not rehearsed as
    it is."""
    wanted = keep_rehearsed(step for step in steps if step.phase in WINDOW)
    took = seconds_by_step(rehearsal, wanted)
    if not wanted or {step.name for step in wanted} - took.keys():
        return None
    return sum(took.values())


def _free_stem(folder: Path, at: float) -> str:
    """A name not taken; two in one second differ by a number."""
    stem = PREFIX + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return next(name for name in names if not (folder / f"{name}{RECORD}").exists())
