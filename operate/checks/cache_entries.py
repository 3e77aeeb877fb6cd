"""The keys under `cache.key_pattern`, to be removed where somebody says that they are wrong.

Nobody but the application knows whether a value is right, so this is never done by itself: the
check has to be asked for by its name. It counts by SCAN, which moves no counter of hits; the
guide's FLUSHDB would take what others keep there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from phasegate.migrate.cache_keys import SCAN_COUNT, clear_keys
from phasegate.operate.doctor import Finding, Fix, Severity, ok
from phasegate.operate.doctor_ground import Ground

SUMMARY = "the keys under cache.key_pattern; with --fix it removes them (only when named)"
ON_DEMAND = True
SCAN_SECONDS = 3.0


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError."""
    cache = ground.settings.cache
    if cache is None:
        yield ok("no cache is configured")
        return
    until, count, whole = time.monotonic() + SCAN_SECONDS, 0, False
    with ground.cache() as client:
        cursor = 0
        while not whole and time.monotonic() < until:
            cursor, keys = client.scan(cursor, match=cache.key_pattern, count=SCAN_COUNT)
            count += len(keys)
            whole = cursor == 0
    pattern = cache.key_pattern.replace("'", "'\\''")
    yield Finding(
        severity=Severity.OK,
        evidence=f"{'' if whole else 'at least '}{count:,} keys like {cache.key_pattern}",
        cause="entries that are wrong are removed by their prefix; the neighbours stay",
        remedy=f"redis-cli -u \"$REDIS_URL\" --scan --pattern '{pattern}' |\n"
        "  xargs -r -d '\\n' -n 500 redis-cli -u \"$REDIS_URL\" UNLINK\n"
        "phasegate migrate warm-cache",
        runbook="cache.md#lowcachehitrate",
        fix=Fix(f"remove every key like {cache.key_pattern} (UNLINK)", _clear, asked_only=True),
    )


def _clear(ground: Ground) -> str:
    cache = ground.settings.cache
    assert cache is not None
    with ground.cache() as client:
        removed = clear_keys(client, cache.key_pattern)
    return (
        f"removed {removed:,} keys like {cache.key_pattern}; fill it: phasegate migrate warm-cache"
    )
