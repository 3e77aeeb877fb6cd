"""A sentinel group fails over: the counters follow the new master, without spike or dip."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from phasegate.contract import metrics
from phasegate.exporter.app import Exporter
from phasegate.servers.cache import CacheServer, find_cache_server
from phasegate.servers.ports import free_port
from tests.fixtures.snapshots import value_of
from tests.integration.exporter.conftest import StartExporter
from tests.integration.exporter.test_cache import WITHOUT_SQL, counted, look_up, scrape

GROUP = "perm"
CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {group} 127.0.0.1 {master} 1
sentinel down-after-milliseconds {group} 1000
sentinel failover-timeout {group} 5000
"""


@contextmanager
def _sentinel(master: CacheServer, folder: Path) -> Iterator[int]:
    port, file = free_port(), folder / "sentinel.conf"
    text = CONFIG.format(port=port, folder=folder, group=GROUP, master=master.port)
    file.write_text(text, encoding="utf-8")
    command = [str(find_cache_server()), str(file), "--sentinel"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield port
        finally:
            process.kill()


def _until(what: str, holds: Callable[[], bool]) -> None:
    for _ in range(200):
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        time.sleep(0.1)
    pytest.fail(f"not within 20 s: {what}")


def _replicates(master: CacheServer) -> bool:
    """Else the sentinel would look for replicas again only after ten seconds."""
    return "online" in _command(master.port, "INFO", "replication")


def _is_replica(server: CacheServer) -> bool:
    return "slave" in _command(server.port, "ROLE")


def _command(port: int, *words: str) -> str:
    with redis.Redis(port=port, decode_responses=True) as client:
        return str(client.execute_command(*words))


def _knows_replica(port: int) -> bool:
    return "master-link-status" in _command(port, "SENTINEL", "REPLICAS", GROUP)


async def test_counters_go_on_through_a_failover(
    start_exporter: StartExporter, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(CacheServer())
        second = stack.enter_context(CacheServer(settings={"replicaof": f"127.0.0.1 {first.port}"}))
        await asyncio.to_thread(_until, "a link", lambda: _replicates(first))
        port = stack.enter_context(_sentinel(first, tmp_path))
        await asyncio.to_thread(_until, "replica known", lambda: _knows_replica(port))
        url = f"redis+sentinel://127.0.0.1:{port}/{GROUP}"
        exporter = await start_exporter(WITHOUT_SQL, f'cache: {{url: "{url}"}}\n')
        await scrape(exporter)
        await asyncio.to_thread(look_up, first, 4, 2)
        before = counted(await scrape(exporter))
        await asyncio.to_thread(_command, port, "SENTINEL", "FAILOVER", GROUP)
        # Only then does the sentinel cut the clients of the old master.
        await asyncio.to_thread(_until, "a replica", lambda: _is_replica(first))
        await _until_up(exporter)
        assert counted(await scrape(exporter)) == before
        await asyncio.to_thread(look_up, second, 3, 1)
        assert counted(await scrape(exporter)) == (before[0] + 4, before[1] + 3)


async def _until_up(exporter: Exporter) -> None:
    for _ in range(100):
        snapshot = await scrape(exporter)
        if value_of(snapshot, metrics.UP, "cache") == 1:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the cache stayed down")
