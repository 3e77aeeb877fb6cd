"""What stands while the demo runs: servers, application, users, exporter, and how to start them.

Everything that is started hangs on one exit stack and goes in reverse order, whatever happens.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg import AsyncConnection

from phasegate.contract.errors import WorkFailed
from phasegate.demo.config import FILE_NAME, Places
from phasegate.demo.deploy import DEPLOYED, POLL_SECONDS, WANTED
from phasegate.demo.exporter import Exporter, start_exporter
from phasegate.demo.grants import apply_grants
from phasegate.demo.places import CachePlace, DatabasePlace, open_cache, open_database
from phasegate.demo.processes import Child
from phasegate.demo.screen import Screen
from phasegate.demo.service import Service
from phasegate.demo.sql_steps import apply_step, read_steps
from phasegate.demo.words import Tally
from phasegate.servers.ports import free_port

START_SECONDS = 20.0
STARTS = 3
FLUSH_VERSION = 150_000
USERS_OF = "users of "
REQUESTS_PER_SECOND = {1: 60, 2: 60}


@dataclass
class Stage:
    """`children` and `urls` by name; `connection` is the owner's, in autocommit. `limit` is what a
    lookup may take; `service` leads to the deployed version."""

    stack: AsyncExitStack
    screen: Screen
    session: aiohttp.ClientSession
    database: DatabasePlace
    cache: CachePlace
    connection: AsyncConnection[Any]
    limit: str
    children: dict[str, Child] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    service: Service | None = None

    @property
    def folder(self) -> Path:
        """Of who migrates. That of a process, so that it goes with it, however the demo ends."""
        return self.children["application v1"].folder

    async def apply(self, name: str) -> None:
        """Send a file of SQL, step by step; WorkFailed where one fails."""
        for step in read_steps(name):
            started = time.monotonic()
            try:
                await apply_step(self.connection, step)
            except psycopg.Error as error:
                raise WorkFailed(f"{name}.sql, step {step.title!r}: {error}") from error
            self.screen.say(f"  {step.title} ({time.monotonic() - started:.2f} s)")
        if self.connection.info.server_version >= FLUSH_VERSION:
            # An idle session's rows reach the statistics ten seconds late, as if they were new.
            await self.connection.execute("SELECT pg_stat_force_next_flush()")

    async def grant(self) -> None:
        """Give the roles what the schema of this moment needs."""
        if self.database.roles is not None:
            await apply_grants(self.connection, self.database.roles)

    async def deploy(self, version: int) -> None:
        """Start that version of the application, and its users once it is healthy."""
        name = f"application v{version}"
        url = await self._serve(
            name, "/health", lambda port: _start_application(port, version, self)
        )
        users = Child(
            f"{USERS_OF}v{version}",
            *("phasegate.demo.traffic", "--url", url, "--seed", str(version)),
            *("--rate", str(REQUESTS_PER_SECOND[version])),
            variables={},
        )
        self.children[users.name] = self.stack.enter_context(users)
        self.screen.say(f"{name} serves {REQUESTS_PER_SECOND[version]} requests a second")
        port = int(url.rpartition(":")[2])
        if self.service is None:
            self.service = await self.stack.enter_async_context(Service(port))
        else:
            self.service.deploy(port)

    async def start_exporter(self) -> Exporter:
        """The exporter, watching the service, and the operator with the same configuration."""
        assert self.service is not None
        places = Places(self.service.url, "", self.cache.prefix, str(self.folder), self.limit)
        url = await self._serve(
            "exporter",
            "/-/ready",
            lambda port: start_exporter(port, self.database, self.cache, places),
        )
        config = self.children["exporter"].read_file(FILE_NAME)
        (self.folder / FILE_NAME).write_text(config, "utf-8")
        return Exporter(self.session, url)

    async def serve_deployments(self) -> None:
        """Deploy what the hook asks for, until it is cancelled."""
        while True:
            wanted = self.folder / WANTED
            if wanted.exists() and (version := wanted.read_text("utf-8")):
                wanted.unlink()
                url = self.urls.get(f"application v{version}")
                if url is None:
                    await self.deploy(int(version))
                elif self.service is not None:
                    self.service.deploy(int(url.rpartition(":")[2]))
                (self.folder / DEPLOYED).write_text(version, "utf-8")
            await asyncio.sleep(POLL_SECONDS)

    async def read_users(self) -> dict[str, Tally]:
        """What each stream of users met so far, by the version they use."""
        tallies = {}
        for name, child in self.children.items():
            if name.startswith(USERS_OF):
                last = json.loads(child.log.read_text("utf-8").splitlines()[-1])
                version = name.removeprefix(USERS_OF)
                query = await self._slowest_query(version)
                tallies[version] = Tally(last["requests"], last["errors"], last["slowest"], query)
        return tallies

    async def _slowest_query(self, version: str) -> float:
        async with self.session.get(f"{self.urls[f'application {version}']}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        [value] = [
            line.split()[1] for line in lines if line.startswith("db_slowest_query_seconds ")
        ]
        return float(value)

    def check_children(self) -> None:
        """WorkFailed, with its last lines, where one has ended by itself."""
        for name, child in self.children.items():
            if not child.running:
                raise WorkFailed(f"the {name} ended by itself:\n{child.log_tail()}")

    async def _serve(self, name: str, path: str, start: Callable[[int], Child]) -> str:
        for _ in range(STARTS):
            port = free_port()
            child = self.stack.enter_context(start(port))
            url = f"http://127.0.0.1:{port}"
            if await self._answers(child, url + path):
                self.children[name], self.urls[name] = child, url
                return url
            # Nothing reserves a free port: only where it was taken meanwhile, another may do.
            if "address already in use" not in child.log_tail().lower():
                break
        raise WorkFailed(f"the {name} does not answer {path}:\n{child.log_tail()}")

    async def _answers(self, child: Child, url: str) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while child.running and time.monotonic() < deadline:
            try:
                async with self.session.get(url) as answer:
                    if answer.status == 200:
                        return True
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)
        return False


def _start_application(port: int, version: int, stage: Stage) -> Child:
    return Child(
        f"application v{version}",
        *("phasegate.demo.app", "--version", str(version), "--port", str(port)),
        *("--key-prefix", stage.cache.prefix),
        variables={"DATABASE_URL": stage.database.url, "REDIS_URL": stage.cache.url},
    )


@asynccontextmanager
async def open_stage(screen: Screen, rows: int, limit: str) -> AsyncIterator[Stage]:
    """Servers and the seeded legacy database; raises PhasegateError."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(os.environ))
        cache = await stack.enter_async_context(open_cache(os.environ))
        screen.say(f"{database.what}; {cache.what}")
        connection = await AsyncConnection.connect(database.url, autocommit=True)
        stack.push_async_callback(connection.close)
        await connection.execute(f"SET search_path = public; SET demo.rows = {rows}")
        timeout = aiohttp.ClientTimeout(total=5)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        stage = Stage(stack, screen, session, database, cache, connection, limit)
        screen.say(f"Legacy schema with {rows:,} users, integer keys:")
        await stage.apply("legacy")
        await stage.grant()
        if database.roles is None:
            screen.say("  (no right to create a role: the exporter runs as the owner)")
        yield stage
