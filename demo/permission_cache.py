"""Permission sets in the cache, `perm:<version>:<key>`, each for a limited time.

The application never fails because of the cache: whatever goes wrong is a miss, counted apart.
"""

from __future__ import annotations

import json
import random

from prometheus_client import CollectorRegistry, Counter
from redis import asyncio as redis

NAME = "permissions"
SHORTEST_SECONDS, LONGEST_SECONDS = 60, 180
REPLY_SECONDS = 0.5


class PermissionCache:
    """Requests and hits are counted under the guide's names, with the label `cache`."""

    def __init__(self, url: str, prefix: str, registry: CollectorRegistry) -> None:
        self._client = redis.from_url(
            url, socket_timeout=REPLY_SECONDS, socket_connect_timeout=REPLY_SECONDS
        )
        self._prefix = prefix
        labels = ("cache",)
        self._requests = Counter(
            "cache_requests_total", "Lookups in the cache", labels, registry=registry
        ).labels(NAME)
        self._hits = Counter(
            "cache_hits_total", "Lookups that found their entry", labels, registry=registry
        ).labels(NAME)
        self._errors = Counter(
            "cache_errors_total", "Commands that failed", labels, registry=registry
        ).labels(NAME)

    async def ping(self) -> None:
        """Answer, or raise redis.RedisError."""
        await self._client.ping()

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, key: str) -> list[str] | None:
        """The stored permissions; None where they are not, or the cache does not answer."""
        self._requests.inc()
        try:
            stored = await self._client.get(self._prefix + key)
        except (redis.RedisError, OSError, TimeoutError):
            self._errors.inc()
            return None
        if stored is None:
            return None
        self._hits.inc()
        names: list[str] = json.loads(stored)
        return names

    async def write(self, key: str, names: list[str]) -> None:
        """Store for a minute or some, or count the failure."""
        # What was filled at once must not expire at once, or misses come in bursts.
        seconds = random.randint(SHORTEST_SECONDS, LONGEST_SECONDS)  # noqa: S311
        try:
            await self._client.set(self._prefix + key, json.dumps(names), ex=seconds)
        except (redis.RedisError, OSError, TimeoutError):
            self._errors.inc()
