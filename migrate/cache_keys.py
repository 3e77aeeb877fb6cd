"""The cache's keys under our pattern: walked by SCAN, removed by UNLINK, neighbours untouched.

`KEYS` would hold up everybody for as long as the walk takes, and `FLUSHDB` would take what is not
ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.sentinel import Sentinel

from phasegate.contract.connection import cache_address
from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.secrets import redactor
from phasegate.contract.settings_connection import Cache

REPLY_SECONDS = 5.0
SCAN_COUNT = 500


@contextmanager
def open_cache(cache: Cache) -> Iterator[redis.Redis]:
    """A client of the configured cache; SourceUnavailable where it does not answer."""
    address = cache_address(cache)
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username,
        "password": address.password.reveal() if address.password else None,
        "socket_timeout": REPLY_SECONDS,
        "socket_connect_timeout": REPLY_SECONDS,
        "client_name": "phasegate-migrate",
    }
    if address.tls:
        options |= {"ssl": True, **address.tls_files}
    match address.kind:
        case "unix":
            client = redis.Redis(unix_socket_path=address.path, **options)
        case "sentinel":
            group = Sentinel(list(address.hosts), socket_timeout=REPLY_SECONDS)  # type: ignore[no-untyped-call]
            client = group.master_for(address.service, **options)  # type: ignore[no-untyped-call]
        case "cluster":
            raise SourceUnavailable("cache", "a cluster is not supported in this release")
        case _:
            [(host, port)] = address.hosts
            client = redis.Redis(host=host, port=port, **options)
    try:
        client.ping()
        yield client
    except (redis.RedisError, OSError) as error:
        raise SourceUnavailable("cache", redactor(str(error))) from None
    finally:
        client.close()


def clear_keys(client: redis.Redis, pattern: str) -> int:
    """Remove every key of the pattern; how many there were."""
    removed = 0
    pending: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=SCAN_COUNT):
        pending.append(key)
        if len(pending) >= SCAN_COUNT:
            removed += _unlink(client, pending)
    return removed + _unlink(client, pending)


def _unlink(client: redis.Redis, pending: list[bytes]) -> int:
    found = int(client.unlink(*pending)) if pending else 0
    pending.clear()
    return found
