"""A client of the configured cache: one connection, short limits, no retries of its own.

redis-py retries by default; a refused connection would then cost a scrape its deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis import exceptions
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from phasegate.contract.cache_address import CacheAddress
from phasegate.contract.errors import CollectError, SourceError, SourceTimeout

NAME = "phasegate-exporter"

REASONS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.NoPermissionError, "privilege"),
    (exceptions.AuthenticationError, "authentication"),
    (exceptions.AuthenticationWrongNumberOfArgsError, "authentication"),
    (exceptions.AuthorizationError, "authentication"),
    (exceptions.BusyLoadingError, "loading"),
    (exceptions.TimeoutError, "timeout"),
    (TimeoutError, "timeout"),
    (SourceTimeout, "timeout"),
    (exceptions.ConnectionError, "unreachable"),
    (OSError, "unreachable"),
    (exceptions.RedisError, "cache_error"),
    (SourceError, "secret"),
)


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
        "redis_connect_func": introduce,
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


async def introduce(connection: Connection) -> None:
    """Log in, and tell the server our name; a user who may do no more than we need may not."""
    await connection.on_connect()
    await connection.send_command("CLIENT", "SETNAME", NAME)
    with suppress(exceptions.ResponseError):
        await connection.read_response()


async def close_cache(client: Redis) -> None:
    """Close the client, and the sentinels that it asked."""
    await client.aclose()
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


@asynccontextmanager
async def told_apart(collector: str) -> AsyncIterator[None]:
    """Errors of the cache and of its configured secret as CollectError, each by its reason."""
    try:
        yield
    except tuple(kind for kind, _ in REASONS) as error:
        reason = next(word for kind, word in REASONS if isinstance(error, kind))
        # redis-py has no kind of its own for it.
        if "max number of clients" in str(error):
            reason = "too_many_connections"
        raise CollectError(collector, reason, str(error)) from error
