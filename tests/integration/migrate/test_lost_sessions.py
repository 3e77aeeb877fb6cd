"""A session that the server ends is a reason to stop, resumable, and never a failed step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from phasegate.contract.errors import Interrupted
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.migrate.control import end_earlier_sessions, mark_session, take_runner_lock
from phasegate.migrate.journal import Journal, mend_file, read_file
from phasegate.migrate.model import Patience
from phasegate.migrate.opening import reconcile
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.sessions import interrupting, is_lost, open_session
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters, open_migrating

T = TableName("public", "t")


def await_true(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        time.sleep(0.02)
    raise AssertionError(holds)


def is_taken(lock: psycopg.Connection[Any]) -> bool:
    with suppress(Interrupted):
        take_runner_lock(lock)
        return True
    return False


def end(database: Database, pid: int) -> None:
    database.execute(f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_session_that_was_ended_is_told_from_a_statement_that_failed(
    any_database: Database,
) -> None:
    session = open_session(connect_parameters(any_database))
    with pytest.raises(psycopg.Error) as failed, interrupting():
        session.execute("SELECT 1 / 0")
    assert not is_lost(failed.value)
    end(any_database, session.info.backend_pid)
    with pytest.raises(Interrupted, match="our session: terminating"), interrupting():
        session.execute("SELECT 1")
    with pytest.raises(Interrupted, match="the connection is closed"), interrupting():
        session.execute("SELECT 1")


def test_one_worker_that_lost_its_session_stops_the_other(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute(
        "CREATE TABLE t (id integer, filler text);"
        "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 4000) AS n"
    )
    monkeypatch.setattr("phasegate.migrate.ranges.FIRST_PAGES", 1)
    monkeypatch.setattr("phasegate.migrate.ranges.MOST_PAGES", 1)
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        migrating.apply(UuidColumn(T, "uuid"))

        made: list[psycopg.Connection[Any]] = []

        def connect(patience: Patience) -> psycopg.Connection[Any]:
            made.append(open_session(connect_parameters(database), patience))
            return made[-1]

        def cut(*_: object) -> None:
            # One counts, two work: one of those is ended.
            if len(made) == 3 and not ended:
                ended.append(made[2].info.backend_pid)
                end(database, ended[0])

        ended: list[int] = []
        with pytest.raises(psycopg.OperationalError):
            migrating.apply(Backfill(T, "uuid"), connect=connect, report=cut)
        [[pieces]] = database.execute("SELECT count(*) FROM phasegate.pieces")
        assert pieces < 100
        migrating.apply(Backfill(T, "uuid"))
    assert database.execute("SELECT count(*) FROM t WHERE uuid IS NULL") == [(0,)]
    assert database.execute("SELECT sum(rows)::int FROM phasegate.pieces") == [(4000,)]


def test_what_a_dead_run_left_at_work_is_ended_and_told(any_database: Database) -> None:
    parameters = connect_parameters(any_database)
    any_database.execute("CREATE TABLE t (id integer)")
    former = open_session(parameters)
    take_runner_lock(former)
    dead = mark_session(open_session(parameters), former)
    former.close()
    pid, failures = dead.info.backend_pid, list[str]()

    def work() -> None:
        try:
            dead.execute("SELECT pg_sleep(60)")
        except psycopg.OperationalError as error:
            failures.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    said: list[str] = []
    with open_session(parameters) as lock, open_session(parameters) as stranger:
        await_true(partial(is_taken, lock))
        with pytest.raises(Interrupted, match="lock of the one runner is gone"):
            mark_session(open_session(parameters), stranger)
        began = time.monotonic()
        end_earlier_sessions(lock, said.append)
        assert time.monotonic() - began < 5
        stranger.execute("SELECT 1")
    thread.join()
    assert ["terminating connection" in failure for failure in failures] == [True]
    # The session of the lock that was closed may not have ended yet, and is told then, too.
    assert any(f"pid {pid}, since" in line for line in said)


def test_a_line_of_the_journal_that_was_cut_does_not_spoil_the_next(
    database: Database, tmp_path: Path
) -> None:
    with open_session(connect_parameters(database)) as connection:
        journal = Journal(connection, tmp_path, "1/1/db")
        mend_file(journal.file)
        journal.open()
        for what in ("one", "two"):
            journal.write(Event.CHECKED, what=what)
        whole = journal.file.read_bytes()
        journal.file.write_bytes(whole[:-30])
        reconcile(journal)
        assert [entry.what for entry in read_file(journal.file)] == ["one", "two"]
        journal.write(Event.CHECKED, what="three")
        assert [entry.what for entry in read_file(journal.file)] == ["one", "two", "three"]


def test_a_full_disk_beside_the_backups_is_told_and_nothing_is_lost(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    with open_session(connect_parameters(database)) as connection:
        journal = Journal(connection, folder, "1/1/db")
        journal.open()
        folder.write_text("a file where the folder should be")
        with pytest.raises(Interrupted, match=r"cannot be written: .*journal\.jsonl: .*exists"):
            journal.write(Event.CHECKED, what="one")
        folder.unlink()
        reconcile(journal)
        assert [entry.what for entry in read_file(journal.file)] == ["one"]
