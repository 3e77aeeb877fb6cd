"""Evidence from a real server, over HTTP, as a judge reads it; and over a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from phasegate.contract.criteria import passing_limit
from phasegate.contract.evaluate import evaluate_exact
from phasegate.contract.evidence import EVIDENCE_PATH, Evidence
from phasegate.contract.model import Series, Verdict
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.evidence import LATENCY
from phasegate.exporter.http import make_application
from phasegate.exporter.storage import Storage
from tests.fixtures.database import Database

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid());
INSERT INTO users SELECT i FROM generate_series(1, 2000) AS i;
CREATE TABLE audit_logs (created_at timestamptz) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_all PARTITION OF audit_logs FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
"""
CONFIG = """
environment: test
exporter: {probe_interval: 20ms, probe_timeout: 500ms, evidence_block: 1s}
tables: [{name: public.users}]
audit: {table: public.audit_logs}
"""
Client = TestClient[web.Request, web.Application]
Serve = Callable[[], Awaitable[tuple[Exporter, Client]]]


@pytest.fixture
async def serve(database: Database, tmp_path: Path) -> AsyncIterator[Serve]:
    """An exporter with storage, and a client of it; nothing else ever scrapes it."""
    database.execute(SCHEMA)
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo()}
    clients: list[Client] = []
    storage = Storage(tmp_path / "state")

    async def start() -> tuple[Exporter, Client]:
        exporter = Exporter(lambda: load_settings(file, environ), storage)
        client: Client = TestClient(TestServer(make_application(exporter)))
        clients.append(client)
        await client.start_server()
        return exporter, client

    yield start
    for client in clients:
        await client.close()
    storage.close()


async def fetch(client: Client, since: float = 0) -> Evidence:
    response = await client.get(EVIDENCE_PATH, params={"since": f"{since:.6f}"})
    assert response.status == 200
    return msgspec.json.decode(await response.read(), type=Evidence)


async def until(client: Client, done: Callable[[Evidence], bool], since: float = 0) -> Evidence:
    """Fetches until it is so."""
    for _ in range(100):
        found = await fetch(client, since)
        if done(found):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(found)


def latency(evidence: Evidence) -> Series | None:
    return next((s for s in evidence.series if s.criterion == LATENCY), None)


def closed(evidence: Evidence) -> int:
    found = latency(evidence)
    return sum(not block.open for block in found.blocks) if found else 0


async def test_nobody_has_to_scrape(serve: Serve) -> None:
    exporter, client = await serve()
    found = await until(client, lambda e: closed(e) >= 2 and len(e.observations) >= 3)
    assert (found.version, found.environment) == (1, "test")
    assert found.started <= found.generated <= time.time()
    [target] = found.targets
    assert target.up
    assert target.identity.count("/") == 2
    series = latency(found)
    assert series is not None
    assert (series.target, series.schema, series.table) == ("database", "public", "users")
    for block in series.blocks:
        assert block.total == sum(block.buckets) + block.failed + block.skipped
        assert (block.identity, block.epoch) == (target.identity, target.epoch)
        assert len(block.buckets) == len(series.edges) + 1
    assert series.blocks[-1].open
    for criterion in ("audit_partition_size", "audit_partition_runway", "health"):
        limit = passing_limit(exporter.settings, criterion)
        judged = evaluate_exact(criterion, found.observations, time.time(), limit, 60)
        assert judged.verdict is Verdict.PASSED, judged


async def test_a_blocked_server_shows_as_over_the_limit(serve: Serve, database: Database) -> None:
    _, client = await serve()
    await until(client, lambda e: closed(e) >= 1)
    began = time.time()
    with psycopg.connect(database.conninfo()) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")

        def shown(evidence: Evidence) -> bool:
            series = latency(evidence)
            return series is not None and any(b.failed and b.skipped for b in series.blocks)

        await until(client, shown, since=began)


async def test_another_epoch_cuts(serve: Serve, database: Database) -> None:
    _, client = await serve()
    before = await until(client, lambda e: closed(e) >= 1)
    database.execute("SELECT pg_stat_reset()")
    old = before.targets[0].epoch

    def cut(evidence: Evidence) -> bool:
        series = latency(evidence)
        return series is not None and len({block.epoch for block in series.blocks}) == 2

    after = await until(client, cut)
    assert after.targets[0].epoch != old
    assert after.targets[0].identity == before.targets[0].identity


async def test_evidence_survives_a_restart_and_is_cut_by_it(serve: Serve) -> None:
    _, client = await serve()
    before = await until(client, lambda e: closed(e) >= 1)
    await client.close()
    stopped = time.time()
    _, client = await serve()
    after = await until(client, lambda e: closed(e) > closed(before) + 1)
    assert after.started > stopped > before.started
    assert after.complete_since == before.complete_since
    first, second = latency(before), latency(after)
    assert first is not None
    assert second is not None
    assert second.blocks[0] == first.blocks[0]
    assert not any(block.start < stopped < block.end for block in second.blocks)
    assert closed(await fetch(client, since=stopped)) < closed(after)


REFUSED = {
    "since=yesterday": "since cannot be read",
    "since=": "since cannot be read",
    "since=1&since=2": "since cannot be read",
    "since=2026-01-01T00:00:00": "since cannot be read",
    "sinse=1": "unknown parameter 'sinse'",
}


async def test_a_query_that_cannot_be_read_is_refused(serve: Serve) -> None:
    _, client = await serve()
    await until(client, lambda e: closed(e) >= 1)
    for query, what in REFUSED.items():
        response = await client.get(f"{EVIDENCE_PATH}?{query}")
        answer = await response.json()
        assert response.status == 400
        assert answer["what"] == what
        assert answer["expected"]


async def test_the_password_is_nowhere(serve: Serve, database: Database) -> None:
    _, client = await serve()
    await until(client, lambda e: closed(e) >= 1)
    text = await (await client.get(EVIDENCE_PATH)).text()
    password = psycopg.conninfo.conninfo_to_dict(database.conninfo()).get("password")
    assert not password or str(password) not in text
    assert "postgresql://" not in text
