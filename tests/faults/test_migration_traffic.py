"""The statements of both applications while a whole migration goes on: none fails, none waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from phasegate.demo import store
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.underway import Mover, copy_template, make_template

LONGEST_STATEMENT, LONGEST_HOLD = 2.0, 0.2
KEYS = "SELECT {key} FROM users WHERE {key} IS NOT NULL ORDER BY id LIMIT 500"
HAS_UUIDS = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.users'::regclass"
    " AND attname = 'uuid') AND to_regclass('public.audit_logs') IS NOT NULL"
)


@pytest.fixture(params=[18, pytest.param(15, marks=pytest.mark.long)])
def mover(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mover]:
    """On each supported server in turn."""
    server: PostgresServer = request.getfixturevalue(f"postgres{request.param}")
    make_template(server)
    copy_template(server, "whole")
    yield Mover(server, "whole", tmp_path)
    server.drop_database("whole")
    server.drop_database("legacy")


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
    assert "  prove that public.users.uuid is not null" in told
    assert "longest lock wait of others: " in told
    assert "longest hold of ACCESS EXCLUSIVE: " in told
    [[missing]] = mover.execute("SELECT count(*) FROM users WHERE uuid IS NULL")
    assert missing == 0
