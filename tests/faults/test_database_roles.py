"""A server in recovery, read-only or failing over is measured as what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    BUDGET,
    CANARY,
    CONFIG,
    ROLE,
    Scene,
    assert_counters_kept,
    counted,
    prepare,
    reasons,
    running,
)
from tests.fixtures.snapshots import labels_of, value_of

SETTINGS = {"fsync": False, "max_connections": 20}
NOT_ON_A_STANDBY = {"audit": "standby", "audit/reconcile": "standby"}


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(settings=SETTINGS) as server:
        prepare(server)
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with PostgresServer(standby_of=primary) as server:
        yield server


def role_of(found: Snapshot) -> str:
    [info] = labels_of(found, metrics.TARGET_INFO)
    return info[-1]


async def test_a_server_in_recovery_is_up_and_then_promoted(
    primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    # As serializable no query runs in recovery at all.
    primary.execute(f"ALTER ROLE {ROLE} SET default_transaction_isolation TO serializable")
    [(written,)] = primary.execute("SELECT pg_current_wal_lsn()::text")
    for _ in range(100):
        [(replayed,)] = standby.execute(
            "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", parameters=[written]
        )
        if replayed:
            break
        await asyncio.sleep(0.05)
    assert replayed
    environ = {"DATABASE_URL": standby.conninfo("postgres", ROLE, CANARY)}
    async with running(tmp_path, CONFIG, environ) as exporter:
        scene = Scene(exporter, standby)
        await exporter.runner.run_scheduled(10)
        found = await scene.scrape()
        assert value_of(found, metrics.UP, "database") == 1
        assert role_of(found) == "standby"
        assert reasons(found) == NOT_ON_A_STANDBY
        assert labels_of(found, metrics.TABLE_SIZE)
        await scene.probes_go_on()
        before = await scene.scrape()
        await asyncio.to_thread(standby.promote)
        await exporter.runner.run_scheduled(10)
        after = await scene.whole()
        assert role_of(after) == "primary"
        assert_counters_kept(before, after)
        assert await scene.backends() <= BUDGET


async def test_a_read_only_server_is_whole(primary: PostgresServer, tmp_path: Path) -> None:
    primary.execute("ALTER SYSTEM SET default_transaction_read_only TO on")
    primary.execute("SELECT pg_reload_conf()")
    environ = {"DATABASE_URL": primary.conninfo("postgres", ROLE, CANARY)}
    async with running(tmp_path, CONFIG, environ) as exporter:
        scene = Scene(exporter, primary)
        await scene.whole_soon()
        await scene.probes_go_on()


async def test_the_standby_takes_over(
    primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    hosts = f"@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/"
    address = primary.conninfo("postgres", ROLE, CANARY, target_session_attrs="read-write")
    environ = {"DATABASE_URL": address.replace(f"@127.0.0.1:{primary.port}/", hosts)}
    async with running(tmp_path, CONFIG, environ) as exporter:
        scene = Scene(exporter, standby)
        before = await scene.whole_soon()
        await scene.probes_go_on()
        identity = exporter.targets["database"].identity
        assert identity is not None
        await asyncio.to_thread(primary.stop, "immediate")
        await scene.scrapes_while_down("database", before, 3)
        await asyncio.to_thread(standby.promote)
        after = await scene.whole()
        assert_counters_kept(before, after)
        now = exporter.targets["database"].identity
        assert now is not None
        assert now.target != identity.target
        assert now.system_identifier == identity.system_identifier
        created = ("audit_logs_created_total", ("public", "audit_logs"))
        assert counted(after)[created] == counted(before)[created]
        await scene.probes_go_on()
        assert await scene.backends() <= BUDGET


async def test_a_first_host_that_hangs_longer_than_a_scrape_lasts_keeps_nobody_from_the_second(
    primary: PostgresServer, standby: PostgresServer, tmp_path: Path
) -> None:
    standby.freeze()
    hosts = f"@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/"
    address = primary.conninfo("postgres", ROLE, CANARY)
    environ = {"DATABASE_URL": address.replace(f"@127.0.0.1:{primary.port}/", hosts)}
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    # Not started: what has a schedule would have the time to connect.
    exporter = Exporter(lambda: load_settings(file, environ))
    scene = Scene(exporter, primary)
    try:
        for _ in range(30):  # the first host has three seconds
            if value_of(await scene.scrape(0.5), metrics.UP, "database") == 1:
                break
            await asyncio.sleep(0.1)
        assert value_of(await scene.scrape(0.5), metrics.UP, "database") == 1
    finally:
        standby.thaw()
        await exporter.stop()
