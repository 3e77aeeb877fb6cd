"""What happens to the database happens to it alone: scrapes answer in time, nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    BUDGET,
    CANARY,
    CONFIG,
    FAULTY_SCRAPES,
    MOST_GROWTH_BYTES,
    ROLE,
    Scene,
    assert_counters_kept,
    count_backends,
    end_sessions,
    reasons,
    resident_bytes,
    running,
    set_password,
    through,
)
from tests.fixtures.proxy import Proxy

log = structlog.get_logger()

Work = Callable[[PostgresServer, Proxy], object]
FEW = 3


@dataclass(frozen=True)
class Fault:
    """How it begins and ends, the reasons that may be told, and how many scrapes it meets."""

    begin: Work
    end: Work
    reasons: frozenset[str]
    scrapes: int = FEW


def refuse(_: PostgresServer, proxy: Proxy) -> None:
    """No new connection, and none of the old ones: a port that nobody listens on any more."""
    proxy.refuse()
    proxy.cut()


def change_password(server: PostgresServer, _: Proxy) -> None:
    set_password(server, "another one")
    end_sessions(server)


def forbid_login(server: PostgresServer, _: Proxy) -> None:
    server.execute(f"ALTER ROLE {ROLE} NOLOGIN")
    end_sessions(server)


def limit_role(server: PostgresServer, _: Proxy) -> None:
    server.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    end_sessions(server)


UNANSWERED = frozenset({"timeout", "no_backend", "unreachable"})
FAULTS = {
    "frozen": Fault(lambda s, _: s.freeze(), lambda s, _: s.thaw(), UNANSWERED, FAULTY_SCRAPES),
    "stopped": Fault(
        lambda s, _: s.stop("immediate"), lambda s, _: s.start(), UNANSWERED, FAULTY_SCRAPES
    ),
    "black-holed": Fault(
        lambda _, p: p.blackhole(), lambda _, p: p.pass_on(), UNANSWERED, FAULTY_SCRAPES
    ),
    "refused": Fault(refuse, lambda _, p: p.pass_on(), UNANSWERED, FAULTY_SCRAPES),
    "wrong password": Fault(
        change_password, lambda s, _: set_password(s, CANARY), frozenset({"authentication"})
    ),
    "login forbidden": Fault(
        forbid_login,
        lambda s, _: s.execute(f"ALTER ROLE {ROLE} LOGIN"),
        frozenset({"authentication"}),
    ),
    "connection limit of the role": Fault(
        limit_role,
        lambda s, _: s.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1"),
        frozenset({"too_many_connections"}),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_costs_that_target_alone_and_the_next_scrape_is_whole(
    scene: Scene, name: str
) -> None:
    fault = FAULTS[name]
    assert scene.proxy is not None
    before, memory, sessions = await scene.whole(), resident_bytes(), await scene.backends()
    await asyncio.to_thread(fault.begin, scene.server, scene.proxy)
    try:
        down = await scene.scrapes_while_down("database", before, fault.scrapes)
        assert {reasons(down)["identity"]} <= fault.reasons
    finally:
        await asyncio.to_thread(fault.end, scene.server, scene.proxy)
    slowest, grown = scene.slowest, resident_bytes() - memory
    assert_counters_kept(before, await scene.recovered())
    left = await scene.backends()
    assert left <= BUDGET
    assert grown < MOST_GROWTH_BYTES
    await scene.probes_go_on()
    log.info("figures", slowest=slowest, sessions=(sessions, left), memory=(memory, grown))


@pytest.mark.parametrize("name", ["frozen", "black-holed"])
async def test_it_stops_in_time_while_nobody_answers(
    server: PostgresServer, proxy: Proxy, tmp_path: Path, name: str
) -> None:
    fault = FAULTS[name]
    try:
        # Leaving it measures how long the stop takes.
        async with running(tmp_path, CONFIG, {"DATABASE_URL": through(proxy, server)}) as exporter:
            await Scene(exporter, server, proxy).whole_soon()
            await asyncio.to_thread(fault.begin, server, proxy)
            asked = asyncio.create_task(exporter.scrape(5, frozenset()))
            await asyncio.sleep(0.3)
        await asyncio.gather(asked, return_exceptions=True)
    finally:
        await asyncio.to_thread(fault.end, server, proxy)
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(count_backends, server) == 0
