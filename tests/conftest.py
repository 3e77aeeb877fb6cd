"""Fixtures of the real servers: one of each for a test process, a fresh database for a test.

A test whose server is not installed is skipped by that server's name; with PHASEGATE_REQUIRE=all
it fails instead. `require_present` is the one place of that rule.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from phasegate.servers.cache import CacheServer, find_cache_server
from phasegate.servers.home import ServerTls
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present

MAJORS = (18, 15)
# The data of a test need not survive a power failure; it survives every kill all the same.
# Maintenance comes where a test asks for it, and not when a busy machine gets to it.
SETTINGS = {"fsync": False, "max_prepared_transactions": 10, "autovacuum": False}
_database_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres18() -> Iterator[PostgresServer]:
    """PostgreSQL 18 of the wheel, without TLS."""
    yield from _run_postgres(18)


@pytest.fixture(scope="session")
def postgres15() -> Iterator[PostgresServer]:
    """PostgreSQL 15 of Debian."""
    yield from _run_postgres(15)


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"postgres{major}")
def any_postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Each supported server in turn."""
    server = request.getfixturevalue(f"postgres{request.param}")
    assert isinstance(server, PostgresServer)
    return server


@pytest.fixture
def database(postgres18: PostgresServer) -> Iterator[Database]:
    """A fresh database on PostgreSQL 18."""
    yield from _make_database(postgres18)


@pytest.fixture
def any_database(any_postgres: PostgresServer) -> Iterator[Database]:
    """A fresh database on each supported server in turn."""
    yield from _make_database(any_postgres)


@pytest.fixture(scope="session")
def cache_server() -> Iterator[CacheServer]:
    """Valkey of the wheel, without a password; all tests of a process share its keys."""
    require_present("valkey-server", find_cache_server() is not None)
    with CacheServer() as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that only these tests know."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ServerTls:
    """A certificate for localhost and 127.0.0.1 of that authority, as files."""
    folder: Path = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = ServerTls(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    issued.cert_chain_pems[0].write_to_path(str(files.cert))
    issued.private_key_pem.write_to_path(str(files.key))
    assert files.ca is not None
    authority.cert_pem.write_to_path(str(files.ca))
    return files


def _run_postgres(major: int) -> Iterator[PostgresServer]:
    require_present(f"PostgreSQL {major}", find_postgres(major) is not None)
    with PostgresServer(major, settings=SETTINGS) as server:
        yield server


def _make_database(server: PostgresServer) -> Iterator[Database]:
    name = f"test_{os.getpid()}_{next(_database_numbers)}"
    server.create_database(name)
    yield Database(server, name)
    server.drop_database(name)
