"""The cache's figures from a real server: true through restart and reset, unmoved by ourselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.snapshots import value_of

SERVER = ("cache", "server")


@pytest.fixture
async def exporter(database: Database, own_cache: CacheServer) -> AsyncIterator[Exporter]:
    environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": own_cache.url()}
    made = Exporter(lambda: load_settings(None, environ))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def own_cache() -> Iterator[CacheServer]:
    with CacheServer() as server:
        yield server


def look_up(server: CacheServer, hits: int, misses: int) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.set("perm:known", "yes")
        for _ in range(hits):
            client.get("perm:known")
        for _ in range(misses):
            client.get("perm:unknown")


def counted(snapshot: Snapshot) -> tuple[float, float]:
    return (
        value_of(snapshot, metrics.CACHE_REQUESTS, *SERVER),
        value_of(snapshot, metrics.CACHE_HITS, *SERVER),
    )


async def scrape(exporter: Exporter) -> Snapshot:
    return await exporter.scrape(5, frozenset())


async def test_hits_and_lookups_are_joined_through_restart_and_reset(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    assert counted(await scrape(exporter)) == (0, 0)
    look_up(own_cache, hits=9, misses=1)
    assert counted(await scrape(exporter)) == (10, 9)
    with redis.Redis.from_url(own_cache.url()) as client:
        client.config_resetstat()
    look_up(own_cache, hits=2, misses=1)
    assert counted(await scrape(exporter)) == (13, 11)
    epoch = value_of(await scrape(exporter), metrics.SOURCE_EPOCH, "cache")
    own_cache.restart()
    look_up(own_cache, hits=1, misses=1)
    await scrape(exporter)  # may meet the closed connection
    after = await scrape(exporter)
    assert counted(after) == (15, 12)
    assert value_of(after, metrics.SOURCE_EPOCH, "cache") != epoch


async def test_our_own_commands_move_nothing(exporter: Exporter, own_cache: CacheServer) -> None:
    look_up(own_cache, hits=3, misses=1)
    with redis.Redis.from_url(own_cache.url()) as client:
        before = client.info("stats")
        for _ in range(200):
            await exporter.scrape(5, frozenset({"cache"}))
        await exporter.runner.run_scheduled(5)
        after = client.info("stats")
    for name in ("keyspace_hits", "keyspace_misses"):
        assert before[name] == after[name]


async def test_keys_of_the_prefix_are_counted_without_keys(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    with redis.Redis.from_url(own_cache.url()) as client:
        client.config_set("slowlog-log-slower-than", 0)
        client.mset({f"perm:{i}": "x" * 50 for i in range(3000)} | {"other:1": "y"})
        await exporter.runner.run_scheduled(5)
        snapshot = await scrape(exporter)
        assert value_of(snapshot, metrics.CACHE_KEYS, "perm:") == 3000
        sample = client.memory_usage("perm:1000")
        estimate = value_of(snapshot, metrics.CACHE_KEYS_BYTES, "perm:")
        assert estimate == pytest.approx(3000 * sample, rel=0.1)
        assert not [e for e in client.slowlog_get(5000) if e["command"].upper().startswith(b"KEYS")]


async def test_a_stopped_or_frozen_cache_is_down_alone_and_comes_back_whole(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    look_up(own_cache, hits=1, misses=0)
    await scrape(exporter)
    look_up(own_cache, hits=4, misses=1)
    before = counted(await scrape(exporter))
    own_cache.freeze()
    frozen = await exporter.scrape(1, frozenset())
    own_cache.thaw()
    own_cache.stop()
    stopped = await scrape(exporter)
    for down in (frozen, stopped):
        assert value_of(down, metrics.UP, "cache") == 0
        assert value_of(down, metrics.UP, "database") == 1
        assert counted(down) == before
        assert not [s for s in down.samples if s.metric is metrics.CACHE_MEMORY]
    own_cache.start()
    whole = await scrape(exporter)
    assert value_of(whole, metrics.UP, "cache") == 1
    assert value_of(whole, metrics.CACHE_MEMORY) > 0
