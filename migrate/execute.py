"""The only writer: one action after the other, each asked of the catalog before it is sent.

A lock that does not come is not waited for: the statement gives way, tells who holds it, and tries
again later, for everybody else queues behind it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
from psycopg import errors

from phasegate.contract.errors import LockNotAcquired, PhasegateError, StepFailed
from phasegate.contract.migration import Event
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.model import Action, Operation, Patience
from phasegate.migrate.sessions import is_lost, set_patience

LOCK_PATIENCE_SECONDS = 600.0
"""How long an action is tried again; then the run stops, resumable."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
MOST_TURNS = 3
"""So often the same may be left again, as where somebody else changes the table meanwhile."""
_WATCH_SECONDS = 0.1
_GIVES_WAY = (errors.LockNotAvailable, errors.DeadlockDetected)

_BLOCKERS = """
SELECT
    a.pid,
    COALESCE(NULLIF(a.application_name, ''), a.backend_type, 'unknown'),
    COALESCE(a.usename, ''),
    extract(epoch FROM clock_timestamp() - a.xact_start)::double precision,
    a.state
FROM unnest(pg_blocking_pids(%s)) AS b (pid)
JOIN pg_stat_activity AS a ON a.pid = b.pid
"""


def apply_operation(
    operation: Operation,
    context: Context,
    connection: Connection,
    fetch: Callable[[], Catalog],
    *,
    undo: bool = False,
) -> int:
    """Do all that is left of one operation, or take it back; the number of actions.

    `connection` is in autocommit. Raises StepFailed where an action changes nothing of what is
    left, and whatever its actions raise.
    """
    done = 0
    before: tuple[str, ...] = ()
    seen = Counter[tuple[str, ...]]()
    deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
    while True:
        context.control.check()
        context.catalog = fetch()
        plan = operation.plan_undo if undo else operation.plan_remaining
        left = plan(context.catalog)
        if not left:
            return done
        named = tuple(action.what for action in left)
        if named == before or seen[named] >= MOST_TURNS:
            reason = f"{left[0].what}: done without an error, and still the catalog says it is not"
            raise StepFailed(context.step, reason)
        try:
            apply_action(left[0], operation, context, connection, deadline)
        except _GaveWay:
            before = ()
            continue
        except StepFailed as error:
            if isinstance(error.__cause__, psycopg.IntegrityError):
                _clear_debris(plan, operation, context, connection, fetch)
            raise
        before = named
        seen[named] += 1
        if not left[0].clears:
            deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        done += 1
        if left[0].work is not None and len(left) == 1 and not undo:
            return done


def _clear_debris(
    plan: Callable[[Catalog], tuple[Action, ...]],
    operation: Operation,
    context: Context,
    connection: Connection,
    fetch: Callable[[], Catalog],
) -> None:
    """What a try left that the data broke: nobody may have to pay for it until the next one."""
    # What broke is told in any case, and the next try clears it, too.
    with suppress(PhasegateError, psycopg.Error, _GaveWay):
        context.catalog = fetch()
        for action in plan(context.catalog)[:1]:
            if action.clears:
                hasty = replace(action, patience=Patience.SCAN)
                apply_action(hasty, operation, context, connection, time.monotonic())


class _GaveWay(Exception):
    """Something outside of a transaction gave way to a lock: part of it may be done, so what is
    left is asked anew."""


def apply_action(
    action: Action,
    operation: Operation,
    context: Context,
    connection: Connection,
    deadline: float,
) -> None:
    """Send one action, or do its work, and journal it; `deadline`, on the monotonic clock, is when
    a lock is no longer waited for."""
    named = f"{operation.kind} {operation.object}"
    began = time.monotonic()
    context.say(action.what)
    if action.work is not None:
        facts = dict(action.work.run(context))
        seconds = time.monotonic() - began
        context.journal.write(
            Event.ACTION if action.changes else Event.CHECKED, step=context.step,
            operation=named, what=action.what, seconds=seconds, facts=facts,
        )  # fmt: skip
        return
    if action.transactional:
        send: Callable[[], Any] = partial(_in_transaction, action, named, context, connection)
        with_patience(context, connection, action, deadline, send)
        return
    for statement in action.statements:
        send = partial(connection.execute, statement.encode())
        with_patience(context, connection, action, deadline, send)
    seconds = time.monotonic() - began
    facts = {"statements": list(action.statements)}
    context.journal.write(
        Event.ACTION, step=context.step, operation=named, what=action.what, seconds=seconds,
        facts=facts,
    )  # fmt: skip


def _in_transaction(action: Action, named: str, context: Context, connection: Connection) -> None:
    if action.before is not None:
        action.before.run(context)
    began = time.monotonic()
    with connection.transaction():
        for statement in action.statements:
            connection.execute(statement.encode())
        entry = context.journal.make(
            Event.ACTION,
            step=context.step,
            operation=named,
            what=action.what,
            seconds=time.monotonic() - began,
            facts={"statements": list(action.statements)},
        )
        context.journal.insert(connection, entry)
    context.journal.append(entry)


def with_patience(
    context: Context,
    connection: Connection,
    action: Action,
    deadline: float,
    send: Callable[[], Any],
) -> None:
    """Send, and where a lock does not come in time, name who holds it and try again.

    Raises LockNotAcquired after ten minutes, StepFailed for any other refusal of the server.
    """
    set_patience(connection, action.patience)
    pause = FIRST_PAUSE_SECONDS
    while True:
        with _watching(context, connection) as blockers:
            try:
                send()
                return
            except _GIVES_WAY:
                pass
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                # An abort cancels what is running.
                context.control.check()
                if is_lost(error):
                    raise
                raise StepFailed(context.step, f"{action.what}: {error}") from error
            except psycopg.IntegrityError as error:
                told = "; ".join(filter(None, (f"{action.what}: {error}", action.remedy)))
                raise StepFailed(context.step, told) from error
            except psycopg.Error as error:
                raise StepFailed(context.step, f"{action.what}: {error}") from error
        held = "; ".join(blockers.values()) or "others"
        if time.monotonic() >= deadline:
            raise LockNotAcquired(f"{action.what}: no lock in ten minutes, held by {held}")
        context.say(f"waits for a lock held by {held}; tries again in {pause:.1f} s")
        # Jitter, so that two who give way to each other do not meet again.
        context.control.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
        if not action.transactional:
            raise _GaveWay
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


@contextmanager
def _watching(context: Context, connection: Connection) -> Iterator[dict[int, str]]:
    """Who blocks the session while something is sent: pid and a description.

    Only while it waits can the server tell; so another session asks, and only after a moment.
    """
    found: dict[int, str] = {}
    over = threading.Event()
    pid = connection.info.backend_pid

    def watch() -> None:
        if over.wait(_WATCH_SECONDS):
            return
        with context.connect(Patience.BATCH) as watcher:
            while not over.is_set():
                for row in watcher.execute(_BLOCKERS, (pid,)).fetchall():
                    found[row[0]] = _describe_blocker(*row)
                over.wait(_WATCH_SECONDS)

    def watch_quietly() -> None:
        # Who holds the lock is good to know, and no more.
        with suppress(Exception):
            watch()

    thread = threading.Thread(target=watch_quietly, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(timeout=5)


def _describe_blocker(pid: int, name: str, user: str, age: float | None, state: str) -> str:
    since = "" if age is None else f", in a transaction for {age:.0f} s"
    return f"{name} (pid {pid}, role {user or 'none'}, {state or 'working'}{since})"
