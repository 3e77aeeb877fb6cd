"""Whether a run goes on: signals, a window, and what somebody wants from another terminal.

A pause ends the run after the piece of work at hand; an abort, a signal or the loss of the runner's
lock also cancels what the server is doing for us. Either way the same command goes on.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from phasegate.contract.errors import Interrupted
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.model import Say

POLL_SECONDS = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# One for all of Phasegate's runners in a database; the figure itself means nothing.
RUNNER_LOCK = 0x7068_6173_6567_6174
# Held, shared, by every session of a run: by it the next run finds what a dead one left behind.
SESSION_LOCK = RUNNER_LOCK + 1
EARLIER_SECONDS = 60.0
LOST = "the session that held the lock of the one runner is gone"
_SQL = load_sql("journal")
_HOLDERS = """
SELECT a.pid, a.application_name, COALESCE(host(a.client_addr), 'local'),
    to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.database = (
        SELECT oid FROM pg_database WHERE datname = current_database()
    )
    AND (l.classid::bigint << 32 | l.objid::bigint) = %s
"""


class RunControl:
    """The control of one run. `lock` is the session that holds the runner's lock; only this
    class's own thread uses it; None where no other terminal can ask for anything.
    `window_seconds` is how long the run may last."""

    def __init__(self, lock: Connection | None, window_seconds: float | None = None) -> None:
        self._lock = lock
        self._deadline = None if window_seconds is None else time.monotonic() + window_seconds
        self._window = window_seconds
        self._reason = ""
        self._wake = threading.Event()
        self._over = threading.Event()
        self._busy: set[Connection] = set()
        self._guard = threading.Lock()

    def check(self) -> None:
        """As `context.Control.check`."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.stop(f"the window of {self._window:g} s is over")
        if self._reason:
            raise Interrupted(self._reason)

    def sleep(self, seconds: float) -> None:
        """As `context.Control.sleep`."""
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            self.check()
            self._wake.wait(min(rest, POLL_SECONDS))
        self.check()

    def stop(self, reason: str, *, cancel: bool = False) -> None:
        """Let the run end, for the first reason given; `cancel` also what the server is doing."""
        with self._guard:
            self._reason = self._reason or reason
            busy = list(self._busy) if cancel else []
        self._wake.set()
        for connection in busy:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    @contextlib.contextmanager
    def watching(self, connection: Connection) -> Iterator[None]:
        """What the session does meanwhile is cancelled by an abort."""
        with self._guard:
            self._busy.add(connection)
        try:
            yield
        finally:
            with self._guard:
                self._busy.discard(connection)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Listen to signals and to other terminals; in the main thread."""
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        thread = threading.Thread(target=self._poll, daemon=True, name="control")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(timeout=5)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: Any) -> None:
        reason = f"stopped by {signal.Signals(number).name}"
        # Not here: a handler must not wait for a lock that what it interrupts may hold.
        threading.Thread(
            target=self.stop, args=(reason,), kwargs={"cancel": True}, daemon=True
        ).start()

    def _poll(self) -> None:
        while self._lock is not None and not self._over.wait(POLL_SECONDS):
            try:
                row = self._lock.execute(_SQL["wanted"].encode()).fetchone()
            except psycopg.Error:
                self.stop(LOST, cancel=True)
                return
            if row is not None and row[0] != "run":
                wanted, by = row
                self.stop(f"{wanted} was asked for by {by or 'somebody'}", cancel=wanted == "abort")
                return


def take_runner_lock(connection: Connection) -> None:
    """Be the one runner, or Interrupted with who is. Polled, never waited for: whoever waits in
    the server holds a snapshot, and CREATE INDEX CONCURRENTLY would wait for that."""
    [[taken]] = connection.execute("SELECT pg_try_advisory_lock(%s)", (RUNNER_LOCK,)).fetchall()
    if taken:
        return
    holder = describe_runner(connection)
    who = f"; {holder}" if holder else ""
    raise Interrupted(f"another runner is at work in this database{who}: phasegate migrate status")


def describe_runner(connection: Connection) -> str:
    """Who is at work in the database now; empty for nobody."""
    holder = connection.execute(_HOLDERS, (RUNNER_LOCK,)).fetchone()
    return "" if holder is None else "{1} on {2}, pid {0}, since {3}".format(*holder)


def mark_session(connection: Connection, lock: Connection) -> Connection:
    """Make a session known as one of the run whose runner's lock `lock` has.

    Nobody takes this one but shared: it never waits. Interrupted, and the session is closed, where
    another runner is at work meanwhile: whoever slept through the loss of its lock must do nothing.
    """
    try:
        connection.execute("SELECT pg_advisory_lock_shared(%s)", (SESSION_LOCK,))
        _refuse_another(connection, lock)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_another(connection: Connection, lock: Connection) -> None:
    runner = connection.execute(_HOLDERS, (RUNNER_LOCK,)).fetchone()
    if runner is None or runner[0] != lock.info.backend_pid:
        raise Interrupted(LOST)


def end_earlier_sessions(connection: Connection, say: Say) -> None:
    """End what a run that is dead left at work in the server, which need not know yet that its
    client is gone. To be called with the runner's lock, before any session of ours is marked.

    Raises Interrupted where one does not end.
    """
    deadline = time.monotonic() + EARLIER_SECONDS
    told: set[int] = set()
    while left := connection.execute(_HOLDERS, (SESSION_LOCK,)).fetchall():
        if time.monotonic() >= deadline:
            pids = ", ".join(str(row[0]) for row in left)
            raise Interrupted(f"sessions of a run that is dead are still at work: pid {pids}")
        for pid, name, host, since in left:
            if pid in told:
                continue
            told.add(pid)
            say(f"ends a session of a run that is dead: {name} on {host}, pid {pid}, since {since}")
            # Another role's may not be ended, and ends by itself.
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        time.sleep(0.1)


def set_wanted(connection: Connection, wanted: str, by: str) -> None:
    """Tell whoever runs, now or next, what is wanted: run, pause or abort."""
    connection.execute(_SQL["want"].encode(), (wanted, by))
