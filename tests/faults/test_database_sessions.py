"""Sessions that are refused, ended or cancelled, and passwords that change under way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    BUDGET,
    CANARY,
    CONFIG,
    FAULTY_SCRAPES,
    ROLE,
    SHORT_SECONDS,
    Scene,
    assert_counters_kept,
    assert_whole,
    count_backends,
    end_sessions,
    reasons,
    running,
    set_password,
    through,
)
from tests.fixtures.proxy import Proxy
from tests.fixtures.snapshots import value_of

NEW_PASSWORD = "rot'ated%2F7c@2:g/ 8\\t"
OTHER = "neighbour"


@contextmanager
def connections_taken(server: PostgresServer) -> Iterator[None]:
    """Every connection is somebody else's but those that are reserved for superusers."""
    server.execute(f"CREATE ROLE {OTHER} LOGIN PASSWORD 'x'")
    with ExitStack() as held:
        ended = 0
        while ended < 3:
            try:
                held.enter_context(psycopg.connect(server.conninfo("postgres", OTHER, "x")))
            except psycopg.OperationalError:
                end_sessions(server)
                ended += 1
        yield
    server.execute(f"DROP ROLE {OTHER}")


async def test_out_of_connections(scene: Scene) -> None:
    before = await scene.whole()
    with connections_taken(scene.server):
        down = await scene.scrapes_while_down("database", before, 3)
        assert reasons(down)["identity"] == "too_many_connections"
    assert_counters_kept(before, await scene.whole())
    await scene.probes_go_on()


@contextmanager
def under_fire(server: PostgresServer, weapon: str) -> Iterator[list[int]]:
    """Calls that function of the server on each of our sessions, hundreds of times a second.

    The list that is given holds how many there were each time.
    """
    over = threading.Event()
    seen: list[int] = []

    def fire() -> None:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            query = f"SELECT {weapon}(pid) FROM pg_stat_activity WHERE usename = %s".encode()
            while not over.wait(0.005):
                seen.append(len(connection.execute(query, [ROLE]).fetchall()))

    gun = threading.Thread(target=fire)
    gun.start()
    try:
        yield seen
    finally:
        over.set()
        gun.join()


@pytest.mark.parametrize(
    ("weapon", "told"),
    [
        ("pg_cancel_backend", {"cancelled", "unreachable"}),
        ("pg_terminate_backend", {"unreachable"}),
    ],
)
async def test_statements_and_sessions_that_somebody_ends(
    direct_scene: Scene, weapon: str, told: set[str]
) -> None:
    scene = direct_scene
    before = await scene.whole()
    found: set[str] = set()
    cache_up = 0.0
    with under_fire(scene.server, weapon) as sessions:
        for _ in range(FAULTY_SCRAPES):
            hurt = await scene.scrape(SHORT_SECONDS)
            cache_up += value_of(hurt, metrics.UP, "cache")
            assert_counters_kept(before, hurt)
            found |= set(reasons(hurt).values())
            before = hurt
    # The deadline is short, and the machine may be busy.
    assert cache_up > FAULTY_SCRAPES / 2
    assert max(sessions) <= BUDGET
    assert found & told
    assert found <= told | {"timeout", "statement_timeout", "no_backend", "cancelled"}
    await scene.exporter.runner.run_scheduled(10)  # what has a schedule of minutes was hit too
    assert_counters_kept(before, await scene.whole())
    await scene.probes_go_on()


@pytest.mark.parametrize("order", ["file first", "server first"])
async def test_a_rotated_password_is_read_from_its_file_at_the_next_connection(
    server: PostgresServer, proxy: Proxy, tmp_path: Path, order: str
) -> None:
    file = tmp_path / "password"
    file.write_text(CANARY, encoding="utf-8")
    config = f"{CONFIG}database: {{url: '{through(proxy, server, None)}', password_file: {file}}}"
    async with running(tmp_path, config, {}) as exporter:
        scene = Scene(exporter, server, proxy)
        await exporter.runner.run_scheduled(10)
        before = await scene.whole()
        try:
            if order == "file first":
                file.write_text(NEW_PASSWORD, encoding="utf-8")
            await asyncio.to_thread(set_password, server, NEW_PASSWORD)
            # Sessions that stand need no password.
            assert_whole(await scene.scrape())
            await asyncio.to_thread(end_sessions, server)
            await asyncio.sleep(0.1)  # by way of the proxy
            if order == "server first":
                down = await scene.scrapes_while_down("database", before, 3)
                assert reasons(down)["identity"] == "authentication"
                file.write_text(NEW_PASSWORD, encoding="utf-8")
            assert_counters_kept(before, await scene.whole())
            await scene.probes_go_on()
        finally:
            await asyncio.to_thread(set_password, server, CANARY)


async def test_a_rotated_password_of_the_environment_counts_from_the_reload_on(
    server: PostgresServer, proxy: Proxy, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": through(proxy, server)}
    async with running(tmp_path, CONFIG, environ) as exporter:
        scene = Scene(exporter, server, proxy)
        await exporter.runner.run_scheduled(10)
        before = await scene.whole()
        try:
            await asyncio.to_thread(set_password, server, NEW_PASSWORD)
            await asyncio.to_thread(end_sessions, server)
            await scene.scrapes_while_down("database", before, 3)
            environ["DATABASE_URL"] = through(proxy, server, NEW_PASSWORD)
            await exporter.reload()
            assert_counters_kept(before, await scene.whole_soon())
            await scene.probes_go_on()
            assert await scene.backends() <= BUDGET
        finally:
            await asyncio.to_thread(set_password, server, CANARY)


async def test_down_at_the_start(server: PostgresServer, proxy: Proxy, tmp_path: Path) -> None:
    proxy.refuse()
    async with running(tmp_path, CONFIG, {"DATABASE_URL": through(proxy, server)}) as exporter:
        scene = Scene(exporter, server, proxy)
        down = await scene.scrape(SHORT_SECONDS)
        assert value_of(down, metrics.UP, "database") == 0
        assert set(reasons(down).values()) <= {"unreachable", "not run yet"}
        proxy.pass_on()
        found = await scene.scrape()
        at_each_scrape = {n for n, c in exporter.runner.collectors.items() if c.interval is None}
        assert not at_each_scrape & set(reasons(found))
        await scene.whole_soon()
        await scene.probes_go_on()


async def test_a_refusal_is_not_asked_for_again_by_every_collector(
    server: PostgresServer, proxy: Proxy, tmp_path: Path
) -> None:
    def failed_logins() -> int:
        return server.log_tail(10_000).count(f'authentication failed for user "{ROLE}"')

    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    environ = {"DATABASE_URL": through(proxy, server, "wrong")}
    before = failed_logins()
    # Not started: no probe, no schedule.
    exporter = Exporter(lambda: load_settings(file, environ))
    await exporter.scrape(5, frozenset())
    await exporter.stop()
    assert 1 <= failed_logins() - before <= 3


async def test_a_stop_in_the_middle_of_a_handshake_leaves_no_backend(
    server: PostgresServer, proxy: Proxy, tmp_path: Path
) -> None:
    async def live(delay: float) -> None:
        environ = {"DATABASE_URL": through(proxy, server)}
        async with running(tmp_path, CONFIG, environ) as exporter:
            scraping = asyncio.create_task(exporter.scrape(5, frozenset()))
            await asyncio.sleep(delay)
        await asyncio.gather(scraping, return_exceptions=True)

    for delay in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016):
        # A loop of its own, that ends at once: whoever needs it for longer is cut.
        await asyncio.to_thread(asyncio.run, live(delay))
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(count_backends, server) == 0


async def test_commands_that_print_no_password_for_ages_do_not_pile_up(
    server: PostgresServer, cache_server: CacheServer, proxy: Proxy, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    slow = f"password_command: [sh, -c, 'echo >> {calls}; sleep 3; echo']"
    config = (
        f"{CONFIG}database: {{url: '{through(proxy, server, None)}', {slow}}}\n"
        f"cache: {{url: '{cache_server.url()}', {slow}}}\n"
    )
    async with running(tmp_path, config, {}) as exporter:
        scene = Scene(exporter, server, proxy)
        for _ in range(10):
            down = await scene.scrape(SHORT_SECONDS)
            began = time.monotonic()
            await asyncio.to_thread(lambda: None)  # as the rendering does
            assert time.monotonic() - began < SHORT_SECONDS
            assert {s.value for s in down.samples if s.metric is metrics.UP} == {0}
            await asyncio.sleep(SHORT_SECONDS)
    # The database's, the cache's for its state and for its keys; some once more by now.
    assert len(calls.read_text().splitlines()) <= 6
