"""The application itself: both versions on both schemas, its health, its figures, its audit."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from phasegate.demo.app import build_app
from phasegate.demo.traffic import Traffic
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.planned import expand, make_legacy
from tests.fixtures.proxy import Proxy

Client = TestClient[Any, Any]
ROWS = 1_200


async def start(database_url: str, redis_url: str, version: int = 1) -> Client:
    prefix = f"test-{uuid.uuid4().hex}:perm:"
    client = TestClient(TestServer(build_app(database_url, redis_url, prefix, version)))
    await client.start_server()
    return client


@pytest.fixture
async def legacy(database: Database) -> Database:
    """The legacy schema with a few users."""
    make_legacy(database, ROWS)
    return database


@pytest.fixture
async def client(legacy: Database, cache_server: CacheServer) -> AsyncIterator[Client]:
    """Version 1 on the legacy schema."""
    client = await start(legacy.conninfo(), cache_server.url())
    yield client
    await client.close()


async def read_metric(client: Client, name: str, **labels: str) -> float:
    text = await (await client.get("/metrics")).text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def audit_events(database: Database) -> list[tuple[str, str]]:
    found = database.execute(
        "SELECT category, action FROM audit_logs WHERE created_at > now() - interval '30 seconds'"
        " ORDER BY id"
    )
    return [(category, action) for category, action in found]


async def test_permissions_are_those_that_are_valid_now(client: Client, legacy: Database) -> None:
    key = 6
    legacy.execute("DELETE FROM user_roles WHERE user_id = %s", [key])
    legacy.execute(
        "INSERT INTO user_roles SELECT %s, id, now(), now() + interval '1 h' * CASE name"
        " WHEN 'viewer' THEN 1 ELSE -1 END FROM roles WHERE name IN ('viewer', 'admin')",
        [key],
    )
    answer = await (await client.get(f"/users/{key}/permissions")).json()
    assert answer["source"] == "database"
    assert len(answer["permissions"]) == 7
    assert all(name.endswith(".read") for name in answer["permissions"])


async def test_second_check_is_answered_by_the_cache(client: Client) -> None:
    first = await (await client.get("/users/5/permissions")).json()
    second = await (await client.get("/users/5/permissions")).json()
    assert (first["source"], second["source"]) == ("database", "cache")
    assert first["permissions"] == second["permissions"]
    assert await read_metric(client, "cache_requests_total", cache="permissions") == 2
    assert await read_metric(client, "cache_hits_total", cache="permissions") == 1
    assert await read_metric(client, "permission_check_duration_seconds_count", source="cache") == 1


async def test_login_and_denial_are_audited_by_the_application(
    client: Client, legacy: Database
) -> None:
    assert (await client.post("/login", json={"user": "7"})).status == 200
    assert (await client.post("/login", json={"user": "999999"})).status == 401
    assert (await client.get("/users/7/permissions?require=nothing.at_all")).status == 403
    assert audit_events(legacy) == [
        ("auth", "login"),
        ("auth", "login_failed"),
        ("permission", "denied"),
    ]


async def test_users_are_made_and_renamed(client: Client, legacy: Database) -> None:
    made = await client.post("/users", json={"email": "a@example.com", "name": "A"})
    assert made.status == 201
    key = (await made.json())["user"]
    assert (await client.patch(f"/users/{key}", json={"name": "B"})).status == 200
    assert legacy.execute("SELECT name FROM users WHERE id = %s", [key]) == [("B",)]
    assert (await client.post("/users", json={"email": "a@example.com", "name": "A"})).status == 409
    assert (await client.patch("/users/999999", json={"name": "B"})).status == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"user": 7}', b'{"user": "x"}', b"\xff"])
async def test_bad_requests_are_400(client: Client, body: bytes) -> None:
    assert (await client.post("/login", data=body)).status == 400
    assert await read_metric(client, "http_requests_total", status="400", route="/login") == 1


async def test_both_versions_serve_the_expanded_schema(
    any_database: Database, cache_server: CacheServer, tmp_path: Path
) -> None:
    make_legacy(any_database, ROWS)
    before = any_database.execute("SELECT count(*) FROM audit_logs")
    older = await start(any_database.conninfo(), cache_server.url())
    await asyncio.to_thread(expand, any_database, tmp_path)
    assert any_database.execute("SELECT count(*) FROM audit_logs") == before
    newer = await start(any_database.conninfo(), cache_server.url(), version=2)
    try:
        async with aiohttp.ClientSession() as session:
            streams = [
                Traffic(session, str(app.make_url("")).rstrip("/"), rate=200, seed=seed)
                for seed, app in enumerate((older, newer))
            ]
            await asyncio.gather(*(run_for(stream, seconds=1.5) for stream in streams))
        tallies = [stream.tally for stream in streams]
        assert all(tally.requests > 20 and tally.errors == 0 for tally in tallies), tallies
        assert (await newer.get("/users/7/permissions")).status == 400
    finally:
        await older.close()
        await newer.close()
    users, audited = any_database.execute(
        f"SELECT (SELECT count(*) - {ROWS} FROM users),"
        " (SELECT count(*) FROM audit_logs WHERE action = 'insert')"
    )[0]
    assert 0 < users == audited


async def run_for(traffic: Traffic, seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, stop.set)
    await traffic.run(stop)


async def test_health_names_what_does_not_answer(
    legacy: Database, cache_server: CacheServer
) -> None:
    with Proxy(cache_server.port) as proxy:
        client = await start(legacy.conninfo(), f"redis://127.0.0.1:{proxy.port}/0")
        try:
            assert (await client.get("/health")).status == 200
            proxy.refuse()
            proxy.cut()
            answer = await client.get("/health")
            assert answer.status == 503
            assert (await answer.json())["failed"] == ["cache"]
            checked = await (await client.get("/users/5/permissions")).json()
            assert checked["source"] == "database"
        finally:
            await client.close()


async def test_database_that_breaks_is_a_503_and_comes_back(
    legacy: Database, cache_server: CacheServer
) -> None:
    with Proxy(legacy.server.port) as proxy:
        url = psycopg.conninfo.make_conninfo(legacy.conninfo(), port=proxy.port)
        client = await start(url, cache_server.url())
        try:
            proxy.refuse()
            proxy.cut()
            answers = [await client.get(f"/users/{key}/permissions") for key in range(1, 7)]
            assert {answer.status for answer in answers} == {503}
            assert (await client.get("/health")).status == 503
            assert await read_metric(client, "http_requests_total", status="503") == 7
            proxy.pass_on()
            answers = [await client.get(f"/users/{key}/permissions") for key in range(1, 7)]
            assert {answer.status for answer in answers} == {200}
        finally:
            await client.close()
