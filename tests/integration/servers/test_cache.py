"""The throw-away cache: it starts, keeps its keys where told, and fails as tests need."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers import ports
from phasegate.servers.cache import CacheServer, find_cache_server
from phasegate.servers.home import ServerTls
from tests.fixtures.presence import require_present

HOSTILE = 'p@ss "w\\o:/?#%\nü'


@pytest.fixture(params=[None, "redis-server"], ids=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> str | None:
    """Each supported server in turn."""
    name: str | None = request.param
    require_present(name or "valkey-server", find_cache_server(name) is not None)
    return name


@pytest.fixture
def cache(binary: str | None) -> Iterator[CacheServer]:
    """A running server of one test, which may stop it."""
    with CacheServer(binary=binary, password=HOSTILE) as server:
        yield server


# Its own default tries a refused password again for seconds.
AT_ONCE = Retry(NoBackoff(), 0)


def _ask(server: CacheServer) -> redis.Redis:
    return redis.Redis.from_url(server.url(), socket_timeout=2, retry=AT_ONCE)


def test_it_answers_with_the_password_and_not_without(cache: CacheServer) -> None:
    with _ask(cache) as client:
        assert client.ping() is True
    with (
        redis.Redis(port=cache.port, retry=AT_ONCE) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_it_answers_on_its_socket(cache: CacheServer) -> None:
    with redis.Redis(unix_socket_path=str(cache.socket_path), password=HOSTILE) as client:
        assert client.ping() is True


def test_a_restart_is_a_new_run_on_the_same_port(cache: CacheServer) -> None:
    port, pid = cache.port, cache.pid
    with _ask(cache) as client:
        client.set("a", 1)
        before = client.info("server")["run_id"]
    cache.restart()

    with _ask(cache) as client:
        assert client.info("server")["run_id"] != before
        assert client.get("a") is None
    assert cache.port == port
    assert cache.pid != pid


def test_persistent_keys_outlive_a_restart_and_a_kill(binary: str | None) -> None:
    with CacheServer(binary=binary, persistent=True) as server:
        with _ask(server) as client:
            client.set("a", 1)
        server.restart()
        with _ask(server) as client:
            assert client.get("a") == b"1"
            client.set("a", 2)
        server.kill()
        server.start()
        with _ask(server) as client:
            assert client.get("a") == b"2"


def test_a_frozen_server_says_nothing_until_it_thaws(cache: CacheServer) -> None:
    cache.freeze()
    with socket.create_connection(("127.0.0.1", cache.port), 2) as connection:
        connection.sendall(b"PING\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        cache.thaw()
        connection.settimeout(5)
        assert connection.recv(64).startswith(b"-NOAUTH")


def test_a_stopped_server_refuses(cache: CacheServer) -> None:
    cache.stop()
    with _ask(cache) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    with pytest.raises(RuntimeError, match="not running"):
        cache.stop()


def test_settings_reach_the_server(binary: str | None) -> None:
    with CacheServer(binary=binary, settings={"maxmemory": 7_000_000, "databases": 3}) as server:
        with _ask(server) as client:
            assert client.config_get("maxmemory") == {"maxmemory": "7000000"}
        with redis.Redis.from_url(server.url(db=2)) as client:
            client.set("a", 1)
            assert client.info("keyspace").keys() == {"db2"}


def test_tls_is_spoken_where_it_is_set(server_tls: ServerTls) -> None:
    require_present("redis-server", find_cache_server("redis-server") is not None)
    with CacheServer(binary="redis-server", tls=server_tls) as server:
        assert server.url().startswith("rediss://")
        with redis.Redis.from_url(server.url(), ssl_ca_certs=str(server_tls.ca)) as client:
            assert client.ping() is True
        with (
            redis.Redis(port=server.port, retry=AT_ONCE) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.ping()


def test_a_failed_start_says_why_and_leaves_nothing(binary: str | None) -> None:
    server = CacheServer(binary=binary, settings={"maxmemory": "many"}, password=HOSTILE)
    with pytest.raises(ServerStartFailed, match="maxmemory") as failed, server:
        pass

    assert HOSTILE[:4] not in str(failed.value)
    assert not server.socket_path.parent.parent.exists()


def test_a_binary_that_is_nowhere_is_named() -> None:
    with pytest.raises(ServerStartFailed, match="no-such-server"):
        CacheServer(binary="no-such-server")


def test_a_port_taken_meanwhile_is_left_alone(
    binary: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = ports.free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(ports, "free_port", lambda: next(offered))
        with CacheServer(binary=binary) as server:
            assert server.port == free
