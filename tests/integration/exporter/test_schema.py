"""The state of the schema on real servers: counted exactly, estimated cheaply, never 0 by error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.model import Metric
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

TABLES = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid);
INSERT INTO users SELECT i, CASE WHEN i > 300 THEN gen_random_uuid() END
FROM generate_series(1, 1000) AS i;
CREATE TABLE orders (id int PRIMARY KEY, user_id int, uuid uuid);
INSERT INTO orders SELECT i, i, gen_random_uuid() FROM generate_series(1, 50) AS i;
CREATE TABLE audit_logs (id int8, created_at timestamptz) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_1 PARTITION OF audit_logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
ANALYZE users, orders;
"""
CONFIG = """
exporter: {exact_count_interval: 1s, probe_interval: 1s}
tables: [{name: public.users}, {name: public.orders}]
audit: {table: public.audit_logs, watch: [{table: public.users}]}
"""
USERS, ORDERS, AUDIT = ("public", "users"), ("public", "orders"), ("public", "audit_logs")
EXACT = "schema/uuid_missing"


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


async def until(exporter: Exporter, done: Callable[[Snapshot], object]) -> Snapshot:
    """Scrapes until it is so; the last scrape fails the test that waits too long."""
    for _ in range(100):
        snapshot = await exporter.scrape(5, frozenset())
        if done(snapshot):
            return snapshot
        await asyncio.sleep(0.05)
    raise AssertionError(exporter.runner.statuses)


def missing(snapshot: Snapshot) -> dict[tuple[str, ...], float]:
    return {
        labels: value_of(snapshot, metrics.UUID_MISSING, *labels)
        for labels in labels_of(snapshot, metrics.UUID_MISSING)
    }


async def test_missing_uuids_are_counted_and_estimated(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    snapshot = await until(exporter, missing)
    assert missing(snapshot) == {USERS: 300, ORDERS: 0}
    estimated = value_of(snapshot, metrics.UUID_MISSING_ESTIMATED, *USERS)
    assert estimated == pytest.approx(300, abs=1)
    assert value_of(snapshot, metrics.UUID_MISSING_COUNTED, *USERS) > 1_700_000_000
    database.execute("UPDATE users SET uuid = gen_random_uuid() WHERE id <= 299")
    await until(exporter, lambda s: missing(s) == {USERS: 1, ORDERS: 0})


async def test_before_the_column_exists_nothing_is_counted_and_nothing_fails(
    start_exporter: StartExporter, database: Database
) -> None:
    database.execute(TABLES)
    exporter = await start_exporter("ALTER TABLE users DROP uuid", CONFIG)
    snapshot = await until(exporter, missing)
    assert missing(snapshot) == {ORDERS: 0}
    assert value_of(snapshot, metrics.COLLECTOR_SUCCESS, EXACT) == 1
    assert labels_of(snapshot, metrics.UUID_MISSING_ESTIMATED) == {ORDERS}


async def test_a_table_that_cannot_be_counted_is_a_failure_and_not_zero(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    await until(exporter, missing)
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        snapshot = await until(exporter, lambda s: USERS not in missing(s))
        assert missing(snapshot) == {ORDERS: 0}
        assert value_of(snapshot, metrics.COLLECTOR_SUCCESS, EXACT) == 0
        assert value_of(snapshot, metrics.COLLECTOR_ERRORS, EXACT, "lock_timeout") >= 1
        assert value_of(snapshot, metrics.COLLECTOR_SUCCESS, "schema") == 1
        holder.rollback()
    await until(exporter, lambda s: missing(s) == {USERS: 300, ORDERS: 0})


async def test_debris_of_a_broken_migration_is_counted(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    debris = (metrics.INVALID_INDEXES, metrics.CONSTRAINTS_UNVALIDATED, metrics.TRIGGERS_DISABLED)
    clean = await exporter.scrape(5, frozenset())
    for metric in debris:
        assert {t: value_of(clean, metric, *t) for t in labels_of(clean, metric)} == dict.fromkeys(
            (USERS, ORDERS, AUDIT), 0
        )
    database.execute("UPDATE orders SET uuid = (SELECT uuid FROM orders WHERE id = 1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON orders (uuid)")
    database.execute(
        """
        ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER audit AFTER INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION nothing();
        ALTER TABLE audit_logs_1 DISABLE TRIGGER audit;
        """
    )
    found = await exporter.scrape(5, frozenset())

    def counts(metric: Metric) -> list[float]:
        return [value_of(found, metric, *table) for table in (USERS, ORDERS, AUDIT)]

    assert counts(metrics.INVALID_INDEXES) == [0, 1, 0]
    assert counts(metrics.CONSTRAINTS_UNVALIDATED) == [1, 1, 0]
    assert counts(metrics.TRIGGERS_DISABLED) == [0, 0, 1]


async def test_hostile_names_are_only_names(start_exporter: StartExporter) -> None:
    exporter = await start_exporter(
        """
        CREATE SCHEMA "Odd ""schema"" {0} %s; --";
        CREATE TABLE "Odd ""schema"" {0} %s; --"."select" (id int PRIMARY KEY, "u""u %s" uuid);
        INSERT INTO "Odd ""schema"" {0} %s; --"."select" VALUES (1, NULL), (2, gen_random_uuid());
        """,
        """tables: [{name: '"Odd ""schema"" {0} %s; --".select', uuid_column: '"u""u %s"'}]\n""",
    )
    labels = ('Odd "schema" {0} %s; --', "select")
    assert missing(await until(exporter, missing)) == {labels: 1}
