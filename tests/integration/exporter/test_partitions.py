"""Partition sizes from a real server: to the byte, and never behind a lock."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

SCHEMA = """
CREATE TABLE audit_logs (id int8 GENERATED ALWAYS AS IDENTITY, created_at timestamptz, note text)
PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_2026_01 PARTITION OF audit_logs
FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2026-02-01 00:00+00');
CREATE TABLE audit_logs_2026_02 PARTITION OF audit_logs
FOR VALUES FROM ('2026-02-01 00:00+00') TO ('2026-03-01 00:00+00');
CREATE TABLE audit_logsX2024 (id int8);
INSERT INTO audit_logs (created_at, note)
SELECT '2026-01-15 00:00+00', repeat(md5(i::text), 100) FROM generate_series(1, 500) AS i;
"""


@pytest.fixture
async def exporter(start_exporter: StartExporter) -> Exporter:
    return await start_exporter(SCHEMA, "audit: {table: public.audit_logs}\n")


def sizes(snapshot: Snapshot) -> dict[str, float | object]:
    return {s.labels[1]: s.value for s in snapshot.samples if s.metric is metrics.TABLE_SIZE}


async def test_sizes_equal_the_servers_own_to_the_byte(
    exporter: Exporter, database: Database
) -> None:
    found = sizes(await exporter.scrape(5, frozenset()))
    with psycopg.connect(database.conninfo()) as connection:
        rows = connection.execute(
            "SELECT c.relname, pg_table_size(c.oid) FROM pg_class AS c"
            " JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE c.relkind = 'r'"
        ).fetchall()
    assert found == dict(rows)
    assert set(found) == {"audit_logs_2026_01", "audit_logs_2026_02"}
    assert found["audit_logs_2026_01"] > found["audit_logs_2026_02"]  # type: ignore[operator]


@pytest.mark.parametrize("awaited", [False, True], ids=["held", "awaited"])
async def test_a_locked_partition_costs_only_itself(
    exporter: Exporter, database: Database, awaited: bool
) -> None:
    with (
        psycopg.connect(database.conninfo()) as holder,
        psycopg.connect(database.conninfo()) as waiter,
    ):
        waiting: asyncio.Task[object] | None = None
        if awaited:
            holder.execute("LOCK TABLE audit_logs_2026_01 IN ACCESS SHARE MODE")
            waiting = asyncio.create_task(
                asyncio.to_thread(
                    waiter.execute, "LOCK TABLE audit_logs_2026_01 IN ACCESS EXCLUSIVE MODE"
                )
            )
            await asyncio.sleep(0.2)
        else:
            holder.execute("LOCK TABLE audit_logs_2026_01 IN ACCESS EXCLUSIVE MODE")
        loop = asyncio.get_running_loop()
        began = loop.time()
        snapshot = await exporter.scrape(5, frozenset())
        assert loop.time() - began < 2
        holder.rollback()
        if waiting is not None:
            await waiting
    assert set(sizes(snapshot)) == {"audit_logs_2026_02"}
    assert value_of(snapshot, metrics.PARTITIONS_SKIPPED, "locked") == 1
    assert value_of(snapshot, metrics.UP, "database") == 1


async def test_a_stopped_database_is_down_and_has_no_gauges(
    exporter: Exporter, database: Database
) -> None:
    await exporter.scrape(5, frozenset())
    with psycopg.connect(database.server.conninfo(), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [database.name],
        )
        down = await exporter.scrape(5, frozenset())
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')
    assert value_of(down, metrics.UP, "database") == 0
    assert not sizes(down)
    whole = await exporter.scrape(5, frozenset())
    assert value_of(whole, metrics.UP, "database") == 1
    assert len(sizes(whole)) == 2


CALENDAR = (
    metrics.PARTITIONS_AHEAD,
    metrics.PARTITION_RUNWAY,
    metrics.PARTITION_GAPS,
    metrics.PARTITION_OVERLAPS,
)
TIMELESS = {
    "hash": ("HASH (id)", "WITH (MODULUS 1, REMAINDER 0)"),
    "list": ("LIST (kind)", "IN ('a')"),
    "number": ("RANGE (id)", "FROM (20260101) TO (20270101)"),
    "text": ("RANGE (kind)", "FROM ('2026-01-01') TO ('2027-01-01')"),
    "expression": ("RANGE (extract(year FROM at))", "FROM (2026) TO (2027)"),
}


async def start_with(start: StartExporter, by: str, bound: str) -> Snapshot:
    exporter = await start(
        f"CREATE TABLE log (id int8, kind text, at timestamp, day date) PARTITION BY {by};"
        f"CREATE TABLE part PARTITION OF log FOR VALUES {bound};",
        "audit: {table: public.log, time_column: at}\n",
    )
    return await exporter.scrape(5, frozenset())


@pytest.mark.parametrize("name", TIMELESS)
async def test_partitions_without_a_time_have_no_calendar(
    start_exporter: StartExporter, name: str
) -> None:
    found = await start_with(start_exporter, *TIMELESS[name])
    assert set(sizes(found)) == {"part"}
    assert [labels_of(found, metric) for metric in CALENDAR] == [set()] * 4
    assert value_of(found, metrics.PARTITIONS_DETACH_PENDING, "public", "log") == 0


@pytest.mark.parametrize("column", ["at", "day"])
async def test_a_bound_beyond_the_year_9999_has_no_end(
    start_exporter: StartExporter, column: str
) -> None:
    bound = "FROM ('0044-03-15 BC') TO ('20260-01-01')"
    found = await start_with(start_exporter, f"RANGE ({column})", bound)
    assert value_of(found, metrics.PARTITION_RUNWAY, "public", "log") == float("inf")


@pytest.mark.parametrize("sql", ["SELECT", "CREATE VIEW log AS SELECT now() AS created_at"])
async def test_a_log_that_is_no_table_is_told_and_counts_nothing(
    start_exporter: StartExporter, sql: str
) -> None:
    exporter = await start_exporter(sql, "audit: {table: public.log}\n")
    await exporter.runner.run_scheduled(5)
    found = await exporter.scrape(5, frozenset())
    assert not labels_of(found, metrics.AUDIT_CREATED)
    statuses = {status.collector: status for status in found.statuses}
    for name in ("audit", "audit/reconcile", "partitions"):
        assert statuses[name].reason == "undefined_object"
        assert "public.log" in statuses[name].error


DEFAULTS = """
CREATE TABLE audit_logs (id int8, created_at timestamptz) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_2026 PARTITION OF audit_logs
FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00') PARTITION BY LIST (id);
CREATE TABLE audit_logs_2026_1 PARTITION OF audit_logs_2026 FOR VALUES IN (1);
CREATE TABLE "Other 2026" PARTITION OF audit_logs_2026 DEFAULT;
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;
INSERT INTO audit_logs VALUES (1, '2026-01-15 00:00+00'), (1, '2030-01-01 00:00+00');
"""
AUDIT = "audit: {table: public.audit_logs}\n"
USED = metrics.DEFAULT_PARTITION_USED


async def look(exporter: Exporter) -> Snapshot:
    await exporter.runner.run_scheduled(5)
    return await exporter.scrape(5, frozenset())


async def test_a_row_in_a_default_partition_is_told_until_it_is_gone(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(DEFAULTS, AUDIT)
    found = await look(exporter)
    assert value_of(found, USED, "public", "audit_logs_default") == 1
    assert value_of(found, USED, "public", "Other 2026") == 0
    assert len(labels_of(found, USED)) == 2
    database.execute(
        "DELETE FROM audit_logs_default; INSERT INTO audit_logs VALUES (9, '2026-05-05')"
    )
    found = await look(exporter)
    assert value_of(found, USED, "public", "audit_logs_default") == 0
    assert value_of(found, USED, "public", "Other 2026") == 1


async def test_without_a_default_partition_nothing_is_told(exporter: Exporter) -> None:
    assert not labels_of(await look(exporter), USED)
    assert exporter.runner.statuses["partitions/default"].success


async def test_a_locked_default_partition_is_not_waited_for(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(DEFAULTS, AUDIT)
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute("LOCK TABLE audit_logs_default IN ACCESS EXCLUSIVE MODE")
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await look(exporter)
        assert loop.time() - began < 2
    assert not labels_of(found, USED)
    assert exporter.runner.statuses["partitions/default"].reason == "lock_timeout"
    assert "audit_logs_2026_1" in sizes(found)
