"""Our own share of the keys' scans: what is left after it is somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.storage import Storage
from tests.fixtures.database import Database

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid(), email text);
INSERT INTO users SELECT i FROM generate_series(1, 20000) AS i;
CREATE INDEX users_uuid_again ON users (uuid, email);
ANALYZE users;
"""
PARTITIONED = """
CREATE TABLE users (id int NOT NULL, uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text)
PARTITION BY HASH (uuid);
CREATE TABLE users_0 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE users_1 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO users SELECT i FROM generate_series(1, 20000) AS i;
ANALYZE users;
"""
# Besides the probe: exact counts of what has no UUID, and plans of what the planner must look up.
CONFIG = """
exporter: {probe_interval: 20ms, exact_count_interval: 1s, explain_interval: 1s}
tables: [{name: public.users}]
"""
BY_UUID, BY_ID = ("public", "users", "uuid"), ("public", "users", "id")
Start = Callable[..., Awaitable[Exporter]]


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


@pytest.fixture
async def start(database: Database, tmp_path: Path) -> AsyncIterator[Start]:
    """An exporter with storage on the database, which the SQL prepares."""
    started: list[Exporter] = []
    storage = Storage(tmp_path / "state")

    async def begin(schema: str = "", lookups: str = "") -> Exporter:
        if schema:
            database.execute(schema)
        file = tmp_path / "phasegate.yaml"
        file.write_text(CONFIG + lookups, encoding="utf-8")
        environ = {"DATABASE_URL": database.conninfo()}
        exporter = Exporter(lambda: load_settings(file, environ), storage)
        started.append(exporter)
        await exporter.start()
        return exporter

    yield begin
    for exporter in started:
        await exporter.stop()


async def probe_until(exporter: Exporter, key: tuple[str, str, str], scans: int) -> None:
    """Scrapes until we made as many scans of the key."""
    for _ in range(100):
        await exporter.scrape(5, frozenset())
        if exporter.counters.value(metrics.KEY_OWN_SCANS, *key) >= scans:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(exporter.runner.statuses)


async def others(exporter: Exporter, *keys: tuple[str, str, str]) -> list[float]:
    """What is left of each key's scans once our backends are gone and the server knows all."""
    await exporter.stop()
    await asyncio.sleep(1)
    await exporter.runner.collectors["key_scans"].collect(5)
    value = exporter.counters.value
    return [value(metrics.KEY_INDEX_SCANS, *k) - value(metrics.KEY_OWN_SCANS, *k) for k in keys]


def read_by_uuid(database: Database, times: int) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for _ in range(times):
            connection.execute("SELECT email FROM users WHERE uuid = %s", [nobody], prepare=False)


async def test_nothing_is_left_where_only_we_read(start: Start, database: Database) -> None:
    exporter = await start(SCHEMA)
    await probe_until(exporter, BY_ID, 200)
    [by_uuid, by_id] = await others(exporter, BY_UUID, BY_ID)
    assert exporter.counters.value(metrics.KEY_OWN_SCANS, *BY_UUID) > 50
    assert (by_uuid, by_id) == (0, 0)


async def test_a_reader_is_what_is_left(start: Start, database: Database) -> None:
    exporter = await start(SCHEMA)
    await probe_until(exporter, BY_ID, 50)
    read_by_uuid(database, 30)
    await probe_until(exporter, BY_ID, 200)
    assert await others(exporter, BY_UUID, BY_ID) == [30, 0]


async def test_partitions_and_joins_are_counted_scan_by_scan(
    start: Start, database: Database
) -> None:
    lookups = """
lookups:
  - query_type: friends
    sql: "SELECT 1 FROM (SELECT * FROM users WHERE uuid = $1) AS u
          CROSS JOIN LATERAL (SELECT FROM users AS v WHERE v.uuid = u.uuid LIMIT 1) AS w"
    parameter: users.uuid
"""
    exporter = await start(PARTITIONED, lookups)
    await probe_until(exporter, BY_UUID, 300)
    assert await others(exporter, BY_UUID) == [0]


async def test_reloads_lose_no_scan(start: Start, database: Database) -> None:
    exporter = await start(SCHEMA)
    for number in range(1, 5):
        await probe_until(exporter, BY_ID, 40 * number)
        await exporter.reload()
    assert await others(exporter, BY_UUID, BY_ID) == [0, 0]


async def test_what_was_read_while_the_exporter_was_down_is_counted(
    start: Start, database: Database
) -> None:
    first = await start(SCHEMA)
    await probe_until(first, BY_ID, 50)
    await first.stop()
    read_by_uuid(database, 25)
    second = await start()
    await probe_until(second, BY_ID, 100)
    assert await others(second, BY_UUID, BY_ID) == [25, 0]


async def test_indexes_that_come_and_go_under_the_probe(start: Start, database: Database) -> None:
    exporter = await start(SCHEMA)
    await probe_until(exporter, BY_ID, 50)
    before = exporter.counters.value(metrics.KEY_OWN_SCANS, *BY_ID)
    database.execute("ALTER TABLE users DROP CONSTRAINT users_uuid_key")
    await probe_until(exporter, BY_ID, int(before) + 50)
    database.execute("CREATE UNIQUE INDEX CONCURRENTLY users_uuid_new ON users (uuid)")
    await probe_until(exporter, BY_ID, int(before) + 200)
    read_by_uuid(database, 500)
    [by_uuid, by_id] = await others(exporter, BY_UUID, BY_ID)
    # What went with the index, and what the probe scanned before it knew the new one.
    assert 450 < by_uuid < 550
    assert by_id == 0
