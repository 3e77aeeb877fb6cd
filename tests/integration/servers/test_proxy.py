"""The proxy with which faults of the network are made."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest

from phasegate.servers.postgres import PostgresServer
from tests.fixtures.proxy import Proxy


@pytest.fixture
def proxy(postgres18: PostgresServer) -> Iterator[Proxy]:
    """A proxy before PostgreSQL 18."""
    with Proxy(postgres18.port) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: Proxy, postgres18: PostgresServer) -> str:
    """The URI of the server as seen through the proxy."""
    direct = postgres18.conninfo(connect_timeout=2)
    return direct.replace(f":{postgres18.port}/", f":{proxy.port}/")


def test_it_passes_on(proxy: Proxy, behind: str) -> None:
    with psycopg.connect(behind) as connection:
        [row] = connection.execute("select repeat('x', 1000000)").fetchall()
        assert len(row[0]) == 1_000_000
        assert proxy.connections == 1
    deadline = time.monotonic() + 5
    while proxy.connections:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_refuses_the_new_and_spares_the_old(proxy: Proxy, behind: str) -> None:
    with psycopg.connect(behind) as connection:
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(behind)
        assert connection.execute("select 1").fetchone() == (1,)
    proxy.pass_on()
    psycopg.connect(behind).close()


def test_a_black_hole_accepts_and_answers_nothing(proxy: Proxy, behind: str) -> None:
    proxy.blackhole()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        psycopg.connect(behind)


def test_what_a_black_hole_held_back_arrives_later(proxy: Proxy, behind: str) -> None:
    with psycopg.connect(behind) as connection:
        proxy.blackhole()
        connection.pgconn.send_query(b"select 1")
        connection.pgconn.flush()
        time.sleep(0.2)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        proxy.pass_on()
        deadline = time.monotonic() + 5
        # get_result() would wait with the interpreter locked, and the proxy is a thread of ours.
        while connection.pgconn.is_busy():
            assert time.monotonic() < deadline
            time.sleep(0.01)
            connection.pgconn.consume_input()
        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"1"
        assert connection.pgconn.get_result() is None


def test_a_cut_resets_standing_connections_and_no_new_ones(proxy: Proxy, behind: str) -> None:
    with psycopg.connect(behind) as connection:
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    psycopg.connect(behind).close()


def test_a_server_that_is_gone_ends_the_connection() -> None:
    with (
        Proxy(1) as proxy,
        pytest.raises(psycopg.OperationalError),
    ):
        psycopg.connect(f"postgresql://127.0.0.1:{proxy.port}/x?connect_timeout=5")
