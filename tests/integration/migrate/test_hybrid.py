"""The gradual way back with an application that is old here and new there: nobody sees an error."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from aiohttp.test_utils import TestClient, TestServer

from phasegate.demo.app import build_app
from phasegate.demo.traffic import Traffic
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.planned import make_legacy
from tests.fixtures.underway import Mover

ROWS = 1_200
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 1.5


async def start(database: Database, cache: CacheServer, version: int) -> TestClient[Any, Any]:
    prefix = f"test-{uuid.uuid4().hex}:perm:"
    app = build_app(database.conninfo(), cache.url(), prefix, version)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


async def test_both_versions_go_on_during_the_gradual_way_back_and_after_it(
    database: Database, cache_server: CacheServer, tmp_path: Path
) -> None:
    make_legacy(database, ROWS)
    mover = Mover(database.server, database.name, tmp_path)
    code, _, told = await asyncio.to_thread(mover.call, "run", "--until", "application", "--yes")
    assert code == 0, told
    clients = [await start(database, cache_server, version) for version in (1, 2)]
    stop = asyncio.Event()
    try:
        async with aiohttp.ClientSession() as session:
            streams = [
                Traffic(session, str(one.make_url("")).rstrip("/"), rate=100, seed=seed)
                for seed, one in enumerate(clients)
            ]
            running = asyncio.gather(*(one.run(stop) for one in streams))
            await asyncio.sleep(BEFORE_SECONDS)
            back = ("rollback", "--strategy", "gradual", "--yes")
            code, _, told = await asyncio.to_thread(mover.call, *back)
            assert code == 0, told
            during = [one.tally.requests for one in streams]
            # What the previous application writes that knows of no UUID, and one that writes NULL.
            with psycopg.connect(database.conninfo(), autocommit=True) as old:
                old.execute("INSERT INTO users (email, name) VALUES ('old@example.com', 'O')")
                old.execute(
                    "INSERT INTO users (email, name, uuid) VALUES ('null@example.com', 'N', NULL)"
                )
            await asyncio.sleep(AFTER_SECONDS)
            stop.set()
            await running
        tallies = [one.tally for one in streams]
        assert all(one.errors == 0 for one in tallies), tallies
        assert all(one.requests > count + 20 for one, count in zip(tallies, during, strict=True))
    finally:
        for one in clients:
            await one.close()
    assert database.execute(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass"
        " AND attname = 'uuid'"
    ) == [(False,)]
    # The hybrid can be finished later: whoever wrote without one has a UUID all the same.
    assert database.execute("SELECT count(*) FROM users WHERE uuid IS NULL") == [(0,)]
