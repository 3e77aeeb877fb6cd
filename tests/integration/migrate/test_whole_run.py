"""The command in processes of its own: under the statements of both applications, and beside other
terminals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from phasegate.demo import store
from phasegate.migrate.control import mark_session
from phasegate.migrate.lock_watch import LockWatch
from phasegate.migrate.sessions import open_session
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters
from tests.fixtures.underway import Mover, copy_template, make_template

LONGEST_STATEMENT, LONGEST_HOLD = 2.0, 0.2
KEYS = "SELECT {key} FROM users WHERE {key} IS NOT NULL ORDER BY id LIMIT 500"
HAS_UUIDS = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.users'::regclass"
    " AND attname = 'uuid') AND to_regclass('public.audit_logs') IS NOT NULL"
)


@pytest.fixture(scope="module")
def server(postgres18: PostgresServer) -> Iterator[PostgresServer]:
    make_template(postgres18)
    yield postgres18
    postgres18.drop_database("legacy")


@pytest.fixture
def mover(server: PostgresServer, tmp_path: Path) -> Iterator[Mover]:
    copy_template(server, "whole")
    yield Mover(server, "whole", tmp_path)
    server.drop_database("whole")


class Application:
    """One version's statements, one after the other; what failed, and how long the longest took."""

    def __init__(self, mover: Mover, version: int) -> None:
        self.mover, self.version = mover, version
        self.column = Identifier(store.VERSIONS[version].column)
        self.failed: list[str] = []
        self.longest, self.slowest, self.sent = 0.0, "", 0

    def run(self, over: threading.Event) -> None:
        """From the moment on at which its columns are there, to the end."""
        pick = Random(self.version)  # noqa: S311
        conninfo = self.mover.server.conninfo("whole")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(store.SESSION)
            while self.version == 2 and not _holds(connection, HAS_UUIDS):
                if over.wait(0.002):
                    return
            keys: list[Any] = []
            while not over.is_set():
                if len(keys) < 500:
                    keys = [row[0] for row in self._send(connection, SQL(KEYS), ())]
                self._send_each(connection, pick.choice([*keys, None]), f"{self.sent}")

    def _send_each(self, connection: psycopg.Connection[Any], key: Any, tag: str) -> None:
        email = f"v{self.version}-{tag}@example.com"
        self._send(connection, store.INSERT_USER, (email, "New"))
        self._send(connection, store.PERMISSIONS, (key,))
        self._send(connection, store.RENAME_USER, (f"Renamed {tag}", key))
        self._send(connection, store.LOG_IN, (key,))
        event = ("auth", "denied", "user:1", "user:1", "{}")
        self._send(connection, store.LOG_EVENT, event)

    def _send(
        self, connection: psycopg.Connection[Any], statement: SQL, values: tuple[Any, ...]
    ) -> list[tuple[Any, ...]]:
        began = time.monotonic()
        rows: list[tuple[Any, ...]] = []
        text = statement.format(key=self.column)
        try:
            cursor = connection.execute(text, values)
            rows = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            self.failed.append(f"{text.as_string()}: {error}")
        seconds = time.monotonic() - began
        self.sent += 1
        if seconds > self.longest:
            self.longest, self.slowest = seconds, text.as_string()
        return rows


def _holds(connection: psycopg.Connection[Any], query: str) -> bool:
    [[found]] = connection.execute(query.encode()).fetchall()
    return bool(found)


@contextmanager
def both_applications(mover: Mover) -> Iterator[tuple[Application, Application]]:
    """The previous and the next one, as long as the block runs."""
    over = threading.Event()
    both = Application(mover, 1), Application(mover, 2)
    threads = [threading.Thread(target=one.run, args=(over,)) for one in both]
    for thread in threads:
        thread.start()
    try:
        yield both
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_no_statement_of_either_application_fails_or_waits_long(mover: Mover) -> None:
    with both_applications(mover) as (old, new):
        code, _, told = mover.call("run")
        time.sleep(0.2)
    assert code == 0, told
    assert (old.failed, new.failed) == ([], [])
    assert old.sent > 50
    assert new.sent > 50
    [[facts]] = mover.execute(
        "SELECT facts -> 'locks' FROM phasegate.journal WHERE event = 'run_ended'"
    )
    measured = {one.version: (one.longest, one.slowest) for one in (old, new)}
    assert max(old.longest, new.longest) < LONGEST_STATEMENT, (measured, facts, told)
    # What is said is a bound from above; a busy machine looks seldom, and that is its own fault.
    held = facts["longest_access_exclusive"] - 2 * facts["longest_gap"]
    assert held < LONGEST_HOLD, (measured, facts, told)
    assert facts["looks"] > 10, facts
    assert "longest lock wait of others: " in told
    assert "longest hold of ACCESS EXCLUSIVE: " in told
    [[missing]] = mover.execute("SELECT count(*) FROM users WHERE uuid IS NULL")
    assert missing == 0


def test_what_others_wait_for_us_and_how_long_we_lock_them_out(any_database: Database) -> None:
    any_database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    parameters = connect_parameters(any_database)
    watch = LockWatch()
    with open_session(parameters) as looker, mark_session(open_session(parameters)) as ours:
        other = psycopg.connect(any_database.conninfo(), autocommit=True)
        last = psycopg.connect(any_database.conninfo(), autocommit=True)
        watch.look(looker)
        began = time.monotonic()
        ours.execute("BEGIN; LOCK TABLE public.t; CREATE TABLE public.unseen ()")
        waiters = [
            threading.Thread(target=other.execute, args=("LOCK TABLE t",), daemon=True),
            threading.Thread(target=last.execute, args=("SELECT FROM t",), daemon=True),
        ]
        other.execute("BEGIN")
        for waiter in waiters:
            waiter.start()
            time.sleep(0.1)
            watch.look(looker)
        time.sleep(0.2)
        watch.look(looker)
        ours.execute("COMMIT")
        waiters[0].join()
        other.execute("COMMIT")
        waiters[1].join()
        watch.look(looker)
        took = time.monotonic() - began
        other.close()
        last.close()
    assert (watch.holds.object, watch.waits.object) == ("public.t", "public.t")
    assert 0.35 < watch.holds.seconds < took + 0.1
    assert 0.25 < watch.waits.seconds < took + 0.1


def await_true(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        time.sleep(0.025)
    raise AssertionError(holds)


def test_a_run_is_seen_told_and_ended_from_other_terminals(mover: Mover) -> None:
    slow = {"GATE_SECONDS": "60"}
    with mover.running("run", **slow) as run:
        run.await_line("phase prepare")
        await_true(lambda: "at work: phasegate migrate on" in mover.call("status")[1])
        code, _, told = mover.call("run")
        assert (code, "another runner is at work in this database; phasegate" in told) == (5, True)
        assert mover.call("pause", "--by", "bert")[0] == 0
        assert run.wait() == 5
        assert "pause was asked for by bert" in run.told
        assert "next: phasegate migrate resume" in run.told
    assert "wanted: pause" in mover.call("status")[1]
    with mover.running("resume", **slow) as run:
        run.await_line("phase prepare")
        assert mover.call("abort", "--by", "anna")[0] == 0
        assert (run.wait(), "abort was asked for by anna" in run.told) == (5, True)
    with mover.running("resume", **slow) as run:
        run.await_line("phase prepare")
        run.signal(signal.SIGTERM)
        assert (run.wait(), "stopped by SIGTERM" in run.told) == (5, True)
    with mover.running("resume", **slow) as run:
        run.await_line("phase prepare")
        run.signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    await_true(lambda: "nobody is at work; the run of " in mover.call("status")[1])
    found = mover.call("status")[1]
    assert "ended without a word: phasegate migrate resume" in found
    code, _, told = mover.call("resume", "--until", "prepare")
    assert code == 0, told
    found = mover.call("status")[1]
    assert "nobody is at work\n" in found
    assert "prepare         passed" in found


def test_what_a_dead_run_left_at_work_is_ended_by_the_next(mover: Mover) -> None:
    assert mover.call("run", "--until", "prepare")[0] == 0
    parameters = connect_parameters(Database(mover.server, mover.name))
    left = mark_session(open_session(parameters))
    left.execute("BEGIN; UPDATE public.users SET name = 'half' WHERE id = 1")
    code, _, told = mover.call("resume", "--until", "prepare")
    assert (code, "ends a session of a run that is dead" in told) == (0, True), told
    with pytest.raises(psycopg.OperationalError):
        left.execute("COMMIT")
    left.close()
