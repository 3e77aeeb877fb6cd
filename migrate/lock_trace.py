"""Which locks an action takes, seen on a clone: each runs there, and the server is asked.

A list from the documentation is right until a foreign key, a partition or a dependent view is
forgotten; pg_locks forgets none. The clone is empty, so nothing here tells how long it takes.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from phasegate.contract.errors import SourceError, WorkFailed
from phasegate.contract.names import TableName
from phasegate.contract.secrets import redactor
from phasegate.migrate.catalog import Catalog, fetch_catalog, load_sql
from phasegate.migrate.clone import Clone, open_clone
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, Lock, LockMode
from phasegate.migrate.plan import (
    WORK_NOTE,
    MeasuredLocks,
    Plan,
    PlannedAction,
    with_measurements,
    with_shown,
)
from phasegate.migrate.plan_size import estimate_size
from phasegate.migrate.sessions import Connection

CONCURRENT_SECONDS = 10.0
_POLL_SECONDS = 0.002
_MODES = {mode.replace(" ", "").lower() + "lock": mode for mode in LockMode}
_STRENGTH = {mode: place for place, mode in enumerate(LockMode)}
_SQL = load_sql("clone")


def measure_plan(
    plan: Plan, catalog: Catalog, connection: Connection, conninfo: Mapping[str, str]
) -> Plan:
    """The plan with the locks of each of its actions, and with the statements of its way back.

    Changes nothing on the user's server and never fails: what could not be measured says why.
    """
    actions = [planned.action for planned in plan.actions]
    texts = [statement for action in actions for statement in action.statements]
    if not texts:
        return plan
    try:
        with open_clone(connection, conninfo, catalog, texts) as clone:
            found = measure_actions(actions, clone)
            undo = measure_undo(plan, catalog, clone)
    except (WorkFailed, SourceError, psycopg.Error) as error:
        reason = redactor(str(error)).strip().partition("\n")[0]
        return with_measurements(plan, [reason] * len(actions))
    return with_measurements(plan, found, undo, clone.lacks)


def measure_actions(actions: Sequence[Action], clone: Clone) -> list[MeasuredLocks | str]:
    """Of each action in turn what it took, or why that is not known. All that succeeds stays, for
    what comes after stands on it."""
    found: list[MeasuredLocks | str] = []
    with clone.connect() as session, clone.connect() as watcher:
        session.execute("SET client_min_messages = debug1")
        for action in actions:
            if not action.statements:
                found.append(WORK_NOTE)
                continue
            names = _fetch_names(watcher)
            try:
                with _listening(session) as messages:
                    take = _in_transaction if action.transactional else _beside
                    modes = take(action, session, watcher)
            except psycopg.Error as error:
                found.append(_explain(error, clone))
                continue
            found.append(_make_measured(modes, names, messages, clone))
    return found


def measure_undo(plan: Plan, catalog: Catalog, clone: Clone) -> list[tuple[PlannedAction, ...]]:
    """Of each operation in turn the way back. The clone goes it, last operation first, so that
    what is shown is what its catalog asked for at that moment."""
    operations = [one.operation for step in plan.steps for one in step.operations]
    found = []
    for operation in reversed(operations):
        with clone.connect() as session:
            after = fetch_catalog(session, tuple(catalog.relations))
        after = dataclasses.replace(after, version=catalog.version, superuser=catalog.superuser)
        actions = operation.plan_undo(after)
        planned = [PlannedAction(one, estimate_size(one, None, after)) for one in actions]
        shown = measure_actions(actions, clone)
        found.append(tuple(map(with_shown, planned, shown)))
    return found[::-1]


def _in_transaction(
    action: Action, session: Connection, watcher: Connection
) -> set[tuple[int, LockMode]]:
    with session.transaction():
        for statement in action.statements:
            session.execute(statement.encode())
        return _fetch_held(watcher, session.info.backend_pid)


def _beside(action: Action, session: Connection, watcher: Connection) -> set[tuple[int, LockMode]]:
    """Of statements that allow no transaction around them: they wait for those who write to the
    table, and while they wait, their locks can be read. So there is one who writes."""
    found: set[tuple[int, LockMode]] = set()
    tables = {lock.relation for lock in action.locks}
    for statement in action.statements:
        failures: list[psycopg.Error] = []

        def send(statement: str = statement, failures: list[psycopg.Error] = failures) -> None:
            try:
                session.execute(statement.encode())
            except psycopg.Error as error:
                failures.append(error)

        thread = threading.Thread(target=send, daemon=True)
        with _writer(watcher, tables):
            thread.start()
            found |= _sample(thread, session.info.backend_pid, watcher)
        thread.join(CONCURRENT_SECONDS)
        if thread.is_alive():
            session.cancel()
            thread.join(CONCURRENT_SECONDS)
        if failures:
            raise failures[0]
    return found


@contextmanager
def _writer(watcher: Connection, tables: set[str]) -> Iterator[None]:
    """A transaction that has written to the tables, as the application's do."""
    with watcher.transaction(force_rollback=True):
        for table in sorted(tables):
            with suppress(psycopg.errors.UndefinedTable), watcher.transaction():
                watcher.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE".encode())
        yield


def _sample(thread: threading.Thread, pid: int, watcher: Connection) -> set[tuple[int, LockMode]]:
    """What it holds from moment to moment until it waits, or is through."""
    found: set[tuple[int, LockMode]] = set()
    deadline = time.monotonic() + CONCURRENT_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        [[waits]] = watcher.execute(_SQL["waits"].encode(), (pid,)).fetchall()
        found |= _fetch_held(watcher, pid)
        if waits:
            break
        time.sleep(_POLL_SECONDS)
    return found


@contextmanager
def _listening(session: Connection) -> Iterator[list[str]]:
    """What the server says meanwhile, also in passing."""
    messages: list[str] = []

    def hear(diagnostic: Any) -> None:
        messages.append(diagnostic.message_primary or "")

    session.add_notice_handler(hear)
    try:
        yield messages
    finally:
        session.remove_notice_handler(hear)


def _fetch_names(watcher: Connection) -> dict[int, str]:
    rows = watcher.execute(_SQL["relations"].encode()).fetchall()
    return {oid: qualify(TableName(schema, table)) for oid, schema, table in rows}


def _fetch_held(watcher: Connection, pid: int) -> set[tuple[int, LockMode]]:
    rows = watcher.execute(_SQL["held"].encode(), (pid,)).fetchall()
    return {(oid, _MODES[mode.lower()]) for oid, mode in rows if mode.lower() in _MODES}


def _make_measured(
    modes: set[tuple[int, LockMode]],
    names: Mapping[int, str],
    messages: Sequence[str],
    clone: Clone,
) -> MeasuredLocks:
    strongest: dict[str, LockMode] = {}
    # What the action itself makes nobody else can wait for: it is not among the names.
    for oid, mode in sorted(modes, key=lambda one: _STRENGTH[one[1]]):
        if oid in names:
            strongest[names[oid]] = mode
    ordered = sorted(strongest.items(), key=lambda one: (-_STRENGTH[one[1]], one[0]))
    by_bare = {name.rpartition(".")[2].strip('"'): name for name in names.values()}

    def said(verb: str) -> tuple[str, ...]:
        found = [text.split('"')[1] for text in messages if text.startswith(f'{verb} "')]
        return tuple(dict.fromkeys(by_bare.get(bare, bare) for bare in found))

    return MeasuredLocks(
        locks=tuple(Lock(mode, name) for name, mode in ordered),
        rewrites=said("rewriting table"),
        scans=said("verifying table"),
        builds=said("building index"),
        server=clone.server,
    )


def _explain(error: psycopg.Error, clone: Clone) -> str:
    reason = f"on the clone it failed: {str(error).strip().partition(chr(10))[0]}"
    return f"{reason}; the clone lacks: {'; '.join(clone.lacks)}" if clone.lacks else reason
