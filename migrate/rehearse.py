"""The whole migration on a copy, beside a load: what it takes, and whom it keeps waiting.

No gate is asked and no hook is run: they are about the application. Every other step is done as
the runner would do it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg.conninfo import make_conninfo

from phasegate.contract.errors import LockNotAcquired, StepFailed
from phasegate.contract.migration import Entry, Event
from phasegate.contract.secrets import Dsn, redactor
from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import Catalog, fetch_catalog, load_sql
from phasegate.migrate.checksum import checksum_step
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.control import RunControl
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.journal import Journal
from phasegate.migrate.model import Operation, Patience, Say, Step
from phasegate.migrate.opening import migrated_names
from phasegate.migrate.phases import find_others, make_steps
from phasegate.migrate.plan import make_plan, refuse
from phasegate.migrate.rehearsal import (
    ELSEWHERE,
    Rehearsal,
    StepFacts,
    TableFacts,
    keep_rehearsed,
)
from phasegate.migrate.rehearsal_copy import Copy
from phasegate.migrate.rehearsal_load import Load, plan_statements
from phasegate.migrate.sessions import open_session

_SQL = load_sql("rehearsal")


@dataclasses.dataclass
class _Done:
    """What one step took, before the load's part of it is known. Times are of time.monotonic()."""

    step: Step
    began: float
    ended: float = 0.0
    actions: int = 0
    rows: int = 0
    wal: int = 0
    disk: int = 0


@dataclasses.dataclass(frozen=True)
class _Work:
    """What doing a step needs; `fetch` reads the catalog of the moment."""

    settings: Settings
    connection: Connection
    connect: Callable[[Patience], Connection]
    fetch: Callable[[], Catalog]
    journal: Journal
    control: RunControl
    say: Say


def rehearse(
    settings: Settings, copy: Copy, *, rate: float, alone: float, control: RunControl, say: Say
) -> Rehearsal:
    """Do every step on the copy beside `rate` statements a second, and measure it; before and
    after, the load is `alone` for so many seconds.

    A step that fails ends it, and is told in the result. Raises PlanRefused where the plan is
    refused, and what `control` raises.
    """
    at = time.time()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="phasegate-rehearsal-")))
        moved = move_settings(settings, copy, folder)
        connect = partial(open_session, copy.conninfo)
        connection = stack.enter_context(connect(Patience.METADATA))
        journal = Journal(stack.enter_context(connect(Patience.BATCH)), folder, "")
        journal.open()
        fetch = partial(fetch_catalog, connection, migrated_names(moved))
        catalog = fetch()
        steps = make_steps(moved, catalog)
        rehearsed = keep_rehearsed(steps)
        refuse(make_plan(rehearsed, catalog, find_others(moved, catalog)))
        tables = tuple(_fetch_tables(connection, moved))
        load = Load(copy.conninfo, plan_statements(catalog), rate)
        work = _Work(moved, connection, connect, fetch, journal, control, say)
        pause = alone if rate else 0.0
        with load.running():
            idle = fetch_size(connection)[0]
            control.sleep(pause)
            begin, written = time.monotonic(), fetch_size(connection)[0]
            done, failed = _take_all(rehearsed, work)
            end = time.monotonic()
            control.sleep(0.0 if failed else pause)
            over = time.monotonic()
    # Only now is every statement that a step kept waiting at its end.
    load_wal = (written - idle) / (begin - load.began) if pause else 0.0
    return Rehearsal(
        at=at,
        identity=copy.identity,
        database=copy.database,
        where=copy.where,
        server=copy.server,
        predicts=copy.predicts,
        rate=rate,
        dump_seconds=copy.dump_seconds,
        restore_seconds=copy.restore_seconds,
        tables=tables,
        before=load.facts(load.began, begin),
        after=load.facts(end, over),
        steps=tuple(_tell(one, load, load_wal) for one in done),
        moments=load.moments(),
        notes=(*copy.notes, *load.notes, *_note_left_out(steps)),
        errors=dict(load.errors),
        failed=failed,
    )


def move_settings(settings: Settings, copy: Copy, folder: Path) -> Settings:
    """The same, of the copy: nothing in them leads to the target, to its cache or its journal."""
    url = Dsn(make_conninfo("", **copy.conninfo))
    redactor.learn(url.parts())
    database = dataclasses.replace(
        settings.database, url=url, url_file=None, password_file=None, password_command=None,
        replicas={},
    )  # fmt: skip
    backup = dataclasses.replace(settings.migrate.backup, directory=folder, scratch_url=None)
    migrate = dataclasses.replace(settings.migrate, backup=backup)
    return dataclasses.replace(settings, database=database, cache=None, migrate=migrate)


def fetch_size(connection: Connection) -> tuple[int, int]:
    """Bytes of write-ahead log that the server has ever written, and of the database."""
    [row] = connection.execute(_SQL["size"].encode()).fetchall()
    wal, disk = row
    return wal, disk


def _take_all(steps: Sequence[Step], work: _Work) -> tuple[list[_Done], str]:
    """What each took, in order; and which failed and why, empty for none."""
    done = []
    for step in steps:
        work.say(f"step {step.name}: {step.title}")
        wal, disk = fetch_size(work.connection)
        taken = _Done(step, time.monotonic())
        done.append(taken)
        failed = ""
        try:
            for operation in step.operations:
                taken.actions += _apply(operation, step, work)
        except (StepFailed, LockNotAcquired, psycopg.Error) as error:
            work.control.check()
            failed = f"{step.name}: {redactor(str(error))}"
        taken.ended = time.monotonic()
        if work.connection.closed:
            return done, failed
        after = fetch_size(work.connection)
        taken.wal, taken.disk = after[0] - wal, after[1] - disk
        taken.rows = sum(_rows(entry) for entry in work.journal.entries() if _of(entry, step))
        if failed:
            return done, failed
    return done, ""


def _apply(operation: Operation, step: Step, work: _Work) -> int:
    context = Context(
        settings=work.settings,
        step=step.name,
        connect=work.connect,
        journal=work.journal,
        catalog=work.fetch(),
        say=lambda text: work.say(f"  {text}"),
        control=work.control,
    )
    with work.control.watching(work.connection):
        return apply_operation(operation, context, work.connection, work.fetch)


def _of(entry: Entry, step: Step) -> bool:
    return entry.event is Event.ACTION and entry.step == step.name


def _rows(entry: Entry) -> int:
    rows = entry.facts.get("rows", 0)
    return rows if isinstance(rows, int) else 0


def _tell(done: _Done, load: Load, load_wal: float) -> StepFacts:
    """With the load's part of it; `load_wal` is what the load writes alone, in bytes a second."""
    seconds = done.ended - done.began
    return StepFacts(
        phase=done.step.phase,
        step=done.step.name,
        title=done.step.title,
        checksum=checksum_step(done.step),
        began=done.began - load.began,
        seconds=seconds,
        actions=done.actions,
        rows=done.rows,
        wal_bytes=done.wal,
        load_wal_bytes=min(done.wal, int(load_wal * seconds)),
        disk_bytes=done.disk,
        load=load.facts(done.began, done.ended),
        mover_wait_seconds=load.mover_wait(done.began, done.ended),
    )


def _fetch_tables(connection: Connection, settings: Settings) -> Iterator[TableFacts]:
    for name in settings.named_tables:
        parameters = (name.schema, name.table)
        rows = connection.execute(_SQL["tables"].encode(), parameters).fetchall()
        yield from (TableFacts(qualify(name), *row) for row in rows)


def _note_left_out(steps: Sequence[Step]) -> tuple[str, ...]:
    named = [step.name for step in steps if any(one.kind in ELSEWHERE for one in step.operations)]
    return (f"not rehearsed: {', '.join(named)}",) if named else ()
