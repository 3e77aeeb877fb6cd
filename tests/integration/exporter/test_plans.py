"""The plans of the lookups on real servers: a lost index is seen, counted and shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.collectors.plans import Plans
from phasegate.exporter.http import make_application
from phasegate.exporter.storage import Storage
from tests.fixtures.database import Database

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid NOT NULL DEFAULT gen_random_uuid(), name text);
INSERT INTO users SELECT i FROM generate_series(1, 20000) AS i;
CREATE UNIQUE INDEX users_uuid ON users (uuid);
ANALYZE users;
"""
EXPORTER = "exporter: {explain_interval: 1s, probe_interval: 50ms}\n"
CONFIG = f"{EXPORTER}tables: [{{name: public.users}}]\n"
BY_UUID, BY_ID = ("uuid_lookup", "public", "users"), ("id_lookup", "public", "users")
Client = TestClient[web.Request, web.Application]
Serve = Callable[..., Awaitable[tuple[Exporter, Client]]]


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


@pytest.fixture
async def serve(database: Database, tmp_path: Path) -> AsyncIterator[Serve]:
    """Prepares the database; an exporter with storage on it, and a client of that."""
    clients: list[Client] = []
    storage = Storage(tmp_path / "state")

    async def start(schema: str = "", config: str = CONFIG) -> tuple[Exporter, Client]:
        if schema:
            database.execute(schema)
        file = tmp_path / "phasegate.yaml"
        file.write_text(config, encoding="utf-8")
        environ = {"DATABASE_URL": database.conninfo()}
        exporter = Exporter(lambda: load_settings(file, environ), storage)
        client: Client = TestClient(TestServer(make_application(exporter)))
        clients.append(client)
        await client.start_server()
        await exporter.scrape(5, frozenset())
        return exporter, client

    yield start
    for client in clients:
        await client.close()


async def until(done: Callable[[], bool]) -> None:
    """Waits until it is so, longer than any interval of these tests."""
    for _ in range(100):
        if done():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not within ten seconds")


def plans_of(exporter: Exporter, name: str = "plans") -> dict[tuple[str, str, str], str]:
    collector = exporter.runner.collectors[name]
    assert isinstance(collector, Plans)
    return {labels: seen.shape.text for labels, seen in collector.seen.items()}


def changes(exporter: Exporter, *labels: str, target: str = "database") -> float:
    return exporter.counters.value(metrics.PROBE_PLAN_CHANGES, target, *labels)


async def test_a_lost_index_is_counted_and_shown_and_so_is_its_return(
    serve: Serve, database: Database
) -> None:
    exporter, client = await serve(SCHEMA)
    by_index = "Index Scan using users_uuid on users"
    await until(lambda: plans_of(exporter).get(BY_UUID) == by_index)
    page = await (await client.get("/")).text()
    assert by_index in page
    assert "without an index" not in page
    assert changes(exporter, *BY_UUID) == 0
    await until_probed(client, by_index)

    database.execute("DROP INDEX users_uuid")
    await until(lambda: plans_of(exporter)[BY_UUID] == "Seq Scan on users")
    assert changes(exporter, *BY_UUID) == 1
    assert changes(exporter, *BY_ID) == 0
    page = await (await client.get("/")).text()
    assert "without an index: Seq Scan on public.users" in page
    text = await (await client.get("/metrics")).text()
    assert (
        'phasegate_probe_plan_changes_total{query_type="uuid_lookup",schema="public",'
        'table="users",target="database"} 1.0'
    ) in text
    told = [e["plan"] for e in await probes(client) if e["query_type"] == "uuid_lookup"]
    assert told[0] == by_index  # as it was then

    database.execute("CREATE UNIQUE INDEX users_uuid ON users (uuid)")
    await until(lambda: plans_of(exporter)[BY_UUID] == by_index)
    assert changes(exporter, *BY_UUID) == 2
    assert "without an index" not in await (await client.get("/")).text()


async def until_probed(client: Client, plan: str, name: str = "latency") -> None:
    """Waits for a probe that was answered by that plan."""
    for _ in range(100):
        if plan in {event["plan"] for event in await probes(client, name)}:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(await probes(client, name))


async def probes(client: Client, name: str = "latency") -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = await (await client.get("/debug/probes")).json()
    return found[name]


async def test_a_change_during_a_restart_is_counted(serve: Serve, database: Database) -> None:
    exporter, client = await serve(SCHEMA)
    await until(lambda: BY_UUID in plans_of(exporter))
    await client.close()
    database.execute("DROP INDEX users_uuid")
    exporter, _ = await serve()
    await until(lambda: BY_UUID in plans_of(exporter))
    assert changes(exporter, *BY_UUID) == 1


async def test_nothing_is_executed_and_statistics_change_no_plan(
    serve: Serve, database: Database
) -> None:
    config = f"""{CONFIG}
lookups: [{{query_type: slow, sql: "SELECT pg_sleep(30) FROM users WHERE uuid = $1", \
parameter: users.uuid}}]
"""
    exporter, _ = await serve(SCHEMA, config)
    labels = ("slow", "public", "users")
    await until(lambda: labels in plans_of(exporter))
    database.execute("INSERT INTO users SELECT i FROM generate_series(20001, 90000) AS i")
    database.execute("ANALYZE users")
    runs = exporter.runner.statuses["plans"].last_success
    await until(lambda: exporter.runner.statuses["plans"].last_success > runs + 1.5)
    assert exporter.runner.statuses["plans"].duration < 5
    assert changes(exporter, *labels) == 0


async def test_hostile_names_and_partitions(serve: Serve, database: Database) -> None:
    schema = """
    CREATE SCHEMA "Odd ""schema""; --";
    CREATE TABLE "Odd ""schema""; --"."%s {x} $1" (id int, "u""u" uuid) PARTITION BY HASH ("u""u");
    """ + "".join(
        f'CREATE TABLE "Odd ""schema""; --"."{{p}} {n}" PARTITION OF'
        f' "Odd ""schema""; --"."%s {{x}} $1" FOR VALUES WITH (MODULUS 2, REMAINDER {n});'
        for n in (0, 1)
    )
    config = f"""{EXPORTER}
tables: [{{name: '"Odd ""schema""; --"."%s {{x}} $1"', uuid_column: '"u""u"'}}]
"""
    exporter, client = await serve(schema, config)
    labels = ("uuid_lookup", 'Odd "schema"; --', "%s {x} $1")
    await until(lambda: plans_of(exporter).get(labels) == "Append (Seq Scan)")
    page = await (await client.get("/")).text()
    assert "without an index: Seq Scan on Odd &quot;schema&quot;; --.{p} 0, Seq Scan on" in page
    database.execute('CREATE INDEX ON "Odd ""schema""; --"."%s {x} $1" ("u""u")')
    await until(lambda: changes(exporter, *labels) == 1)


async def test_a_lookup_that_cannot_be_planned_fails_this_collector_only(
    serve: Serve, database: Database
) -> None:
    config = f"""{CONFIG}
lookups: [{{query_type: broken, sql: "SELECT gone FROM users WHERE uuid = $1", \
parameter: users.uuid}}]
"""
    exporter, _ = await serve(SCHEMA, config)
    status = exporter.runner.statuses["plans"]
    await until(lambda: status.reason == "undefined_object")
    assert 'broken public users: column "gone" does not exist' in status.error
    assert exporter.runner.statuses["latency"].success
    assert set(plans_of(exporter)) == {BY_UUID, BY_ID}
    database.execute("ALTER TABLE users ADD gone int")
    await until(lambda: status.success)
    assert len(plans_of(exporter)) == 3


async def test_what_fails_in_the_planner_leaves_nothing_behind(serve: Serve) -> None:
    config = f"""{CONFIG}
lookups:
  - {{query_type: broken, sql: "SELECT 1 / 0 FROM users WHERE uuid = $1", parameter: users.uuid}}
  - {{query_type: whole, sql: "SELECT name FROM users WHERE uuid = $1", parameter: users.uuid}}
"""
    exporter, _ = await serve(SCHEMA, config)
    whole = ("whole", "public", "users")
    await until(lambda: whole in plans_of(exporter))
    error = exporter.runner.statuses["plans"].error
    assert error == "broken public users: division by zero"


async def test_a_locked_table_costs_one_run_and_is_not_waited_for(
    serve: Serve, database: Database
) -> None:
    exporter, _ = await serve(SCHEMA)
    status = exporter.runner.statuses["plans"]
    await until(lambda: status.success)
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        await until(lambda: status.reason == "lock_timeout")
        assert status.duration < 2
        await exporter.scrape(5, frozenset())
        assert exporter.runner.statuses["latency"].success
    await until(lambda: status.success)
    assert changes(exporter, *BY_UUID) == 0


async def test_a_replica_has_plans_of_its_own(serve: Serve, database: Database) -> None:
    config = f"{CONFIG}database: {{replicas: {{reader: {{url: '{database.conninfo()}'}}}}}}\n"
    exporter, client = await serve(SCHEMA, config)
    await until(lambda: BY_UUID in plans_of(exporter, "plans/reader"))
    database.execute("DROP INDEX users_uuid")
    await until(lambda: changes(exporter, *BY_UUID, target="reader") == 1)
    await until(lambda: changes(exporter, *BY_UUID) == 1)
    await until_probed(client, "Seq Scan on users", "latency/reader")
