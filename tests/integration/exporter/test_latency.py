"""The probe against a real server: what it looks up, what it says of what it cannot, faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg

from phasegate.contract import metrics
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from tests.fixtures.database import Database
from tests.fixtures.snapshots import distribution_of, labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

INTEGER_ONLY = """
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 2000) AS i;
"""
WITH_UUID = f"""
{INTEGER_ONLY}
ALTER TABLE users ADD uuid uuid UNIQUE DEFAULT gen_random_uuid();
UPDATE users SET uuid = gen_random_uuid() WHERE uuid IS NULL;
"""
CONFIG = """
exporter: {probe_interval: 20ms, probe_timeout: 1s}
tables: [{name: public.users}]
"""
UUID = ("uuid_lookup", "public", "users")
INTEGER = ("id_lookup", "public", "users")


async def until(exporter: Exporter, done: Callable[[Snapshot], bool]) -> Snapshot:
    """Scrapes until it is so; the last scrape fails the test that waits too long."""
    for _ in range(100):
        snapshot = await exporter.scrape(5, frozenset())
        if done(snapshot):
            return snapshot
        await asyncio.sleep(0.1)
    raise AssertionError(exporter.runner.statuses)


def count(snapshot: Snapshot, labels: tuple[str, ...]) -> int:
    found = distribution_of(snapshot, metrics.QUERY_DURATION, *labels)
    return sum(found.counts) if found else 0


async def test_uuid_and_integer_are_looked_up_in_pairs(start_exporter: StartExporter) -> None:
    exporter = await start_exporter(WITH_UUID, CONFIG)
    snapshot = await until(exporter, lambda s: count(s, UUID) > 20)
    assert abs(count(snapshot, UUID) - count(snapshot, INTEGER)) <= 1
    found = distribution_of(snapshot, metrics.QUERY_DURATION, *UUID)
    assert found is not None
    assert {0.01, 0.02} <= set(found.edges)
    assert 0 < found.sum / sum(found.counts) < 0.1
    assert not labels_of(snapshot, metrics.PROBE_ABSENT)


async def test_before_the_column_exists_the_lookup_is_absent_and_then_appears(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(INTEGER_ONLY, CONFIG)
    snapshot = await until(exporter, lambda s: count(s, INTEGER) > 5)
    assert count(snapshot, UUID) == 0
    assert value_of(snapshot, metrics.PROBE_ABSENT, "database", *UUID, "no_column") == 1
    database.execute("ALTER TABLE users ADD uuid uuid UNIQUE DEFAULT gen_random_uuid()")
    snapshot = await until(exporter, lambda s: count(s, UUID) > 5)
    assert not labels_of(snapshot, metrics.PROBE_ABSENT)


async def test_a_blocked_lookup_is_a_failure_and_never_fast(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(WITH_UUID, CONFIG)
    before = await until(exporter, lambda s: count(s, UUID) > 5)
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        cancelled = ("database", *UUID, "57")
        blocked = await until(exporter, lambda s: cancelled in labels_of(s, metrics.PROBE_FAILURES))
    assert count(blocked, UUID) - count(before, UUID) < 100
    skipped = ("database", *UUID, "server_busy")
    await until(exporter, lambda s: skipped in labels_of(s, metrics.PROBE_SKIPPED))
    after = count(blocked, UUID)
    await until(exporter, lambda s: count(s, UUID) > after)


async def test_hostile_names_are_only_names(start_exporter: StartExporter) -> None:
    exporter = await start_exporter(
        """
        CREATE SCHEMA "Odd ""schema""; --";
        CREATE TABLE "Odd ""schema""; --"."select" (id int PRIMARY KEY, "u""u" uuid UNIQUE);
        INSERT INTO "Odd ""schema""; --"."select"
        SELECT i, gen_random_uuid() FROM generate_series(1, 50) AS i;
        """,
        """
exporter: {probe_interval: 20ms}
tables: [{name: '"Odd ""schema""; --".select', uuid_column: '"u""u"'}]
""",
    )
    labels = ("uuid_lookup", 'Odd "schema"; --', "select")
    await until(exporter, lambda s: count(s, labels) > 5)


async def test_a_killed_backend_is_replaced(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(WITH_UUID, CONFIG)
    before = await until(exporter, lambda s: count(s, UUID) > 5)
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'phasegate/latency'"
    )
    await until(exporter, lambda s: count(s, UUID) > count(before, UUID) + 10)
    [(backends,)] = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'phasegate/%'"
        " AND datname = current_database()"
    )
    assert backends <= 5
