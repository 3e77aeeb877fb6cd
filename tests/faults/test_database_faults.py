"""What happens to a target happens to that target alone: scrapes answer in time, nothing leaks."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.proxy import Proxy
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.test_latency import WITH_UUID

CONFIG = """
environment: test
exporter: {probe_interval: 20ms, probe_timeout: 500ms}
tables: [{name: public.users}]
"""
# `make faults` takes the long form.
FAULTY_SCRAPES = 1_000 if os.environ.get("PHASEGATE_FAULTS") == "long" else 50
SHORT_SECONDS = 0.2
BUDGET = 5


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer(settings={"fsync": False}) as running:
        running.execute(WITH_UUID)
        yield running


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(server.port) as running:
        yield running


@pytest.fixture
async def exporter(server: PostgresServer, proxy: Proxy, tmp_path: Path) -> AsyncIterator[Exporter]:
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    url = server.conninfo().replace(f":{server.port}/", f":{proxy.port}/")
    made = Exporter(lambda: load_settings(config, {"DATABASE_URL": url}))
    await made.start()
    assert value_of(await made.scrape(5, frozenset()), metrics.UP, "database") == 1
    yield made
    await made.stop()


def refuse(_: PostgresServer, proxy: Proxy) -> None:
    """No new connection, and none of the old ones: a port that nobody listens on any more."""
    proxy.refuse()
    proxy.cut()


FAULTS: dict[str, tuple[Callable[[PostgresServer, Proxy], None], ...]] = {
    "frozen": (lambda s, _: s.freeze(), lambda s, _: s.thaw()),
    "stopped": (lambda s, _: s.stop("immediate"), lambda s, _: s.start()),
    "black-holed": (lambda _, p: p.blackhole(), lambda _, p: p.pass_on()),
    "refused": (refuse, lambda _, p: p.pass_on()),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_costs_that_target_alone_and_the_next_scrape_is_whole(
    exporter: Exporter, server: PostgresServer, proxy: Proxy, name: str
) -> None:
    begin, end = FAULTS[name]
    before = await exporter.scrape(5, frozenset())
    await asyncio.to_thread(begin, server, proxy)
    slowest, down = 0.0, before
    for _ in range(FAULTY_SCRAPES):
        began = time.monotonic()
        down = await exporter.scrape(SHORT_SECONDS, frozenset())
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < SHORT_SECONDS + 1
    assert value_of(down, metrics.UP, "database") == 0
    assert not labels_of(down, metrics.TARGET_INFO)
    assert labels_of(down, metrics.COLLECTOR_ERRORS)
    await asyncio.to_thread(end, server, proxy)
    await asyncio.sleep(2)
    whole = await exporter.scrape(5, frozenset())
    assert value_of(whole, metrics.UP, "database") == 1
    failed = {s.collector: s.error for s in whole.statuses if not s.success}
    assert not failed
    assert await backends(server) <= BUDGET
    await probes_go_on(exporter)


async def probes_go_on(exporter: Exporter) -> None:
    def last(snapshot: Snapshot) -> float:
        if not labels_of(snapshot, metrics.PROBE_LAST_SUCCESS):
            return 0.0
        return value_of(snapshot, metrics.PROBE_LAST_SUCCESS, "database")

    since = time.time()
    for _ in range(100):
        if last(await exporter.scrape(5, frozenset())) > since:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("no probe since the end of the fault")


async def backends(server: PostgresServer) -> int:
    def count() -> int:
        with psycopg.connect(server.conninfo()) as connection:
            [row] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'phasegate/%'"
            ).fetchall()
            return int(row[0])

    return await asyncio.to_thread(count)


async def test_a_stop_in_the_middle_of_a_handshake_leaves_no_backend(
    server: PostgresServer, tmp_path: Path
) -> None:
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    environ = {"DATABASE_URL": server.conninfo()}

    async def live(delay: float) -> None:
        made = Exporter(lambda: load_settings(config, environ))
        await made.start()
        scraping = asyncio.create_task(made.scrape(5, frozenset()))
        await asyncio.sleep(delay)
        await made.stop()
        await asyncio.gather(scraping, return_exceptions=True)

    for delay in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        # A loop of its own, that ends at once: whoever needs it for longer is cut.
        await asyncio.to_thread(asyncio.run, live(delay))
    await asyncio.sleep(0.3)
    left = server.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    assert left == [(0,)]
