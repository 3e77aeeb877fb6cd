"""Behind a pooler in transaction mode each question may meet another server process."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from phasegate.exporter.backends import Backends, Conninfo
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present

POOLER = """
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
"""
ROUNDS = 6


@contextmanager
def _pooler(database: Database, folder: Path) -> Iterator[str]:
    """The address of a pooler in front of the database."""
    require_present("pgbouncer", shutil.which("pgbouncer") is not None)
    server, port = database.server, free_port()
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"postgres" "{server.password}"\n', encoding="utf-8")
    config.write_text(POOLER.format(server=server, port=port, users=users), encoding="utf-8")
    # It refuses to be root.
    command = ["pgbouncer", "-q", "-u", "nobody", str(config)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        url = database.conninfo().replace(f":{server.port}/", f":{port}/")
        try:
            _await_answer(url)
            yield url
        finally:
            process.terminate()


def _await_answer(url: str) -> None:
    for _ in range(100):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the pooler does not answer")


@pytest.fixture
async def pooled(database: Database, tmp_path: Path) -> AsyncIterator[Backends]:
    with _pooler(database, tmp_path) as url:
        backends = Backends(_keywords(url), 3, 5)
        yield backends
        await backends.close()


@pytest.fixture
async def direct(database: Database) -> AsyncIterator[Backends]:
    backends = Backends(_keywords(database.conninfo()), 1, 5)
    yield backends
    await backends.close()


def _keywords(url: str) -> Conninfo:
    async def conninfo() -> dict[str, str]:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}

    return conninfo


async def _ask(backends: Backends) -> list[str]:
    """Several times the same question; what the server process holds prepared at the end."""
    async with backends.session("test", 5) as session:
        for number in range(ROUNDS):
            assert await session.rows("SELECT %(n)s::int4", {"n": number}) == [(number,)]
        prepared = await session.rows("SELECT statement FROM pg_prepared_statements")
        return [text for (text,) in prepared]


async def test_nothing_is_prepared_behind_a_pooler(pooled: Backends) -> None:
    assert await _ask(pooled) == []


async def test_what_is_asked_often_is_prepared(direct: Backends) -> None:
    assert "SELECT $1::int4" in await _ask(direct)
