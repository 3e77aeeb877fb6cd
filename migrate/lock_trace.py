"""Which locks an action takes, seen on a clone: each runs there, and the server is asked.

A list from the documentation is right until a foreign key, a partition or a dependent view is
forgotten; pg_locks forgets none. The clone is empty, so nothing here tells how long it takes.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg

from phasegate.contract.errors import SourceError, WorkFailed
from phasegate.contract.names import TableName, split_name
from phasegate.contract.secrets import redactor
from phasegate.migrate.catalog import Catalog, Relation, fetch_catalog, load_sql
from phasegate.migrate.clone import Clone, open_clone
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, Lock, LockMode
from phasegate.migrate.plan import (
    MeasuredLocks,
    Plan,
    PlannedAction,
    PlannedOperation,
    Shown,
    plan_action,
    table_of,
    with_measurements,
    with_shown,
)
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
    operations = [one for step in plan.steps for one in step.operations]
    texts = [text for planned in plan.actions for text in planned.action.statements]
    if not texts:
        return plan
    try:
        with open_clone(connection, conninfo, catalog, texts) as clone:
            names = _names(operations, catalog)

            def fetch() -> Catalog:
                with clone.connect() as session:
                    found = fetch_catalog(session, names)
                # What an operation asks of the server is so on the user's, not on the clone.
                return replace(
                    found,
                    version=catalog.version,
                    superuser=catalog.superuser,
                    now=catalog.now,
                    default_grantees=catalog.default_grantees,
                    relations={
                        name: _with_contents(one, catalog.get(name))
                        for name, one in found.relations.items()
                    },
                )

            done = _go(operations, fetch, clone)
            undone = _go_back(operations, fetch, clone)
            shown = [Shown(*both) for both in zip(done, undone, strict=True)]
    except (WorkFailed, SourceError, psycopg.Error) as error:
        reason = redactor(str(error)).strip().partition("\n")[0]
        return with_measurements(
            plan,
            [Shown(tuple(with_shown(one, reason) for one in each.actions)) for each in operations],
        )
    return with_measurements(plan, shown, clone.lacks)


def _with_contents(copy: Relation, table: Relation | None) -> Relation:
    """How much is stored, how it lies, whose it is and who may read it: a copy without rows and
    rights cannot tell."""
    if table is None:
        return copy
    columns = (
        one if known is None else replace(
            one, place=known.place, grants=known.grants, sequence_grants=known.sequence_grants
        )
        for one in copy.columns
        for known in [table.column(one.name)]
    )  # fmt: skip
    return replace(
        copy, rows=table.rows, bytes=table.bytes, pages=table.pages, owner=table.owner,
        grants=table.grants, peculiar=table.peculiar, columns=tuple(columns),
    )  # fmt: skip


def measure_actions(planned: Sequence[PlannedAction], clone: Clone) -> tuple[PlannedAction, ...]:
    """Of each action in turn what it took, or why that is not known. All that succeeds stays, for
    what comes after stands on it."""
    found = []
    with clone.connect() as session, clone.connect() as watcher:
        session.execute("SET client_min_messages = debug1")
        for one in planned:
            shown = _measure(one.action, session, watcher, clone) if one.action.statements else None
            found.append(one if shown is None else with_shown(one, shown))
    return tuple(found)


def _measure(
    action: Action, session: Connection, watcher: Connection, clone: Clone
) -> MeasuredLocks | str:
    names = _fetch_names(watcher)
    try:
        with _listening(session) as messages:
            take = _in_transaction if action.transactional else _beside
            modes = take(action, session, watcher)
    except psycopg.Error as error:
        return _explain(error, clone)
    return _make_measured(modes, names, _fetch_names(watcher), messages, clone.server)


def _names(operations: Sequence[PlannedOperation], catalog: Catalog) -> tuple[TableName, ...]:
    """Every table that an operation may ask for, also one that it makes itself."""
    found = list(catalog.relations)
    for one in operations:
        definition: Any = one.operation
        values = [getattr(definition, field.name) for field in dataclasses.fields(definition)]
        found += [value for value in values if isinstance(value, TableName)]
    return tuple(dict.fromkeys(found))


def _go(
    operations: Sequence[PlannedOperation], fetch: Callable[[], Catalog], clone: Clone
) -> list[tuple[PlannedAction, ...]]:
    """All that is left, in order. An operation with nothing left now may have something left once
    those before it are done, as partitions are premade of a table that is to be partitioned."""
    found = []
    before = fetch()
    for one in operations:
        actions = one.actions
        # Its statements are of the table as the operations before it leave it.
        follows = bool(actions) and getattr(one.operation, "follows", False)
        if follows or (not actions and not one.operation.plan_remaining(before)):
            after = fetch()
            left = one.operation.plan_remaining(after)
            actions = tuple(plan_action(each, table_of(one.operation), after) for each in left)
        found.append(measure_actions(actions, clone))
    return found


def _go_back(
    operations: Sequence[PlannedOperation], fetch: Callable[[], Catalog], clone: Clone
) -> list[tuple[PlannedAction, ...]]:
    """The way back of each operation in turn. The clone goes it, last operation first, so that
    what is shown is what its catalog asked for at that moment."""
    found = []
    for one in reversed(operations):
        after = fetch()
        undo = one.operation.plan_undo(after)
        planned = [plan_action(each, table_of(one.operation), after) for each in undo]
        found.append(measure_actions(planned, clone))
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
    after: Mapping[int, str],
    messages: Sequence[str],
    server: str,
) -> MeasuredLocks:
    """`names` are those before, `after` those after the action. What the action itself makes is
    left out: it is empty, and nobody else can wait for it."""
    strongest: dict[str, LockMode] = {}
    for oid, mode in sorted(modes, key=lambda one: _STRENGTH[one[1]]):
        if oid in names:
            strongest[names[oid]] = mode
    ordered = sorted(strongest.items(), key=lambda one: (-_STRENGTH[one[1]], one[0]))
    # The server writes bare names, and of a table that was renamed the new one.
    bare = {
        _bare(name): names[oid] for known in (names, after) for oid, name in known.items()
        if oid in names
    }  # fmt: skip

    def told(*forms: str) -> tuple[str, ...]:
        """The tables of which a message has one of the forms. A name may hold quotes itself, so
        each is tried, rather than taken apart."""
        said = [
            table
            for text in messages
            for name, table in bare.items()
            if any(text.startswith(form.format(name)) for form in forms)
        ]
        return tuple(dict.fromkeys(said))

    builds = [text for text in messages if text.startswith("building index ")]
    of_ours = [text for text in builds if any(f'" on table "{name}" ' in text for name in bare)]
    return MeasuredLocks(
        locks=tuple(Lock(mode, name) for name, mode in ordered),
        rewrites=told('rewriting table "{}"'),
        scans=told('verifying table "{}"'),
        builds=tuple(
            dict.fromkeys(
                text.removeprefix('building index "').partition('" on table "')[0]
                for text in of_ours
            )
        ),
        server=server,
    )


def _bare(name: str) -> str:
    return split_name(name)[-1]


def _explain(error: psycopg.Error, clone: Clone) -> str:
    reason = f"on the clone it failed: {str(error).strip().partition(chr(10))[0]}"
    return f"{reason}; the clone lacks: {'; '.join(clone.lacks)}" if clone.lacks else reason
