"""Whether the cache answers, has room, evicts what it may, and keeps its keys over a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from phasegate.migrate.findings import Finding as Checked
from phasegate.migrate.findings import size
from phasegate.migrate.preflight import fetch_cache_findings
from phasegate.operate.doctor import Finding, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Ground

SUMMARY = "the cache answers; its memory, its eviction policy, its persistence"
FULL_SHARE = 0.9
SLOW_SECONDS = 0.05
_CLI = 'redis-cli -u "$REDIS_URL"'
_COLD, _EVICTING = "cache.md#cachecold", "cache.md#cacheevicting"
_PLACES = {"cache_memory": _EVICTING, "cache_persistence": _COLD}
_CAUSES = {
    "cache_memory": "it is smaller than the guide asks for, so it evicts or refuses keys",
    "cache_persistence": "a restart begins empty: every permission check is a miss, all at once",
}


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not answer."""
    cache = ground.settings.cache
    if cache is None:
        yield ok("no cache is configured")
        return
    with ground.cache() as client:
        took = time.perf_counter()
        client.ping()
        took = time.perf_counter() - took
        info: dict[str, Any] = client.info()
    yield from evaluate_answer(took, info)
    for one in fetch_cache_findings(cache):
        yield from evaluate_checked(one)
    yield from evaluate_memory(info)
    yield from evaluate_state(info)


def evaluate_answer(seconds: float, info: Mapping[str, Any]) -> Iterator[Finding]:
    """`seconds` is the time of one PING."""
    version = info.get("valkey_version") or info.get("redis_version", "?")
    told = f"PING in {seconds * 1000:.1f} ms, version {version}, role {info.get('role', '?')}"
    if seconds <= SLOW_SECONDS:
        yield ok(told)
        return
    yield warning(
        told,
        "the way there is long, or a slow command (KEYS, FLUSHDB) holds everybody up",
        f"{_CLI} --latency -i 1\n{_CLI} SLOWLOG GET 10",
        "cache.md#lowcachehitrate",
    )


def evaluate_checked(one: Checked) -> Iterator[Finding]:
    """A check of the preflight, by its own measure."""
    place, told = _PLACES[one.name], f"{one.name.removeprefix('cache_')}: {one.found}"
    if one.value is None:
        yield unknown(told, one.remedy, place)
    elif one.value == 0.0:
        lasting = f"{_CLI} {one.remedy.partition(',')[0]}\n{_CLI} CONFIG REWRITE"
        yield problem(f"{told}, needed: {one.needed}", _CAUSES[one.name], lasting, place)
    else:
        yield ok(told)
    if one.warning:
        yield warning(
            f"{told}; {one.warning.partition(':')[0]}",
            "a full cache refuses writes",
            f"{_CLI} CONFIG SET maxmemory-policy allkeys-lru\n{_CLI} CONFIG REWRITE",
            place,
        )


def evaluate_memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    """How full it is, where it has a limit."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "?"))
    if not limit:
        yield ok(f"{size(used)} used, no limit of its own, policy {policy}")
        return
    told = f"{size(used)} of {size(limit)} used, policy {policy}"
    if used < limit * FULL_SHARE:
        yield ok(told)
        return
    more = f"{_CLI} CONFIG SET maxmemory {2 * limit}\n{_CLI} CONFIG REWRITE"
    if policy == "noeviction":
        yield problem(told, "it is full, and may not evict: writes fail", more, _EVICTING)
    else:
        yield warning(told, "it is full and throws keys out: the hit rate falls", more, _EVICTING)


def evaluate_state(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What else stands in INFO that stops a cache from being one."""
    if int(info.get("loading", 0)):
        yield problem("it reads its data from disk", "it has just started", "wait", _COLD)
    for name, word in (("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "log")):
        if str(info.get(name, "ok")) != "ok":
            yield problem(
                f"the last {word} failed ({name} is {info[name]})",
                "the disk is full, or its folder cannot be written to",
                f"{_CLI} CONFIG GET dir\n{_CLI} BGSAVE",
                _COLD,
            )
    if info.get("role") == "slave":
        state = info.get("master_link_status", "?")
        yield problem(
            f"it is a replica, its link to the master is {state}",
            "cache.url leads to a replica, or a failover has changed the roles",
            "name the master in cache.url, or the sentinels (redis+sentinel://)",
            _COLD,
        )
