"""The cache's figures from a real server: true through restart and reset, unmoved by ourselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

SERVER = ("cache", "server")
KEYS = 100_000
WITHOUT_SQL = "SELECT 1"
COLLECTIONS = 10_000


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


def fill_keys(server: CacheServer, prefix: str, count: int) -> None:
    with redis.Redis.from_url(server.url()) as client:
        client.mset({f"{prefix}{number}": "x" * 50 for number in range(count)})


async def test_hits_and_lookups_are_joined_through_restart_and_reset(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    assert counted(await scrape(exporter)) == (0, 0)
    look_up(own_cache, hits=9, misses=1)
    assert counted(await scrape(exporter)) == (10, 9)
    before_reset = value_of(await scrape(exporter), metrics.SOURCE_EPOCH, "cache")
    with redis.Redis.from_url(own_cache.url()) as client:
        client.config_resetstat()
    look_up(own_cache, hits=2, misses=1)
    assert counted(await scrape(exporter)) == (13, 11)
    epoch = value_of(await scrape(exporter), metrics.SOURCE_EPOCH, "cache")
    assert epoch != before_reset
    own_cache.restart()
    look_up(own_cache, hits=1, misses=1)
    await scrape(exporter)  # may meet the closed connection
    after = await scrape(exporter)
    assert counted(after) == (15, 12)
    assert value_of(after, metrics.SOURCE_EPOCH, "cache") != epoch


async def test_our_own_commands_move_nothing(exporter: Exporter, own_cache: CacheServer) -> None:
    look_up(own_cache, hits=3, misses=1)
    await exporter.stop()  # a run of its own would meet these on their one connection
    with redis.Redis.from_url(own_cache.url()) as client:
        before = client.info("stats")
        for _ in range(COLLECTIONS):
            await exporter.runner.collectors["cache"].collect(5)
        await exporter.runner.run_scheduled(5)
        after = client.info("stats")
    assert after["total_commands_processed"] - before["total_commands_processed"] > COLLECTIONS
    for name in ("keyspace_hits", "keyspace_misses"):
        assert before[name] == after[name]


async def test_keys_of_the_prefix_are_counted_without_keys(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    with redis.Redis.from_url(own_cache.url()) as client:
        client.config_set("slowlog-log-slower-than", 0)
        client.config_set("slowlog-max-len", 10_000)
        client.mset({f"perm:{i}": "x" * 50 for i in range(KEYS)} | {"other:1": "y"})
        await exporter.runner.run_scheduled(5)
        snapshot = await scrape(exporter)
        assert value_of(snapshot, metrics.CACHE_KEYS, "perm:") == KEYS
        sample = client.memory_usage("perm:1000")
        estimate = value_of(snapshot, metrics.CACHE_KEYS_BYTES, "perm:")
        assert estimate == pytest.approx(KEYS * sample, rel=0.1)
        assert not [
            e for e in client.slowlog_get(10_000) if e["command"].upper().startswith(b"KEYS")
        ]


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


async def test_a_server_that_takes_over_brings_nothing_of_its_own_past(
    start_exporter: StartExporter, tmp_path: Path
) -> None:
    url_file = tmp_path / "url"
    with CacheServer() as first, CacheServer() as second:
        look_up(second, hits=500, misses=100)
        url_file.write_text(first.url(), encoding="utf-8")
        exporter = await start_exporter(WITHOUT_SQL, f"cache: {{url_file: {url_file}}}\n")
        look_up(first, hits=4, misses=2)
        await scrape(exporter)
        look_up(first, hits=4, misses=2)
        before = counted(await scrape(exporter))
        await asyncio.sleep(3.2)  # uptimes are whole seconds
        assert counted(await scrape(exporter)) == before
        first.stop()
        url_file.write_text(second.url(), encoding="utf-8")
        assert counted(await scrape(exporter)) == before
        assert counted(await scrape(exporter)) == before
        look_up(second, hits=3, misses=1)
        assert counted(await scrape(exporter)) == (before[0] + 4, before[1] + 3)


@pytest.mark.parametrize(
    ("secret", "reason"), [("wrong", "authentication"), (None, "secret")], ids=["wrong", "no file"]
)
async def test_a_password_is_read_anew_and_its_fault_has_a_name(
    start_exporter: StartExporter, tmp_path: Path, secret: str | None, reason: str
) -> None:
    password_file = tmp_path / "password"
    if secret is not None:
        password_file.write_text(secret, encoding="utf-8")
    with CacheServer(password="right") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        exporter = await start_exporter(
            WITHOUT_SQL, f"cache: {{url: '{url}', password_file: {password_file}}}\n"
        )
        down = await scrape(exporter)
        assert value_of(down, metrics.UP, "cache") == 0
        assert ("cache", reason) in labels_of(down, metrics.COLLECTOR_ERRORS)
        assert ("cache_keys", reason) in labels_of(down, metrics.COLLECTOR_ERRORS)
        password_file.write_text("right", encoding="utf-8")
        assert value_of(await scrape(exporter), metrics.UP, "cache") == 1


async def test_a_cache_that_is_down_at_the_start_is_unreachable(
    exporter: Exporter, own_cache: CacheServer
) -> None:
    own_cache.stop()
    down = await scrape(exporter)
    assert value_of(down, metrics.UP, "cache") == 0
    assert ("cache", "unreachable") in labels_of(down, metrics.COLLECTOR_ERRORS)
    assert ("cache", "internal") not in labels_of(down, metrics.COLLECTOR_ERRORS)
    own_cache.start()
    assert value_of(await scrape(exporter), metrics.UP, "cache") == 1


async def test_a_scan_over_its_budget_gives_no_figure_and_says_so(
    start_exporter: StartExporter, own_cache: CacheServer
) -> None:
    fill_keys(own_cache, "perm:", 50_000)
    exporter = await start_exporter(
        WITHOUT_SQL,
        f"cache: {{url: '{own_cache.url()}'}}\nexporter: {{cache_scan_budget: 10ms}}\n",
    )
    await exporter.runner.run_scheduled(5)
    snapshot = await scrape(exporter)
    assert value_of(snapshot, metrics.COLLECTOR_SUCCESS, "cache_keys") == 0
    assert ("cache_keys", "budget") in labels_of(snapshot, metrics.COLLECTOR_ERRORS)
    assert not labels_of(snapshot, metrics.CACHE_KEYS)
    assert value_of(snapshot, metrics.UP, "cache") == 1


async def test_at_most_two_connections(exporter: Exporter, own_cache: CacheServer) -> None:
    fill_keys(own_cache, "perm:", 20_000)
    with redis.Redis.from_url(own_cache.url()) as client:
        scan = asyncio.create_task(exporter.runner.run_scheduled(5))
        for _ in range(10):
            await asyncio.gather(*(scrape(exporter) for _ in range(3)))
            ours = [c for c in client.client_list() if c["name"] == "phasegate-exporter"]
            assert 1 <= len(ours) <= 2
        await scan
        await exporter.stop()
        assert not [c for c in client.client_list() if c["name"] == "phasegate-exporter"]
