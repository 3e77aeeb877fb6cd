"""What happens to the cache happens to it alone: scrapes answer in time, nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import structlog

from phasegate.contract import metrics
from phasegate.exporter.cache_client import NAME
from phasegate.exporter.runner import Snapshot
from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    CANARY,
    CONFIG,
    FAULTY_SCRAPES,
    MOST_GROWTH_BYTES,
    ROLE,
    Scene,
    assert_counters_kept,
    assert_down,
    counted,
    reasons,
    resident_bytes,
    running,
)
from tests.fixtures.proxy import Proxy
from tests.fixtures.snapshots import labels_of, value_of

log = structlog.get_logger()

LOOKUPS = ("cache_requests_total", ("cache", "server"))
FEW = 3
# One for the scrapes, one for the scan of the keys.
CLIENTS = 2


@dataclass
class Hurt:
    """A cache with its proxy, and a client that is not subject to what happens to others."""

    cache: CacheServer
    proxy: Proxy
    control: redis.Redis

    def kill_clients(self) -> None:
        self.control.client_kill_filter(_type="normal", skipme=True)

    def clients(self) -> int:
        return sum(client["name"] == NAME for client in self.control.client_list())


def open_control(cache: CacheServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(cache.socket_path), password=CANARY)


@pytest.fixture
def hurt() -> Iterator[Hurt]:
    with (
        CacheServer(password=CANARY) as cache,
        Proxy(cache.port) as proxy,
        open_control(cache) as control,
    ):
        control.mset({f"perm:{number}": "x" for number in range(100)})
        control.get("perm:1")
        yield Hurt(cache, proxy, control)


@pytest.fixture
async def scene(server: PostgresServer, hurt: Hurt, tmp_path: Path) -> AsyncIterator[Scene]:
    url = hurt.cache.url().replace(f":{hurt.cache.port}/", f":{hurt.proxy.port}/")
    environ = {"DATABASE_URL": server.conninfo("postgres", ROLE, CANARY), "REDIS_URL": url}
    async with running(tmp_path, CONFIG, environ) as exporter:
        made = Scene(exporter, server)
        await made.whole_soon()
        hurt.control.get("perm:1")
        await made.whole()
        yield made


@dataclass(frozen=True)
class Fault:
    """How it begins and ends, the reasons that may be told, and how many scrapes it meets."""

    begin: Callable[[Hurt], object]
    end: Callable[[Hurt], object]
    reasons: frozenset[str]
    scrapes: int = FEW


def refuse(hurt: Hurt) -> None:
    hurt.proxy.refuse()
    hurt.proxy.cut()


def change_password(hurt: Hurt) -> None:
    hurt.control.config_set("requirepass", "another one")
    hurt.kill_clients()


def forbid(command: str) -> Callable[[Hurt], None]:
    def begin(hurt: Hurt) -> None:
        hurt.control.execute_command("ACL", "SETUSER", "default", f"-{command}")  # type: ignore[no-untyped-call]

    return begin


def permit(hurt: Hurt) -> None:
    hurt.control.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]


def take_all_clients(hurt: Hurt) -> None:
    hurt.control.config_set("maxclients", 1)
    hurt.kill_clients()


FAULTS = {
    "frozen": Fault(
        lambda h: h.cache.freeze(), lambda h: h.cache.thaw(), frozenset({"timeout"}), FAULTY_SCRAPES
    ),
    "stopped": Fault(
        lambda h: h.cache.stop(), lambda h: h.cache.start(), frozenset({"unreachable"})
    ),
    "black-holed": Fault(
        lambda h: h.proxy.blackhole(),
        lambda h: h.proxy.pass_on(),
        frozenset({"timeout"}),
        FAULTY_SCRAPES,
    ),
    "refused": Fault(refuse, lambda h: h.proxy.pass_on(), frozenset({"unreachable"})),
    "wrong password": Fault(
        change_password,
        lambda h: h.control.config_set("requirepass", CANARY),
        frozenset({"authentication"}),
    ),
    "INFO forbidden": Fault(forbid("info"), permit, frozenset({"privilege"})),
    "out of clients": Fault(
        take_all_clients,
        lambda h: h.control.config_set("maxclients", 100),
        frozenset({"too_many_connections"}),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_costs_that_target_alone_and_the_next_scrape_is_whole(
    scene: Scene, hurt: Hurt, name: str
) -> None:
    fault = FAULTS[name]
    before = await scene.whole()
    memory, clients = resident_bytes(), await asyncio.to_thread(hurt.clients)
    assert counted(before)[LOOKUPS] > 0
    await asyncio.to_thread(fault.begin, hurt)
    try:
        down = await scene.scrapes_while_down("cache", before, fault.scrapes)
        assert {reasons(down)["cache"]} <= fault.reasons
    finally:
        await asyncio.to_thread(fault.end, hurt)
    slowest, grown = scene.slowest, resident_bytes() - memory
    assert_counters_kept(before, await scene.recovered())
    left = await asyncio.to_thread(hurt.clients)
    assert left <= CLIENTS
    assert grown < MOST_GROWTH_BYTES
    log.info("figures", slowest=slowest, clients=(clients, left), memory=(memory, grown))


@pytest.mark.parametrize("command", ["scan", "memory"])
async def test_keys_that_may_not_be_read_cost_their_figures_only(
    scene: Scene, hurt: Hurt, command: str
) -> None:
    await asyncio.to_thread(forbid(command), hurt)
    await scene.exporter.runner.run_scheduled(5)
    found = await scene.scrape()
    assert reasons(found) == {"cache_keys": "privilege"}
    assert not labels_of(found, metrics.CACHE_KEYS)
    assert value_of(found, metrics.UP, "cache") == 1
    await asyncio.to_thread(permit, hurt)
    await scene.exporter.runner.run_scheduled(5)
    assert value_of(await scene.whole(), metrics.CACHE_KEYS, "perm:") == 100


async def test_a_user_who_may_do_no_more_than_is_asked_suffices(
    server: PostgresServer, hurt: Hurt, tmp_path: Path
) -> None:
    hurt.control.acl_setuser(
        "watcher",
        enabled=True,
        reset=True,
        passwords=["+other canary"],
        keys=["perm:*"],
        commands=["+info", "+scan", "+memory|usage"],
    )
    url = f"redis://watcher:other%20canary@127.0.0.1:{hurt.cache.port}/0"
    environ = {"DATABASE_URL": server.conninfo("postgres", ROLE, CANARY), "REDIS_URL": url}
    async with running(tmp_path, CONFIG, environ) as exporter:
        found = await Scene(exporter, server).whole_soon()
    assert value_of(found, metrics.CACHE_KEYS, "perm:") == 100


async def test_all_keys_flushed(scene: Scene, hurt: Hurt) -> None:
    before = await scene.whole()
    await asyncio.to_thread(hurt.control.flushall)
    await scene.exporter.runner.run_scheduled(5)
    found = await scene.whole()
    assert value_of(found, metrics.CACHE_KEYS, "perm:") == 0
    assert value_of(found, metrics.CACHE_KEYS_BYTES, "perm:") == 0
    assert_counters_kept(before, found)


async def test_no_password_where_one_is_demanded(
    server: PostgresServer, hurt: Hurt, tmp_path: Path
) -> None:
    environ = {
        "DATABASE_URL": server.conninfo("postgres", ROLE, CANARY),
        "REDIS_URL": f"redis://127.0.0.1:{hurt.cache.port}/0",
    }
    async with running(tmp_path, CONFIG, environ) as exporter:
        found = await Scene(exporter, server).scrape()
    assert value_of(found, metrics.UP, "cache") == 0
    assert reasons(found)["cache"] == "authentication"


async def test_while_it_loads_its_data_it_is_down(server: PostgresServer, tmp_path: Path) -> None:
    # Microseconds for each command of its file; it looks up after every thousandth, twice a second.
    slow = {"key-load-delay": 50}
    with CacheServer(password=CANARY, persistent=True, settings=slow) as cache:
        with open_control(cache) as control:
            filling = control.pipeline(transaction=False)
            for number in range(20_000):
                filling.set(f"perm:{number}", "x" * 20)
            filling.execute()
        environ = {
            "DATABASE_URL": server.conninfo("postgres", ROLE, CANARY),
            "REDIS_URL": cache.url(),
        }
        async with running(tmp_path, CONFIG, environ) as exporter:
            scene = Scene(exporter, server)
            before = await scene.whole_soon()
            await asyncio.to_thread(cache.kill)
            await asyncio.to_thread(cache.start)  # it answers that it demands a password
            told: set[str] = set()
            while reason := reasons(down := await scene.scrape(2)).get("cache"):
                assert_down(before, down, "cache")
                told.add(reason)
            assert "loading" in told
            assert_counters_kept(before, await scene.whole_soon())


async def test_a_read_only_replica_is_measured_as_what_it_is(
    server: PostgresServer, hurt: Hurt, tmp_path: Path
) -> None:
    with CacheServer(password=CANARY) as replica, open_control(replica) as control:
        control.config_set("masterauth", CANARY)
        control.replicaof("127.0.0.1", hurt.cache.port)
        environ = {
            "DATABASE_URL": server.conninfo("postgres", ROLE, CANARY),
            "REDIS_URL": replica.url(),
        }
        async with running(tmp_path, CONFIG, environ) as exporter:
            scene = Scene(exporter, server)
            before = await scene.whole_soon()
            assert role_of(before) == "slave"
            control.replicaof("NO", "ONE")
            after = await scene.whole()
            assert role_of(after) == "master"
            assert_counters_kept(before, after)


def role_of(found: Snapshot) -> str:
    [info] = [s for s in labels_of(found, metrics.TARGET_INFO) if s[0] == "cache"]
    return info[-1]
