"""The state of the database on real servers: sessions, transactions, waits, replication."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users VALUES (1, 'a'), (2, 'b');
CREATE TABLE audit_logs (id int8, created_at timestamptz) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_1 PARTITION OF audit_logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
"""
CONFIG = "audit: {table: public.audit_logs, watch: [{table: public.users}]}\n"
USERS, AUDIT = ("public", "users"), ("public", "audit_logs")


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


async def until(exporter: Exporter, done: Callable[[Snapshot], bool]) -> Snapshot:
    """Scrapes until it is so; the last scrape fails the test that waits too long."""
    for _ in range(100):
        snapshot = await exporter.scrape(5, frozenset())
        if done(snapshot):
            return snapshot
        await asyncio.sleep(0.05)
    raise AssertionError(exporter.runner.statuses)


@contextmanager
def waiting(database: Database, statement: str) -> Iterator[None]:
    """Runs a statement that waits for a lock in a thread, until what it waits for is gone."""

    def wait() -> None:
        with psycopg.connect(database.conninfo()) as connection:
            connection.execute(statement)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)
        assert not thread.is_alive()


async def test_sessions_by_state_and_open_transactions(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    before = await exporter.scrape(5, frozenset())
    assert value_of(before, metrics.COLLECTOR_SUCCESS, "database") == 1
    assert value_of(before, metrics.CONNECTIONS, "idle_in_transaction") == 0
    assert value_of(before, metrics.PREPARED_TRANSACTIONS) == 0
    assert value_of(before, metrics.PREPARED_TRANSACTION_AGE) == 0
    with (
        psycopg.connect(database.conninfo()) as idle,
        psycopg.connect(database.conninfo()) as aborted,
    ):
        idle.execute("SELECT 1")
        with pytest.raises(psycopg.errors.DivisionByZero):
            aborted.execute("SELECT 1 / 0")
        await asyncio.sleep(0.3)
        found = await exporter.scrape(5, frozenset())
        aborted.rollback()
        assert value_of(found, metrics.CONNECTIONS, "idle_in_transaction") == 1
        assert value_of(found, metrics.CONNECTIONS, "idle_in_transaction_aborted") == 1
        assert 0.3 < value_of(found, metrics.LONGEST_TRANSACTION) < 5
        assert value_of(found, metrics.WRAPAROUND_AGE, "transaction") > 0
        assert labels_of(found, metrics.WRAPAROUND_AGE) == {("transaction",), ("multixact",)}
        idle.rollback()


async def test_a_forgotten_prepared_transaction_shows(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO users VALUES (3, 'c')")
        connection.execute(f"PREPARE TRANSACTION '{database.name}'")
        connection.rollback()
    try:
        await asyncio.sleep(0.2)
        found = await exporter.scrape(5, frozenset())
    finally:
        database.execute(f"ROLLBACK PREPARED '{database.name}'")
    assert value_of(found, metrics.PREPARED_TRANSACTIONS) == 1
    assert 0.2 < value_of(found, metrics.PREPARED_TRANSACTION_AGE) < 5


@pytest.mark.parametrize(
    ("held", "waits", "table"),
    [
        ("LOCK users IN SHARE MODE", "LOCK users IN ACCESS EXCLUSIVE MODE", USERS),
        ("UPDATE users SET name = 'x'", "UPDATE users SET name = 'y' WHERE id = 1", USERS),
        ("LOCK audit_logs_1 IN SHARE MODE", "LOCK audit_logs_1", AUDIT),
    ],
    ids=["table", "row", "partition"],
)
async def test_who_waits_on_a_watched_table(
    start_exporter: StartExporter, database: Database, held: str, waits: str, table: tuple[str, str]
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    quiet = await exporter.scrape(5, frozenset())
    assert {value_of(quiet, metrics.LOCK_WAITERS, *t) for t in (USERS, AUDIT)} == {0}
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute(held)
        with waiting(database, waits):
            try:
                found = await until(
                    exporter, lambda s: value_of(s, metrics.LOCK_WAITERS, *table) == 1
                )
                assert value_of(found, metrics.LOCK_BLOCKERS, *table) == 1
                assert 0 < value_of(found, metrics.LOCK_LONGEST_WAIT, *table) < 10
                other = AUDIT if table == USERS else USERS
                assert value_of(found, metrics.LOCK_WAITERS, *other) == 0
            finally:
                holder.rollback()
    await until(exporter, lambda s: value_of(s, metrics.LOCK_WAITERS, *table) == 0)


async def test_a_slot_that_nobody_reads_shows_what_it_keeps(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    slot = f"slot_{database.name}"
    database.execute(f"SELECT pg_create_physical_replication_slot('{slot}', true)")
    try:
        database.execute("INSERT INTO users SELECT i, 'x' FROM generate_series(10, 9999) AS i")
        found = await exporter.scrape(5, frozenset())
    finally:
        database.execute(f"SELECT pg_drop_replication_slot('{slot}')")
    assert value_of(found, metrics.SLOT_ACTIVE, slot) == 0
    assert value_of(found, metrics.SLOT_RETAINED, slot) > 500_000


async def test_a_standby_that_stops_replaying_lags_on_both_sides(
    postgres18: PostgresServer, tmp_path: Path
) -> None:
    with (
        PostgresServer(18, settings=SETTINGS) as primary,
        PostgresServer(standby_of=primary) as standby,
    ):
        primary.execute("CREATE TABLE grows (note text)")
        file = tmp_path / "phasegate.yaml"
        file.write_text("database: {replicas: {reader: {url: '${READER_URL}'}}}\n")
        environ = {"DATABASE_URL": primary.conninfo(), "READER_URL": standby.conninfo()}
        exporter = Exporter(lambda: load_settings(file, environ))
        await exporter.start()
        try:
            level = await until(exporter, lambda s: lag(s) == 0)
            assert value_of(level, metrics.REPLICA_LAG, "reader") < 60
            standby.execute("SELECT pg_wal_replay_pause()")
            primary.execute("INSERT INTO grows SELECT md5(i::text) FROM generate_series(1, 9999) i")
            found = await until(exporter, lambda s: lag(s) > 500_000)
            [(name,)] = labels_of(found, metrics.REPLICATION_LAG_BYTES)
            assert value_of(found, metrics.REPLICATION_LAG_BYTES, name) > 500_000
            assert value_of(found, metrics.REPLICA_LAG, "reader") > 0
            standby.execute("SELECT pg_wal_replay_resume()")
            await until(exporter, lambda s: lag(s) == 0)
        finally:
            await exporter.stop()


def lag(snapshot: Snapshot) -> float:
    return value_of(snapshot, metrics.REPLICA_LAG_BYTES, "reader")
