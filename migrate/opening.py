"""From settings and flags to a run that can go: sessions, the runner's lock, the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import psycopg

from phasegate.contract.connection import database_conninfo
from phasegate.contract.errors import JournalMismatch, PlanRefused
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.migrate.backup import lasting_identity
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Throttle
from phasegate.migrate.control import (
    RunControl,
    end_earlier_sessions,
    mark_session,
    set_wanted,
    take_runner_lock,
)
from phasegate.migrate.gate import Terms
from phasegate.migrate.journal import Journal, mend_file, missing_entries, read_file, save_progress
from phasegate.migrate.lock_watch import watch_locks
from phasegate.migrate.model import Patience
from phasegate.migrate.operations.permission_tables import PermissionTables
from phasegate.migrate.operations.reorder_columns import ReorderColumns
from phasegate.migrate.phases import make_steps
from phasegate.migrate.runner import Run
from phasegate.migrate.screen import Screen
from phasegate.migrate.sessions import interrupting, open_session
from phasegate.migrate.throttle import ProbeThrottle


def connector(settings: Settings) -> Callable[[Patience], Connection]:
    """Opens sessions of our own; the password is read anew each time."""

    def connect(patience: Patience = Patience.BATCH) -> Connection:
        return open_session(database_conninfo(settings.database), patience)

    return connect


def fetch_identity(connection: Connection) -> str:
    """Which server and database, as evidence spells it; empty without the right to know."""
    try:
        [[identity]] = connection.execute(load_sql("catalog")["identity"].encode()).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return ""
    return str(identity)


def migrated_names(settings: Settings) -> tuple[TableName, ...]:
    """Every table that a plan must know of."""
    names = list(settings.named_tables)
    if settings.migrate.permission_tables and settings.tables:
        names += PermissionTables(settings.tables[0].name).names()
    for table in settings.tables:
        if table.reorder:
            names += ReorderColumns(table.name).names()
    return tuple(dict.fromkeys(names))


@contextmanager
def open_run(
    settings: Settings,
    terms: Terms,
    *,
    window: float | None = None,
    by: str = "",
) -> Iterator[Run]:
    """A run that is the only one. Raises SourceUnavailable, PlanRefused, Interrupted where another
    is at work, JournalMismatch where the journal is not this database's."""
    connect_any = connector(settings)
    screen = Screen()
    with interrupting(), ExitStack() as stack:
        lock = stack.enter_context(connect_any(Patience.BATCH))
        refuse_standby(lock)
        take_runner_lock(lock)
        end_earlier_sessions(lock, screen.say)

        def connect(patience: Patience) -> Connection:
            return mark_session(connect_any(patience), lock)

        connection = stack.enter_context(connect(Patience.METADATA))
        writer = stack.enter_context(connect(Patience.BATCH))
        journal = Journal(writer, settings.migrate.backup.directory, fetch_identity(connection), by)
        journal.open()
        reconcile(journal)
        set_wanted(lock, "run", by)
        screen.save = partial(save_progress, stack.enter_context(connect(Patience.BATCH)))
        control = RunControl(lock, window)
        throttle = stack.enter_context(open_throttle(settings, connect, control, screen))
        stack.enter_context(control.running())
        yield Run(
            settings=settings,
            connection=connection,
            connect=connect,
            journal=journal,
            control=control,
            make_steps=make_steps,
            names=migrated_names(settings),
            say=screen.say,
            terms=terms,
            throttle=throttle,
            report=screen.report,
            watch=stack.enter_context(watch_locks(connect)),
        )


@contextmanager
def open_throttle(
    settings: Settings,
    connect: Callable[[Patience], Connection],
    control: RunControl,
    screen: Screen,
) -> Iterator[Throttle]:
    """What holds loops over rows back."""
    throttle = ProbeThrottle(settings, connect, control, screen.say, screen.annotate)
    try:
        yield throttle
    finally:
        throttle.close()


def refuse_standby(connection: Connection) -> None:
    """PlanRefused where nothing can be written."""
    [[recovering]] = connection.execute("SELECT pg_is_in_recovery()").fetchall()
    if recovering:
        raise PlanRefused(("database.url leads to a standby: name the primary",))


def reconcile(journal: Journal) -> None:
    """Bring the file and the database's journal together, or refuse.

    What only the database has goes into the file. What only the file has says that the database
    was restored, or failed over to a standby that lacked it: then nobody knows what of the
    application's side is still so. Raises JournalMismatch.
    """
    mend_file(journal.file)
    known, kept = journal.entries(), read_file(journal.file)
    foreign = {entry.identity for entry in known if not same_database(entry.identity, journal)}
    if foreign:
        raise JournalMismatch(
            f"the journal in this database was written in another one ({', '.join(foreign)}), so "
            "this is a copy of it: migrate the original, or drop schema phasegate in the copy"
        )
    for entry in missing_entries(kept, known):
        journal.append(entry)
    lost = [
        entry for entry in missing_entries(known, kept) if same_database(entry.identity, journal)
    ]
    if lost:
        told = "\n".join(f"  - {one.event} {one.phase} {one.step} {one.what}" for one in lost[:20])
        raise JournalMismatch(
            f"{journal.file} tells of {len(lost)} entries that the database does not have: it was "
            f"restored, or failed over to a standby that lacked them\n{told}\n"
            "see what of the application's side is still so, then move that file away and run "
            "again: what is left to do the catalog and the data say"
        )


def same_database(identity: str, journal: Journal) -> bool:
    """Whether it is the same server and database, perhaps on another timeline."""
    ours = journal.identity
    return not identity or not ours or lasting_identity(identity) == lasting_identity(ours)
