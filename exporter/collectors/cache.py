"""The cache: hits and lookups as its server counts them, its state, and its keys.

The server's counters are for the whole node, and restart with it and with CONFIG RESETSTAT; they
are joined, not passed on. INFO, SCAN, DBSIZE and MEMORY USAGE leave them where they are; GET,
TTL and EXISTS would move the very ratio that is measured, so they are never sent.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis

from phasegate.contract import metrics
from phasegate.contract.connection import cache_address
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.settings_connection import Cache
from phasegate.exporter.cache_client import close_cache, open_cache, told_apart
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import source_of
from phasegate.exporter.joined import Joined
from phasegate.exporter.runner import Collector
from phasegate.exporter.single_flight import SingleFlight
from phasegate.exporter.targets import Identity, Target
from phasegate.exporter.wiring import Wiring

SCAN_COUNT = 500
SIZES_AT_ONCE = 100
SAMPLED_KEYS = 1_000


class CacheServerState(Collector):
    """INFO of the cache's server, once a scrape."""

    name = "cache"

    def __init__(self, target: Target, cache: Cache, wiring: Wiring) -> None:
        # Not `target`: this collector itself decides whether the cache is up.
        self._subject = target
        self._environment = wiring.settings.environment
        self._read_address = SingleFlight(partial(cache_address, cache, target.name))
        self._counters: Counters = wiring.counters
        self._limit = wiring.settings.exporter.connect_timeout
        self._evidence = wiring.evidence
        self._joined = Joined()
        self._client: Redis | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with told_apart(self.name), asyncio.timeout(timeout):
            if self._client is None:
                address = await self._read_address()
                self._client = open_cache(address, min(timeout, self._limit))
                self._address, self._database = address.identity, address.database
            info: dict[str, Any] = await self._client.info()
        if info.get("loading"):  # INFO is answered meanwhile, everybody else is refused
            raise CollectError(self.name, "loading", "it loads its data from disk")
        self._count(info)
        self._subject.up = True
        return self._gauges(info)

    def _count(self, info: Mapping[str, Any]) -> None:
        hits, misses = int(info["keyspace_hits"]), int(info["keyspace_misses"])
        now, run = time.time(), str(info["run_id"])
        # The last two betray a reset also where the lookups have overtaken it.
        shown = (
            *(hits + misses, hits, int(info["evicted_keys"])),
            *(int(info["total_commands_processed"]), int(info["total_connections_received"])),
        )
        gained = self._joined.advance(
            "server", run, shown, time=now, began=now - int(info["uptime_in_seconds"])
        )
        labels = (self._subject.name, "server")
        self._counters.add(metrics.CACHE_REQUESTS, gained[0], *labels)
        self._counters.add(metrics.CACHE_HITS, gained[1], *labels)
        self._counters.add(metrics.CACHE_EVICTED, gained[2], self._subject.name)
        self._subject.identity = Identity(
            system_identifier=self._address,
            timeline=0,
            database=str(self._database),
            role=str(info["role"]),
            # A reset leaves the run's id alone.
            epoch=f"{run}/{self._joined.restarts('server')}",
            version_text=str(info.get("valkey_version") or info["redis_version"]),
        )
        # At each reading, also without a lookup: a block without counts is measured idleness.
        self._evidence.count(
            "cache_hit_rate", *labels, source_of(self._subject), total=gained[0], good=gained[1]
        )

    def _gauges(self, info: Mapping[str, Any]) -> list[Sample]:
        name, identity = self._subject.name, self._subject.identity
        assert identity is not None
        server = str(info.get("server_name") or "redis")
        return [
            metrics.TARGET_INFO(
                1,
                name,
                self._environment,
                identity.system_identifier,
                str(identity.timeline),
                identity.database,
                identity.role,
            ),
            metrics.SOURCE_EPOCH(identity.epoch_number, name),
            metrics.CACHE_INFO(1, identity.version_text, server, identity.role),
            metrics.CACHE_CLIENTS(float(info["connected_clients"])),
            metrics.CACHE_MEMORY(float(info["used_memory"])),
            metrics.CACHE_MEMORY_LIMIT(float(info.get("maxmemory", 0))),
            metrics.CACHE_PERSISTENCE(float(info.get("aof_enabled", 0)), "aof"),
            metrics.CACHE_PERSISTENCE(
                float(info.get("rdb_last_bgsave_status") == "ok"), "rdb_last_save_ok"
            ),
        ]

    def missed(self) -> None:
        self._subject.up = False
        # The password may have been rotated, the master moved: the next run connects anew.
        client, self._client = self._client, None
        if client is not None:
            task = asyncio.create_task(close_cache(client))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def kept(self) -> Sequence[Sample]:
        up = metrics.UP(float(self._subject.up), self._subject.name)
        evicted = self._counters.samples([metrics.CACHE_EVICTED])
        lookups = self._counters.samples((metrics.CACHE_REQUESTS, metrics.CACHE_HITS))
        return [up, *evicted, *(sample for sample in lookups if sample.labels[1] == "server")]

    def dump(self) -> Any:
        return self._joined.dump()

    def restore(self, data: Any) -> None:
        self._joined.restore(data)

    async def stop(self) -> None:
        await asyncio.gather(*self._closing, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await close_cache(client)


class CacheKeys(Collector):
    """Keys of the permission cache and their bytes, by SCAN and MEMORY USAGE, now and then."""

    name = "cache_keys"

    def __init__(self, target: Target, cache: Cache, wiring: Wiring) -> None:
        self.target = target
        self._cache = cache
        self._read_address = SingleFlight(partial(cache_address, cache, target.name))
        self._limit = wiring.settings.exporter.connect_timeout
        self._scan_seconds = wiring.settings.exporter.cache_scan_budget
        self.interval = wiring.settings.exporter.cache_scan_interval
        self.budget = self._scan_seconds + self._limit

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with told_apart(self.name), asyncio.timeout(timeout):
            address = await self._read_address()
            client = open_cache(address, min(timeout, self._limit))
            try:
                keys = await self._scan(client)
                sizes = await _fetch_sizes(client, list(keys)[:SAMPLED_KEYS])
            finally:
                await close_cache(client)
        mean, error = estimate(sizes, len(keys))
        prefix = self._cache.key_pattern.partition("*")[0]
        return [
            metrics.CACHE_KEYS(len(keys), prefix),
            metrics.CACHE_KEYS_BYTES(len(keys) * mean, prefix),
            metrics.CACHE_KEYS_BYTES_ERROR(error, prefix),
        ]

    async def _scan(self, client: Redis) -> set[str]:
        """SCAN may give a key twice while the table is resized: a set counts them once."""
        pattern = self._cache.key_pattern
        until = time.monotonic() + self._scan_seconds
        cursor, keys = 0, set[str]()
        while True:
            cursor, page = await client.scan(cursor, match=pattern, count=SCAN_COUNT)
            keys.update(map(str, page))
            if cursor == 0:
                return keys
            if time.monotonic() > until:
                raise CollectError(
                    self.name,
                    "budget",
                    f"{len(keys)} keys seen in {self._scan_seconds:g} s and more to come; "
                    "raise exporter.cache_scan_budget",
                )


async def _fetch_sizes(client: Redis, keys: Sequence[str]) -> list[int]:
    """The bytes of each key that is still there."""
    sizes: list[int | None] = []
    for start in range(0, len(keys), SIZES_AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for key in keys[start : start + SIZES_AT_ONCE]:
            pipeline.memory_usage(key)
        sizes += await pipeline.execute()
    return [size for size in sizes if size is not None]


def estimate(sizes: Sequence[int], keys: int) -> tuple[float, float]:
    """Mean bytes of a key, and the standard error of the total over `keys` keys.

    The error is 0 where every key was asked.
    """
    if not sizes:
        return 0.0, 0.0
    unasked = 1 - len(sizes) / keys
    spread = statistics.variance(sizes) if len(sizes) > 1 else 0.0
    return statistics.fmean(sizes), keys * (spread * unasked / len(sizes)) ** 0.5


def build(wiring: Wiring) -> list[Collector]:
    """Both where a cache is configured."""
    cache, target = wiring.settings.cache, wiring.targets.get("cache")
    if cache is None or target is None:
        return []
    return [CacheServerState(target, cache, wiring), CacheKeys(target, cache, wiring)]
