"""The probe against a real server: what it looks up, what it says of what it cannot, faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg

from phasegate.contract import metrics
from phasegate.contract.model import Exemplar
from phasegate.exporter.app import Exporter
from phasegate.exporter.collectors.latency import Latency
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


async def test_slow_probes_are_exemplars_that_the_page_can_find(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(
        WITH_UUID,
        f"{CONFIG}criteria: {{uuid_lookup_latency: {{warning: 300ms, critical: 900ms}}}}\n",
    )
    fast = await until(exporter, lambda s: count(s, UUID) > 5)
    assert not exemplars(fast)
    for _ in range(10):  # a lock may catch the probe while it draws a key, which is not timed
        with psycopg.connect(database.conninfo()) as holder:
            holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(0.6)
        await asyncio.sleep(0.2)
        found = exemplars(await exporter.scrape(5, frozenset()))
        if found:
            break
    assert found
    # A hundred events later the page still has what an exemplar names, also after a reload.
    before = count(await until(exporter, lambda _: True), UUID)
    await until(exporter, lambda s: count(s, UUID) > before + 60)
    await exporter.reload()
    kept = {event["probe_id"]: event for event in probes(exporter)}
    for exemplar in found:
        [(name, probe_id)] = exemplar.labels
        assert name == "probe_id"
        assert len(name) + len(probe_id) < 128
        assert exemplar.value > 0.3
        assert (kept[probe_id]["seconds"], kept[probe_id]["time"]) == exemplar[1:]


def exemplars(snapshot: Snapshot) -> list[Exemplar]:
    both = [distribution_of(snapshot, metrics.QUERY_DURATION, *k) for k in (UUID, INTEGER)]
    return [e for found in both if found for e in found.exemplars if e is not None]


def probes(exporter: Exporter) -> list[dict[str, Any]]:
    collector = exporter.runner.collectors["latency"]
    assert isinstance(collector, Latency)
    return collector.probes()


async def test_a_failed_probe_tells_its_class_and_no_key(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(
        WITH_UUID,
        f"""{CONFIG}
lookups: [{{query_type: cast, sql: "SELECT (uuid::text || 'x')::uuid FROM users WHERE uuid = $1", \
parameter: users.uuid}}]
""",
    )
    labels = ("database", "cast", "public", "users", "22")
    await until(exporter, lambda s: labels in labels_of(s, metrics.PROBE_FAILURES))
    [failed, *_] = [event for event in probes(exporter) if "error" in event]
    assert set(failed) == {"probe_id", "time", "query_type", "schema", "table", "class", "error"}
    assert (failed["class"], failed["error"]) == ("22", "InvalidTextRepresentation")
    assert failed["query_type"] == "cast"
    # The other lookups go on beside it.
    before = await until(exporter, lambda s: count(s, UUID) > 5)
    await until(exporter, lambda s: count(s, UUID) > count(before, UUID) + 10)
    keys = {str(uuid) for (uuid,) in database.execute("SELECT uuid FROM users")}
    assert not any(key in str(probes(exporter)) for key in keys)


async def test_a_lookup_that_the_server_refuses_fails_alone(start_exporter: StartExporter) -> None:
    broken = (
        'lookups: [{query_type: orders, sql: "SELECT FROM orders WHERE uuid = $1",'
        " parameter: public.users.uuid}]\n"
    )
    exporter = await start_exporter(WITH_UUID, CONFIG + broken)
    orders = ("orders", "public", "users")
    snapshot = await until(
        exporter,
        lambda s: count(s, UUID) > 5 and bool(labels_of(s, metrics.PROBE_FAILURES)),
    )
    assert value_of(snapshot, metrics.PROBE_FAILURES, "database", *orders, "42") > 0
    assert [labels[1] for labels in labels_of(snapshot, metrics.PROBE_FAILURES)] == ["orders"]


async def test_a_scrape_during_a_reload_is_of_what_comes_after_it(
    start_exporter: StartExporter,
) -> None:
    exporter = await start_exporter(WITH_UUID, CONFIG)
    await exporter.scrape(5, frozenset())
    old = exporter.runner
    reloading = asyncio.create_task(exporter.reload())
    await asyncio.sleep(0)  # it has begun, and takes the old one down
    snapshot = await exporter.scrape(5, frozenset())
    await reloading
    assert exporter.runner is not old
    assert snapshot.statuses == list(exporter.runner.statuses.values())
    assert value_of(snapshot, metrics.UP, "database") == 1
