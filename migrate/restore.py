"""The immediate way back: the proved backup restored beside the database, then swapped by name.

The old database is kept under another name, with all that was written since. What no dump holds,
rights and settings of the database itself, is copied over; what cannot be, stops it before
anything changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from phasegate.contract.errors import PhasegateError, PlanRefused
from phasegate.contract.migration import Entry, Event
from phasegate.migrate.backup import Backup, check_whole, failing
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Control, NothingStops
from phasegate.migrate.control import take_runner_lock
from phasegate.migrate.database_facts import fetch_facts, plan_copy, plan_create
from phasegate.migrate.identifiers import derive, quote
from phasegate.migrate.journal import FILE_NAME, Journal, fetch_entries, missing_entries, read_file
from phasegate.migrate.model import Say
from phasegate.migrate.opening import fetch_identity
from phasegate.migrate.programs import Programs, find_programs
from phasegate.migrate.prove_backup import restore_dump
from phasegate.migrate.row_facts import compare_rows, prepare_session
from phasegate.migrate.sessions import open_session

STEP = "restore"
SWAP_TRIES = 3
END_SECONDS = 0.1
_SQL = load_sql("restore")


@dataclass(frozen=True)
class Restored:
    """`kept` is the name that the database of before has now."""

    database: str
    kept: str
    seconds: float


def find_restore_refusals(
    connection: Connection, backup: Backup, programs: list[Programs]
) -> tuple[str, ...]:
    """Why the database of the session cannot be restored from it; empty where it can."""
    found = [
        f"{name} is bound to this database, and would stay with the old one: drop or end it first"
        for (name,) in connection.execute(_SQL["bound"].encode()).fetchall()
    ]
    if backup.proof is None:
        found.append(f"{backup.file} was never proved by a restore")
    server = connection.info.server_version // 10_000
    if backup.major > server:
        found.append(
            f"{backup.file} was written by pg_dump {backup.major}, which PostgreSQL {server} "
            f"cannot always read: restore it by hand into PostgreSQL {backup.major}, or install "
            f"postgresql-client-{server} before the backup is made"
        )
    if all(one.major != backup.major for one in programs):
        found.append(
            f"no pg_restore {backup.major} is at hand: install postgresql-client-{backup.major}"
        )
    return tuple(found)


def restore_beside(
    conninfo: Mapping[str, str],
    backup: Backup,
    folder: Path,
    *,
    say: Say,
    drained: Callable[[], None] = lambda: None,
    control: Control | None = None,
    lost: int | None = None,
    by: str = "",
) -> Restored:
    """Restore the backup beside the database that `conninfo` names, and swap the two by name.

    Called without any session of ours in it, since all sessions are ended after `drained`, which
    waits for the application to let go. Its journal goes on in the restored one. Raises PlanRefused
    before anything is made, StepFailed, Interrupted; then the database is what it was.
    """
    began = time.monotonic()
    control = control or NothingStops()
    fail = failing(STEP)
    programs = find_programs()
    with open_session(conninfo) as lock:
        take_runner_lock(lock)
        name = lock.info.dbname
        refusals = find_restore_refusals(lock, backup, programs)
        if refusals:
            raise PlanRefused(refusals)
        check_whole(folder, backup, fail)
        facts = fetch_facts(lock)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        fresh, kept = derive(name, "restored", stamp), derive(name, "before", stamp)
        elsewhere = {**conninfo, "dbname": "template1" if name == "postgres" else "postgres"}
        with open_session(elsewhere) as server:
            server.execute("SET statement_timeout = 0")
            _tell_left(server, name, say)
            say(f"restores {backup.file} into a database {fresh} beside {name}")
            _send(server, plan_create(fresh, facts, server.info.server_version), fail)
            try:
                beside = {**conninfo, "dbname": fresh}
                chosen = next(one for one in programs if one.major == backup.major)
                _fill(beside, backup, folder, programs=chosen, control=control)
                for statement in plan_copy(fresh, facts):
                    _send(server, statement, fail)
                say(f"{fresh} has all rows of the backup; waits for sessions of {name} to end")
                drained()
                control.check()
                # Before the swap: a kill after it must leave no database whose journal takes the
                # deployments of before for done.
                journal = Journal(lock, folder, fetch_identity(lock), by)
                took = time.monotonic() - began
                restored = _make_restored(journal, backup, kept=kept, lost=lost, seconds=took)
                carry_journal(beside, folder, [*fetch_entries(lock), restored])
                lock.close()
                _swap(server, name, fresh, kept, elsewhere)
            except BaseException:
                _drop(server, fresh)
                raise
    journal.append(restored)
    say(f"{name} is the backup's now; what was before is kept as {kept}")
    return Restored(name, kept, time.monotonic() - began)


def carry_journal(conninfo: Mapping[str, str], folder: Path, history: list[Entry]) -> None:
    """Put the entries of `history`, and those of the folder's file, into that database, where they
    are missing: a restore rewinds what a journal in the database knows."""
    with open_session(conninfo) as connection:
        journal = Journal(connection, folder, "")
        journal.open()
        kept = read_file(folder / FILE_NAME)
        entries = [*history, *missing_entries(history, kept)]
        with connection.transaction():
            known = fetch_entries(connection)
            for entry in sorted(missing_entries(known, entries), key=lambda one: one.at):
                journal.insert(connection, entry)


def _fill(
    beside: Mapping[str, str],
    backup: Backup,
    folder: Path,
    *,
    programs: Programs,
    control: Control,
) -> None:
    """Restore with owners and rights, compare every row, and let the planner know the tables."""
    path, fail = folder / backup.file, failing(STEP)
    restore_dump(path, programs, beside, control=control, fail=fail, faithful=True)
    with open_session(beside) as connection:
        prepare_session(connection)
        different = compare_rows(connection, backup.tables, control)
        if different:
            raise fail(f"{path} was restored with other rows: {'; '.join(different)}")
        connection.execute("ANALYZE")


def _swap(
    server: Connection, name: str, fresh: str, kept: str, conninfo: Mapping[str, str]
) -> None:
    """Both names in one transaction, so that there is always a database of that name, and nothing
    to put right after a crash. RENAME holds off new sessions and waits five seconds for those
    there are: meanwhile another session ends them."""
    fail = failing(STEP)
    for left in reversed(range(SWAP_TRIES)):
        try:
            with _ending_sessions(conninfo, (name, fresh)), server.transaction():
                for old, new in ((name, kept), (fresh, name)):
                    renaming = f"ALTER DATABASE {quote(old)} RENAME TO {quote(new)}"
                    server.execute(renaming.encode())
            return
        except psycopg.errors.ObjectInUse as error:
            if not left:
                raise fail(f"sessions of {name} do not end: {error}") from error
        except psycopg.Error as error:
            raise fail(f"{name} cannot be renamed: {error}") from error


@contextmanager
def _ending_sessions(conninfo: Mapping[str, str], names: tuple[str, ...]) -> Iterator[None]:
    """End every session in these databases, again and again."""
    over = threading.Event()

    def end() -> None:
        with suppress(psycopg.Error), open_session(conninfo) as other:
            while not over.is_set():
                for name in names:
                    other.execute(_SQL["terminate"].encode(), (name,))
                over.wait(END_SECONDS)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _make_restored(
    journal: Journal, backup: Backup, *, kept: str, lost: int | None, seconds: float
) -> Entry:
    facts = {
        "to": "",
        "file": backup.file,
        "at": backup.at,
        "rows": backup.rows,
        "counts": backup.digest,
        "kept": kept,
        "lost": lost,
    }
    what = f"restored {backup.file}"
    return journal.make(Event.RESTORED, step=STEP, what=what, seconds=seconds, facts=facts)


def _tell_left(server: Connection, name: str, say: Say) -> None:
    for (left,) in server.execute(_SQL["left"].encode(), (f"{name}_restored_",)).fetchall():
        say(f"{left} was left by a restore that was cut off: drop it when you like")


def _drop(server: Connection, fresh: str) -> None:
    with suppress(psycopg.Error):
        server.execute(f"ALTER DATABASE {quote(fresh)} IS_TEMPLATE false".encode())
        server.execute(f"DROP DATABASE {quote(fresh)} WITH (FORCE)".encode())


def _send(connection: Connection, statement: str, fail: Callable[[str], PhasegateError]) -> None:
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        raise fail(f"{statement.split(' SET ', maxsplit=1)[0]}: {error}") from error
