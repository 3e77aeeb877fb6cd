"""On somebody's servers the demo keeps to its own corner, and leaves it as it found it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from redis import Redis

from phasegate.contract.errors import SourceUnavailable, WorkFailed
from phasegate.demo.grants import apply_grants
from phasegate.demo.places import open_cache, open_database
from phasegate.servers.cache import CacheServer
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.database import Database
from tests.fixtures.planned import expand, make_legacy

PASSWORD = "canary-4711"


@dataclass(frozen=True)
class Reached(Database):
    """As whom `url` names."""

    url: str

    def conninfo(self, *_: object, **__: object) -> str:
        return self.url

    def execute(self, statement: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode(), parameters)
        return []


def list_objects(server: PostgresServer) -> list[tuple[Any, ...]]:
    return server.execute(
        "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1"
    )


@pytest.fixture(params=["CREATEDB CREATEROLE", "CREATEDB", "SUPERUSER"])
def owner(request: pytest.FixtureRequest, any_postgres: PostgresServer) -> Iterator[str]:
    """A role with those rights, as DATABASE_URL would name it."""
    any_postgres.execute(f"CREATE ROLE guest LOGIN {request.param} PASSWORD '{PASSWORD}'")
    if "CREATEROLE" in request.param:
        any_postgres.execute("GRANT pg_monitor TO guest WITH ADMIN OPTION")
    yield any_postgres.conninfo(user="guest", password=PASSWORD)
    any_postgres.execute("DROP ROLE guest")


async def test_given_server_is_left_as_it_was(
    owner: str, any_postgres: PostgresServer, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    before = list_objects(any_postgres)
    async with open_database({"DATABASE_URL": owner}) as place:
        may_make_roles = request.node.callspec.params["owner"] != "CREATEDB"
        assert (place.roles is not None) is may_make_roles
        assert (place.name,) in list_objects(any_postgres)
        async with await AsyncConnection.connect(place.url, autocommit=True) as connection:
            for prepare in (make_legacy, partial(expand, folder=tmp_path)):
                prepare(Reached(any_postgres, place.name, place.url))
                if place.roles is not None:
                    await apply_grants(connection, place.roles)
        async with await AsyncConnection.connect(place.exporter_url) as connection:
            for query in (
                "SELECT uuid FROM users WHERE id = 7",
                "SELECT count(*) FROM audit_logs",
                "SELECT count(*) FROM ONLY audit_logs_legacy",
            ):
                assert await (await connection.execute(query.encode())).fetchone() is not None
    assert list_objects(any_postgres) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_logs (category, action, actor, subject) VALUES ('', '', '', '')",
        "UPDATE users SET uuid = NULL",
        "DELETE FROM user_roles",
        "TRUNCATE permissions",
        "SELECT email FROM users",
        "SELECT details FROM audit_logs",
    ],
)
async def test_exporter_role_neither_writes_nor_reads_more(
    statement: str, legacy_place: tuple[str, str]
) -> None:
    _, exporter_url = legacy_place
    async with await AsyncConnection.connect(exporter_url) as connection:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


@pytest.fixture
async def legacy_place(postgres18: PostgresServer, tmp_path: Path) -> Any:
    """The owner's and the exporter's address of an expanded demo database."""
    async with open_database({"DATABASE_URL": postgres18.conninfo()}) as place:
        async with await AsyncConnection.connect(place.url, autocommit=True) as connection:
            database = Reached(postgres18, place.name, place.url)
            make_legacy(database)
            expand(database, tmp_path)
            assert place.roles is not None
            await apply_grants(connection, place.roles)
        yield place.url, place.exporter_url


async def test_interrupt_removes_database_and_role(postgres18: PostgresServer) -> None:
    before = list_objects(postgres18)
    opened = asyncio.Event()

    async def hold() -> None:
        async with open_database({"DATABASE_URL": postgres18.conninfo()}):
            opened.set()
            await asyncio.sleep(60)

    for seconds in (0.0, 0.005, 0.02, 0.05, 5.0):
        holding = asyncio.create_task(hold())
        opened.clear()
        await asyncio.wait({asyncio.create_task(opened.wait())}, timeout=seconds)
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert list_objects(postgres18) == before


async def test_no_right_to_create_a_database_is_told(postgres18: PostgresServer) -> None:
    postgres18.execute(f"CREATE ROLE nobody_much LOGIN PASSWORD '{PASSWORD}'")
    url = postgres18.conninfo(user="nobody_much", password=PASSWORD)
    try:
        with pytest.raises(WorkFailed, match="give it CREATEDB"):
            async with open_database({"DATABASE_URL": url}):
                pass
    finally:
        postgres18.execute("DROP ROLE nobody_much")


async def test_servers_out_of_reach_are_sources_out_of_reach() -> None:
    dead = f"127.0.0.1:{free_port()}"
    with pytest.raises(SourceUnavailable) as database:
        async with open_database({"DATABASE_URL": f"postgresql://guest:{PASSWORD}@{dead}/x"}):
            pass
    with pytest.raises(SourceUnavailable) as cache:
        async with open_cache({"REDIS_URL": f"redis://:{PASSWORD}@{dead}/0"}):
            pass
    assert PASSWORD not in f"{database.value} {cache.value}"
    assert (database.value.source, cache.value.source) == ("DATABASE_URL", "REDIS_URL")


async def test_neighbours_in_a_given_cache_survive(cache_server: CacheServer) -> None:
    with Redis.from_url(cache_server.url()) as client:
        client.set("perm:neighbour", "1")
        async with open_cache({"REDIS_URL": cache_server.url()}) as place:
            client.mset({f"{place.prefix}1:{key}": "1" for key in range(2_000)})
            assert client.dbsize() > 2_000
        assert client.get("perm:neighbour") == b"1"
        assert list(client.scan_iter(match=f"{place.prefix}*")) == []
        client.delete("perm:neighbour")
