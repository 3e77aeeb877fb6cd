"""Servers that may be hurt, a proxy before each, and an exporter that measures them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import CANARY, CONFIG, ROLE, Scene, prepare, running, through
from tests.fixtures.proxy import Proxy


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module's tests; each leaves it as it found it. Four connections are free."""
    with PostgresServer(settings={"fsync": False, "max_connections": 12}) as started:
        prepare(started)
        yield started


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(server.port) as started:
        yield started


@pytest.fixture
async def direct_scene(
    server: PostgresServer, cache_server: CacheServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    """The same without a proxy, which would end a session for us before the server does."""
    environ = {"DATABASE_URL": server.conninfo("postgres", ROLE, CANARY)}
    environ["REDIS_URL"] = cache_server.url()
    async with running(tmp_path, CONFIG, environ) as exporter:
        made = Scene(exporter, server)
        await made.whole_soon()
        await made.probes_go_on()
        yield made


@pytest.fixture
async def scene(
    server: PostgresServer, proxy: Proxy, cache_server: CacheServer, tmp_path: Path
) -> AsyncIterator[Scene]:
    """An exporter that has measured everything once."""
    environ = {"DATABASE_URL": through(proxy, server), "REDIS_URL": cache_server.url()}
    async with running(tmp_path, CONFIG, environ) as exporter:
        made = Scene(exporter, server, proxy)
        await made.whole_soon()
        await made.probes_go_on()
        yield made
