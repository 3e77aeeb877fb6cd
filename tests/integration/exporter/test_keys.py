"""The integer keys on real servers: how far they have come, and who still reads by them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.conftest import SETTINGS
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

TABLES = """
CREATE TABLE users (id serial PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid(), name text);
INSERT INTO users (name) SELECT 'x' FROM generate_series(1, 1000);
CREATE TABLE orders (id int2 PRIMARY KEY, user_id int REFERENCES users (id));
INSERT INTO orders VALUES (32767, 1);
CREATE TABLE audit_logs (id int GENERATED ALWAYS AS IDENTITY, created_at timestamptz,
    PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);
CREATE TABLE big (id int8 PRIMARY KEY);
ANALYZE users;
"""
CONFIG = """\
tables: [{name: public.users}]
audit: {table: public.audit_logs, watch: [{table: public.orders}, {table: public.big}]}
"""
USERS_ID, USERS_UUID = ("public", "users", "id"), ("public", "users", "uuid")


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


async def until(exporter: Exporter, done: Callable[[Snapshot], bool]) -> Snapshot:
    """Scrapes until it is so; the last scrape fails the test that waits too long.

    Without the latency collector no probe begins, and every scan has one known cause.
    """
    for _ in range(150):
        snapshot = await exporter.scrape(5, frozenset({"key_scans", "key_overflow", "identity"}))
        if done(snapshot):
            return snapshot
        await asyncio.sleep(0.1)
    raise AssertionError(exporter.runner.statuses)


async def test_used_range_by_sequence_or_by_the_highest_key(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    found = await until(exporter, lambda s: bool(labels_of(s, metrics.KEY_USED)))
    assert labels_of(found, metrics.KEY_USED) == {
        USERS_ID,
        ("public", "orders", "id"),
        ("public", "audit_logs", "id"),
    }
    assert value_of(found, metrics.KEY_USED, *USERS_ID) == pytest.approx(1000 / 2147483647)
    assert value_of(found, metrics.KEY_USED, "public", "orders", "id") == 1
    assert value_of(found, metrics.KEY_USED, "public", "audit_logs", "id") == 0
    assert value_of(found, metrics.KEY_OVERFLOW, "public", "orders", "id") == 0
    assert labels_of(found, metrics.KEY_OVERFLOW) == {("public", "orders", "id")}


async def test_a_key_beyond_its_sequence_counts(
    start_exporter: StartExporter, database: Database
) -> None:
    beyond = "INSERT INTO users (id) VALUES (2147483640);"
    exporter = await start_exporter(TABLES + beyond, CONFIG)
    found = await until(exporter, lambda s: bool(labels_of(s, metrics.KEY_USED)))
    assert value_of(found, metrics.KEY_USED, *USERS_ID) == 2147483640 / 2147483647


def scans(snapshot: Snapshot, labels: tuple[str, ...]) -> float:
    return value_of(snapshot, metrics.KEY_INDEX_SCANS, *labels)


def read_by_id(database: Database, times: int) -> None:
    read(database, times, "id = 7")


def read_by_uuid(database: Database, times: int) -> None:
    read(database, times, "uuid = '00000000-0000-4000-8000-000000000000'")


def read(database: Database, times: int, condition: str) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        for _ in range(times):
            connection.execute(f"SELECT name FROM users WHERE {condition}", prepare=False)


async def settled(exporter: Exporter) -> Snapshot:
    """What the counters are once every backend has told its statistics."""
    await asyncio.sleep(1.2)
    return await until(exporter, lambda _: True)


async def test_scans_are_counted_by_key_and_through_resets_and_new_indexes(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    before = await settled(exporter)
    assert labels_of(before, metrics.KEY_INDEX_SCANS) == {USERS_ID, USERS_UUID}
    base, base_uuid = scans(before, USERS_ID), scans(before, USERS_UUID)
    read_by_id(database, 30)
    await until(exporter, lambda s: scans(s, USERS_ID) == base + 30)
    database.execute("SELECT pg_stat_reset()")
    await until(exporter, lambda s: scans(s, USERS_ID) == base + 30)
    read_by_id(database, 10)
    await until(exporter, lambda s: scans(s, USERS_ID) == base + 40)
    database.execute("CREATE INDEX second ON users (id, name)")
    database.execute("ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE")
    database.execute("CREATE UNIQUE INDEX third ON users (id)")
    read_by_id(database, 5)
    found = await until(exporter, lambda s: scans(s, USERS_ID) == base + 45)
    assert scans(found, USERS_UUID) == base_uuid


async def test_a_reset_of_one_index_or_of_something_else_is_no_spike_and_no_loss(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    before = await settled(exporter)
    base, base_uuid = scans(before, USERS_ID), scans(before, USERS_UUID)
    read_by_id(database, 20)
    read_by_uuid(database, 40)
    counted = (base + 20, base_uuid + 40)
    await until(exporter, lambda s: (scans(s, USERS_ID), scans(s, USERS_UUID)) == counted)
    # Moves the moment by which a crash is known, and no counter of an index.
    database.execute("SELECT pg_stat_reset_shared('bgwriter')")
    found = await settled(exporter)
    assert (scans(found, USERS_ID), scans(found, USERS_UUID)) == counted
    # Moves the database's own moment of reset.
    database.execute("SELECT pg_stat_reset_single_table_counters('users_pkey'::regclass)")
    read_by_id(database, 10)
    found = await until(exporter, lambda s: scans(s, USERS_ID) == base + 30)
    assert scans(found, USERS_UUID) == base_uuid + 40


async def test_a_crash_discards_the_statistics_and_costs_no_scan(tmp_path: Path) -> None:
    with PostgresServer(18, settings=SETTINGS) as server:
        database = Database(server, "postgres")
        database.execute(TABLES)
        file = tmp_path / "phasegate.yaml"
        file.write_text(CONFIG)
        exporter = Exporter(lambda: load_settings(file, {"DATABASE_URL": server.conninfo()}))
        try:
            before = await settled(exporter)
            base, base_uuid = scans(before, USERS_ID), scans(before, USERS_UUID)
            read_by_id(database, 20)
            read_by_uuid(database, 40)
            counted = (base + 20, base_uuid + 40)
            await until(exporter, lambda s: (scans(s, USERS_ID), scans(s, USERS_UUID)) == counted)
            server.kill_postmaster()
            server.start()
            # One stays below what it was, the other is beyond it before anybody looks.
            read_by_id(database, 10)
            read_by_uuid(database, 90)
            counted = (base + 30, base_uuid + 130)
            await until(exporter, lambda s: (scans(s, USERS_ID), scans(s, USERS_UUID)) == counted)
        finally:
            await exporter.stop()


async def test_the_scans_of_a_foreign_key_are_bounded(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    before = await settled(exporter)
    base = scans(before, USERS_ID)
    bound = value_of(before, metrics.KEY_FOREIGN_KEY_SCANS, *USERS_ID)
    database.execute("INSERT INTO orders SELECT i, i FROM generate_series(1, 200) AS i")
    found = await until(
        exporter, lambda s: value_of(s, metrics.KEY_FOREIGN_KEY_SCANS, *USERS_ID) == bound + 200
    )
    assert 0 < scans(found, USERS_ID) - base <= 200
