"""Behind a pooler in transaction mode each question may meet another server process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from phasegate.exporter.backends import Backends, Conninfo
from tests.fixtures.database import Database
from tests.fixtures.pooler import run_pooler

ROUNDS = 6


@pytest.fixture
async def pooled(database: Database, tmp_path: Path) -> AsyncIterator[Backends]:
    with run_pooler(database, tmp_path) as url:
        backends = Backends(_keywords(url), 3, 5)
        yield backends
        await backends.close()


@pytest.fixture
async def direct(database: Database) -> AsyncIterator[Backends]:
    backends = Backends(_keywords(database.conninfo()), 1, 5)
    yield backends
    await backends.close()


def _keywords(url: str) -> Conninfo:
    async def conninfo() -> dict[str, str]:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}

    return conninfo


async def _ask(backends: Backends) -> list[str]:
    """Several times the same question; what the server process holds prepared at the end."""
    async with backends.session("test", 5) as session:
        for number in range(ROUNDS):
            assert await session.rows("SELECT %(n)s::int4", {"n": number}) == [(number,)]
        prepared = await session.rows("SELECT statement FROM pg_prepared_statements")
        return [text for (text,) in prepared]


async def test_nothing_is_prepared_behind_a_pooler(pooled: Backends) -> None:
    assert await _ask(pooled) == []


async def test_what_is_asked_often_is_prepared(direct: Backends) -> None:
    assert "SELECT $1::int4" in await _ask(direct)
