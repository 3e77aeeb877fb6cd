"""Where the demo's data live: throw-away servers, or a corner of the servers one was given.

With DATABASE_URL the demo makes a database and a role of its own there, with REDIS_URL it keeps to
a prefix of its own; both go when the demo ends, and nothing else there is touched.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from redis import RedisError
from redis import asyncio as redis

from phasegate.contract.errors import SourceUnavailable, WorkFailed
from phasegate.contract.secrets import passwords_in, redact
from phasegate.demo.grants import apply_grants, set_password
from phasegate.operate.grants import ROLES, Roles
from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer

DATABASE = "mono"
CACHE_PREFIX = "perm:"
CONNECT_SECONDS = 5
SCAN_COUNT = 500
CREATE_DATABASE = SQL("CREATE DATABASE {}")
# Without FORCE first: it may not end autovacuum's workers for a role that is no superuser, while
# the plain form waits for them to give way.
DROP_DATABASE = SQL("DROP DATABASE IF EXISTS {}")
DROP_DATABASE_IN_USE = SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
DROP_ROLE = SQL("DROP ROLE IF EXISTS {}")


@dataclass(frozen=True)
class DatabasePlace:
    """The demo's database. `roles` is None where none could be made: then its owner measures and
    judges."""

    name: str
    url: str
    exporter_url: str
    validator_url: str
    roles: Roles | None
    what: str


@dataclass(frozen=True)
class CachePlace:
    """The demo's corner of a cache."""

    url: str
    prefix: str
    what: str
    given: bool = False


@asynccontextmanager
async def open_database(environ: Mapping[str, str]) -> AsyncIterator[DatabasePlace]:
    """An empty database; SourceUnavailable, WorkFailed or ServerStartFailed where none is."""
    given = environ.get("DATABASE_URL")
    async with AsyncExitStack() as stack:
        if given is None:
            name, roles = DATABASE, ROLES
            url = stack.enter_context(PostgresServer()).conninfo()
            admin = await _connect(stack, url)
            what = f"embedded PostgreSQL {admin.info.server_version // 10_000}"
        else:
            name, url = f"phasegate_demo_{os.getpid()}", given
            # The roles of the whole server may be there already, and are not the demo's.
            roles = Roles(*(f"{name}_{who}" for who in Roles._fields))
            admin = await _connect(stack, url)
            what = f"database {name}, made for this demo on the server of DATABASE_URL"
            # Before they are made: an interrupt may come while the server makes them.
            for role in roles:
                stack.push_async_callback(_remove, admin, DROP_ROLE, role)
            stack.push_async_callback(_remove_database, admin, name)
        try:
            await _execute(admin, CREATE_DATABASE, name)
        except psycopg.errors.InsufficientPrivilege:
            raise WorkFailed(
                "the role of DATABASE_URL may not create a database, and the demo writes into no "
                "existing one; give it CREATEDB, or unset DATABASE_URL to use an embedded server"
            ) from None
        own_url = make_conninfo(url, dbname=name)
        password = secrets.token_urlsafe(18)
        made = await _make_roles(own_url, roles, password)
        measuring, judging = (
            make_conninfo(own_url, user=role, password=password) if made else own_url
            for role in (roles.exporter, roles.validator)
        )
        yield DatabasePlace(
            name=name,
            url=own_url,
            exporter_url=measuring,
            validator_url=judging,
            roles=roles if made else None,
            what=what,
        )


@asynccontextmanager
async def open_cache(environ: Mapping[str, str]) -> AsyncIterator[CachePlace]:
    """A cache; SourceUnavailable or ServerStartFailed where none is."""
    given = environ.get("REDIS_URL")
    if given is None:
        with CacheServer() as server:
            client = redis.from_url(server.url())
            # As the guide wants it: with persistence, or the preflight refuses.
            await client.config_set("appendonly", "yes")
            await client.aclose()
            yield CachePlace(server.url(), CACHE_PREFIX, "embedded Valkey")
        return
    prefix = f"phasegate_demo_{os.getpid()}:{CACHE_PREFIX}"
    client = redis.from_url(given, socket_connect_timeout=CONNECT_SECONDS)
    try:
        await client.ping()
    except (RedisError, OSError, TimeoutError, ValueError) as error:
        await client.aclose()
        raise SourceUnavailable("REDIS_URL", _say(error, given)) from None
    try:
        yield CachePlace(given, prefix, f"keys {prefix}* on the server of REDIS_URL", given=True)
    finally:
        async for key in client.scan_iter(match=f"{prefix}*", count=SCAN_COUNT):
            await client.unlink(key)
        await client.aclose()


async def _connect(stack: AsyncExitStack, url: str) -> AsyncConnection[Any]:
    try:
        connection = await AsyncConnection.connect(
            url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="phasegate/demo"
        )
    except psycopg.Error as error:
        raise SourceUnavailable("DATABASE_URL", _say(error, url)) from None
    stack.push_async_callback(connection.close)
    return connection


async def _make_roles(url: str, roles: Roles, password: str) -> bool:
    """Whether the role of that address may make them."""
    async with AsyncExitStack() as stack:
        connection = await _connect(stack, url)
        try:
            await apply_grants(connection, roles)
        except psycopg.errors.InsufficientPrivilege:
            return False
        for role in (roles.exporter, roles.validator):
            await set_password(connection, role, password)
        return True


async def _execute(connection: AsyncConnection[Any], statement: SQL, name: str) -> None:
    await connection.execute(statement.format(Identifier(name)))


async def _remove_database(connection: AsyncConnection[Any], name: str) -> None:
    try:
        await _execute(connection, DROP_DATABASE, name)
    except psycopg.errors.ObjectInUse:
        await _remove(connection, DROP_DATABASE_IN_USE, name)
    except psycopg.Error as error:
        raise WorkFailed(f"{name} is left on the server, drop it by hand: {error}") from error


async def _remove(connection: AsyncConnection[Any], statement: SQL, name: str) -> None:
    """Drop what was made, if it was; WorkFailed where it stays."""
    try:
        await _execute(connection, statement, name)
    except psycopg.errors.InsufficientPrivilege:
        # Who may not drop it could not make it either; the server asks that first.
        return
    except psycopg.Error as error:
        raise WorkFailed(f"{name} is left on the server, drop it by hand: {error}") from error


def _say(error: Exception, url: str) -> str:
    return redact(f"cannot be used: {error}".strip(), passwords_in(url))
