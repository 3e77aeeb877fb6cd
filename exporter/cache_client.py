"""A client of the configured cache: one connection, short limits, no retries of its own.

redis-py retries by default; a refused connection would then cost a scrape its deadline.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from phasegate.contract.cache_address import CacheAddress
from phasegate.contract.errors import CollectError

NAME = "phasegate-exporter"


def open_cache(address: CacheAddress, timeout_seconds: float) -> Redis:
    """A client of one connection; of the master, where the address names a sentinel group.

    CollectError for a cluster: each of its nodes has counters of its own.
    """
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password.reveal() if address.password else None,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "client_name": NAME,
        "max_connections": 1,
        "decode_responses": True,
        "encoding_errors": "replace",
    }
    if address.tls:
        options |= {"ssl": True, **address.tls_files}
    match address.kind:
        case "unix":
            return Redis(unix_socket_path=address.path, **options)
        case "sentinel":
            asked = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
            group = Sentinel(list(address.hosts), sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
            client: Redis = group.master_for(address.service, **options)
            return client
        case "cluster":
            raise CollectError("cache", "unsupported", "a cluster is not measured in this release")
    [(host, port)] = address.hosts
    return Redis(host=host, port=port, **options)
