"""The command in processes of its own, beside other terminals, and what it does to others."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.migrate.control import mark_session, take_runner_lock
from phasegate.migrate.lock_watch import LockWatch
from phasegate.migrate.sessions import open_session
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters
from tests.fixtures.underway import Mover, copy_template, make_template


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


def test_what_others_wait_for_us_and_how_long_we_lock_them_out(any_database: Database) -> None:
    any_database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    parameters = connect_parameters(any_database)
    watch = LockWatch()
    with open_session(parameters) as looker, open_session(parameters) as lock:
        take_runner_lock(lock)
        ours = mark_session(open_session(parameters), lock)
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
        ours.close()
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
    with mover.running("status", "--watch", "--format", "json") as watcher:
        await_true(lambda: watcher.output.exists() and "passed" in watcher.output.read_text())
        mover.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'phasegate%' AND datname = current_database()"
        )
        assert (watcher.wait(), "terminating connection" in watcher.told) == (4, True), watcher.told


def test_what_a_dead_run_left_at_work_is_ended_by_the_next(mover: Mover) -> None:
    assert mover.call("run", "--until", "prepare")[0] == 0
    parameters = connect_parameters(Database(mover.server, mover.name))
    former = open_session(parameters)
    take_runner_lock(former)
    left = mark_session(open_session(parameters), former)
    former.close()
    left.execute("BEGIN; UPDATE public.users SET name = 'half' WHERE id = 1")
    code, _, told = mover.call("resume", "--until", "prepare")
    assert (code, "ends a session of a run that is dead" in told) == (0, True), told
    with pytest.raises(psycopg.OperationalError):
        left.execute("COMMIT")
    left.close()


def test_a_run_that_slept_while_another_took_its_place_does_nothing_more(mover: Mover) -> None:
    with mover.running("run", GATE_SECONDS="1") as run:
        run.await_line("phase prepare")
        run.signal(signal.SIGSTOP)
        mover.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks"
            " WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
        )
        code, _, told = mover.call("run", "--until", "prepare")
        assert (code, "ends a session of a run that is dead" in told) == (0, True), told
        run.signal(signal.SIGCONT)
        assert run.wait() == 5
    assert "phase infrastructure" not in run.told
    assert "next: phasegate migrate resume" in run.told
