"""`phasegate doctor` on real caches: broken, found with its remedy, mended by it, found no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from phasegate.servers.cache import CacheServer, find_cache_server
from tests.fixtures.database import Database
from tests.fixtures.doctored import Doctor
from tests.fixtures.presence import require_present

CONFIG_SET = re.compile(r"CONFIG SET (\S+) (\S+)")


@pytest.fixture
def cache() -> Iterator[CacheServer]:
    """A server of this test alone, without persistence and with little memory."""
    require_present("valkey-server", find_cache_server() is not None)
    with CacheServer(settings={"maxmemory": "64mb", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture
def doctor(database: Database, cache: CacheServer, tmp_path: Path) -> Doctor:
    environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": cache.url()}
    made = Doctor(tmp_path, environ)
    made.configure('cache: {key_pattern: "perm:*"}\n')
    return made


def run_remedy(server: CacheServer, fault: dict[str, Any]) -> None:
    """The CONFIG SET of a remedy."""
    name, value = CONFIG_SET.findall(fault["remedy"])[0]
    with redis.Redis.from_url(server.url()) as client:
        client.config_set(name, value)


def test_memory_policy_and_persistence_are_named_and_mended(
    cache: CacheServer, doctor: Doctor
) -> None:
    seen = doctor.see("cache")
    assert seen.code == 1
    memory, persistence = seen.faults()
    assert "64.0 MiB" in memory["evidence"]
    assert "--save '' --appendonly no" in persistence["evidence"]
    assert "redis-cli" in persistence["remedy"]
    assert persistence["runbook"].endswith("cache.md#cachecold")
    [policy] = seen.faults("warning")
    assert "noeviction" in policy["evidence"]
    for fault in (memory, persistence, policy):
        run_remedy(cache, fault)
    after = doctor.see("cache")
    assert (after.code, after.faults("warning")) == (0, [])


def test_one_without_persistence_of_redis_itself(database: Database, tmp_path: Path) -> None:
    """The row of the guide: `redis-server --save '' --appendonly no`."""
    require_present("redis-server", find_cache_server("redis-server") is not None)
    with CacheServer(binary="redis-server") as server:
        doctor = Doctor(tmp_path, {"DATABASE_URL": database.conninfo(), "REDIS_URL": server.url()})
        doctor.configure("{}")
        fault = next(one for one in doctor.see("cache").faults() if "persist" in one["evidence"])
        run_remedy(server, fault)
        assert not any("persist" in one["evidence"] for one in doctor.see("cache").faults())


def test_a_full_one_refuses_writes(cache: CacheServer, doctor: Doctor) -> None:
    with redis.Redis.from_url(cache.url()) as client:
        for number in range(58):
            client.set(f"other:{number}", b"x" * 2**20)
    faults = doctor.see("cache").faults()
    full = next(one for one in faults if "writes fail" in one["cause"])
    run_remedy(cache, full)
    assert not any("writes fail" in one["cause"] for one in doctor.see("cache").faults())


def test_one_that_is_down_is_4_and_the_rest_is_looked_at(
    cache: CacheServer, doctor: Doctor
) -> None:
    cache.stop()
    seen = doctor.see("cache", "database")
    assert seen.code == 4
    [down] = seen.faults("unknown")
    assert (down["check"], down["cannot"]) == ("cache", "unreachable")
    assert "redis-cli" in down["remedy"]
    assert any(one["check"] == "database" for one in seen.faults("ok"))
    cache.start()
    assert doctor.see("cache", "database").code == 1  # its memory


def test_keys_are_removed_by_prefix_and_only_when_asked_by_name(
    cache: CacheServer, doctor: Doctor
) -> None:
    with redis.Redis.from_url(cache.url()) as client:
        client.mset({f"perm:{n}": "wrong" for n in range(1200)})
        client.mset({"session:1": "theirs", "permanent": "theirs"})
        doctor.see(fix=True)
        assert client.dbsize() == 1202
        before = client.info("stats")
        seen = doctor.see("cache_entries")
        assert "1,200 keys like perm:*" in seen.findings[0]["evidence"]
        assert "UNLINK" in seen.findings[0]["remedy"]
        after = client.info("stats")
        for counter in ("keyspace_hits", "keyspace_misses"):
            assert before[counter] == after[counter]
        mended = doctor.see("cache_entries", fix=True)
        assert mended.fixes[0]["applied"]
        assert client.dbsize() == 2
        commands = client.info("commandstats")
        assert "cmdstat_flushdb" not in commands
        assert "cmdstat_keys" not in commands


def test_no_password_is_shown(database: Database, tmp_path: Path) -> None:
    require_present("valkey-server", find_cache_server() is not None)
    with CacheServer(password="hunter2hunter2") as server:
        wrong = server.url().replace("hunter2hunter2", "wrong-secret-77")
        doctor = Doctor(tmp_path, {"DATABASE_URL": database.conninfo(), "REDIS_URL": wrong})
        doctor.configure("{}")
        seen = doctor.see()
        assert seen.code == 4
        assert "wrong-secret-77" not in str(seen)
