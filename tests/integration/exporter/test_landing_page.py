"""The landing page of a running exporter: verdicts from what it measured, and none without it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from html import unescape
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.http import make_application
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid());
INSERT INTO users SELECT i FROM generate_series(1, 500) AS i;
"""
CONFIG = """
exporter: {probe_interval: 20ms, evidence_block: 1s, exact_count_interval: 1s, connect_timeout: 1s}
tables: [{name: public.users}]
"""
Client = TestClient[web.Request, web.Application]
Serve = Callable[[str], Awaitable[Client]]
Rows = dict[str, dict[str, str]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts an exporter for the database at that address; nothing else scrapes it."""
    clients: list[Client] = []
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")

    async def start(url: str) -> Client:
        exporter = Exporter(lambda: load_settings(file, {"DATABASE_URL": url}))
        client: Client = TestClient(TestServer(make_application(exporter)))
        clients.append(client)
        await client.start_server()
        return client

    yield start
    for client in clients:
        await client.close()


async def read_criteria(client: Client) -> Rows:
    """The cells of each criterion's row, by the title of their column."""
    text = await (await client.get("/")).text()
    section = text.partition("<h2>Criteria</h2>")[2].partition("<h2>")[0]
    rows: Rows = {}
    for row in re.findall(r"<tr><td.*?</tr>", section):
        found = re.findall(r'data-is="([^"]*)">(.*?)</td>', row)
        cells = {name: unescape(re.sub(r"<[^>]*>", "", cell)) for name, cell in found}
        rows[cells["criterion"]] = cells
    return rows


async def until(client: Client, done: Callable[[Rows], bool]) -> Rows:
    for _ in range(100):
        rows = await read_criteria(client)
        if done(rows):
            return rows
        await asyncio.sleep(0.1)
    raise AssertionError(rows)


async def test_verdicts_follow_what_is_measured(serve: Serve, database: Database) -> None:
    database.execute(SCHEMA)
    client = await serve(database.conninfo())
    judged = ("health", "uuid_missing", "indexes_valid", "constraints_validated")
    rows = await until(
        client,
        lambda rows: (
            all(rows[name]["state"] == "passed" for name in judged)
            and bool(rows["uuid_lookup_latency"]["value"])
        ),
    )
    assert rows["uuid_missing"]["value"] == "0 rows"
    assert rows["uuid_lookup_latency"]["value"].startswith("P95 ")
    assert rows["uuid_lookup_latency"]["state"] == "inconclusive"
    assert "more samples like these are needed" in rows["uuid_lookup_latency"]["why"]
    assert rows["audit_partition_size"]["state"] == "inconclusive"
    assert rows["audit_partition_size"]["what to do"] == "configure audit"
    database.execute("ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID")
    database.execute("ALTER TABLE users ALTER uuid DROP NOT NULL; UPDATE users SET uuid = NULL")
    rows = await until(
        client,
        lambda rows: (
            {rows["constraints_validated"]["state"], rows["uuid_missing"]["state"]} == {"failed"}
        ),
    )
    assert "public.users: 1 constraints" in rows["constraints_validated"]["why"]
    assert "VALIDATE CONSTRAINT" in rows["constraints_validated"]["what to do"]
    assert "500 rows" in rows["uuid_missing"]["value"]


async def test_the_page_answers_at_once_while_nothing_else_does(serve: Serve) -> None:
    client = await serve(f"postgresql://u:canary-4711@127.0.0.1:{free_port()}/d")
    rows = await until(client, lambda rows: rows["health"]["state"] == "failed")
    assert "database: down" in rows["health"]["why"]
    assert rows["uuid_missing"]["state"] == "inconclusive"
    assert "database has not answered the exporter yet" in rows["uuid_missing"]["why"]
    began = time.monotonic()
    text = await (await client.get("/")).text()
    assert time.monotonic() - began < 0.5
    assert "canary-4711" not in text
