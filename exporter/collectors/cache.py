"""The cache: hits and lookups as its server and the application count them, and its state.

The server's counters are for the whole node, and restart with it and with CONFIG RESETSTAT; they
are joined, not passed on. INFO, SCAN, DBSIZE and MEMORY USAGE leave them where they are; GET,
TTL and EXISTS would move the very ratio that is measured, so they are never sent.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from phasegate.contract import metrics
from phasegate.contract.connection import cache_address
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.settings import Application
from phasegate.contract.settings_connection import Cache
from phasegate.exporter.application import fetch_application
from phasegate.exporter.cache_client import open_cache
from phasegate.exporter.counters import Counters
from phasegate.exporter.joined import Joined
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Identity, Target
from phasegate.exporter.wiring import Wiring

COUNTED = (metrics.CACHE_REQUESTS, metrics.CACHE_HITS, metrics.CACHE_EVICTED)
SCAN_COUNT = 500
SAMPLED_KEYS = 1_000


class CacheServerState(Collector):
    """INFO of the cache's server, once a scrape."""

    name = "cache"

    def __init__(self, target: Target, cache: Cache, wiring: Wiring) -> None:
        # Not `target`: this collector itself decides whether the cache is up.
        self._subject = target
        self._environment = wiring.settings.environment
        self._cache = cache
        self._counters: Counters = wiring.counters
        self._limit = wiring.settings.exporter.connect_timeout
        self._joined = Joined()
        self._client: Redis | None = None

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with asyncio.timeout(timeout):
            if self._client is None:
                address = await asyncio.to_thread(cache_address, self._cache, self._subject.name)
                self._client = open_cache(address, min(timeout, self._limit))
                self._address, self._database = address.identity, address.database
            info: dict[str, Any] = await self._client.info()
        self._count(info)
        self._subject.up = True
        return self._gauges(info)

    def _count(self, info: Mapping[str, Any]) -> None:
        hits, misses = int(info["keyspace_hits"]), int(info["keyspace_misses"])
        gained = self._joined.advance(
            "server", info["run_id"], (hits + misses, hits, int(info["evicted_keys"]))
        )
        labels = (self._subject.name, "server")
        self._counters.add(metrics.CACHE_REQUESTS, gained[0], *labels)
        self._counters.add(metrics.CACHE_HITS, gained[1], *labels)
        self._counters.add(metrics.CACHE_EVICTED, gained[2], self._subject.name)
        # A reset within one run leaves the run's id alone; its moment is not shown, so the epoch
        # is the run's: the join sees the rest.
        self._subject.identity = Identity(
            system_identifier=self._address,
            timeline=0,
            database=str(self._database),
            role=str(info["role"]),
            epoch=str(info["run_id"]),
        )

    def _gauges(self, info: Mapping[str, Any]) -> list[Sample]:
        name, identity = self._subject.name, self._subject.identity
        assert identity is not None
        version = str(info.get("valkey_version") or info["redis_version"])
        server = str(info.get("server_name") or "redis")
        return [
            metrics.TARGET_INFO(
                1,
                name,
                self._environment,
                identity.system_identifier,
                identity.database,
                identity.role,
            ),
            metrics.SOURCE_EPOCH(zlib.crc32(identity.epoch.encode()), name),
            metrics.CACHE_INFO(1, version, server, identity.role),
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
            self._closing = asyncio.get_running_loop().create_task(client.aclose())

    def kept(self) -> Sequence[Sample]:
        up = metrics.UP(float(self._subject.up), self._subject.name)
        return [up, *self._counters.samples(COUNTED)]

    def dump(self) -> Any:
        return self._joined.dump()

    def restore(self, data: Any) -> None:
        self._joined.restore(data)

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class CacheKeys(Collector):
    """Keys of the permission cache and their bytes, by SCAN and MEMORY USAGE, now and then."""

    name = "cache_keys"

    def __init__(self, target: Target, cache: Cache, wiring: Wiring) -> None:
        self.target = target
        self._cache = cache
        self._limit = wiring.settings.exporter.connect_timeout
        self._scan_seconds = wiring.settings.exporter.cache_scan_budget
        self.interval = wiring.settings.exporter.cache_scan_interval
        self.budget = self._scan_seconds + self._limit

    async def collect(self, timeout: float) -> Sequence[Sample]:
        address = await asyncio.to_thread(cache_address, self._cache, "cache")
        client = open_cache(address, min(timeout, self._limit))
        try:
            async with asyncio.timeout(timeout):
                return await self._scan(client)
        finally:
            await client.aclose()

    async def _scan(self, client: Redis) -> list[Sample]:
        """SCAN may give a key twice while the table is resized: a set counts them once."""
        pattern = self._cache.key_pattern
        until = time.monotonic() + self._scan_seconds
        cursor, keys = 0, set[str]()
        while True:
            cursor, page = await client.scan(cursor, match=pattern, count=SCAN_COUNT)
            keys.update(map(str, page))
            if cursor == 0:
                break
            if time.monotonic() > until:
                raise CollectError(
                    self.name,
                    "budget",
                    f"{len(keys)} keys seen in {self._scan_seconds:g} s and more to come; "
                    "raise exporter.cache_scan_budget",
                )
        sampled = list(keys)[:SAMPLED_KEYS]
        sizes = [size for key in sampled if (size := await client.memory_usage(key)) is not None]
        prefix = pattern.partition("*")[0]
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        spread = sum((size - mean) ** 2 for size in sizes) / max(1, len(sizes) - 1)
        error = len(keys) * (spread / max(1, len(sizes))) ** 0.5 if len(sampled) < len(keys) else 0
        return [
            metrics.CACHE_KEYS(len(keys), prefix),
            metrics.CACHE_KEYS_BYTES(len(keys) * mean, prefix),
            metrics.CACHE_KEYS_BYTES_ERROR(error, prefix),
        ]


class ApplicationCache(Collector):
    """Hits and lookups by cache name, as only the application can count them."""

    name = "application"

    def __init__(self, application: Application, counters: Counters) -> None:
        self._application = application
        self._counters = counters
        self._joined = Joined()

    async def collect(self, timeout: float) -> Sequence[Sample]:
        found = await fetch_application(self._application, timeout)
        for cache, counts in found.caches.items():
            gained = self._joined.advance(cache, "", (counts.requests, counts.hits))
            labels = (cache, "application")
            self._counters.add(metrics.CACHE_REQUESTS, gained[0], *labels)
            self._counters.add(metrics.CACHE_HITS, gained[1], *labels)
        return ()

    def dump(self) -> Any:
        return self._joined.dump()

    def restore(self, data: Any) -> None:
        self._joined.restore(data)


def build(wiring: Wiring) -> list[Collector]:
    """The server's where a cache is configured, the application's where its counters are."""
    built: list[Collector] = []
    cache, target = wiring.settings.cache, wiring.targets.get("cache")
    if cache is not None and target is not None:
        built += [CacheServerState(target, cache, wiring), CacheKeys(target, cache, wiring)]
    application = wiring.settings.application
    if application is not None and application.cache is not None:
        built.append(ApplicationCache(application, wiring.counters))
    return built
