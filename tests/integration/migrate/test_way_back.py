"""The way back as a user calls it: hooks in reverse, old writes let in, nothing of ours left."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
import redis

from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.kept import dump_schema
from tests.fixtures.underway import FORKS
from tests.fixtures.ungated import call_ungated

HOOKS = (
    *("maintenance_on", "maintenance_off", "drain"),
    *("deploy_api", "deploy_web", "rollback_api", "rollback_web"),
)
OLD_WRITE = "INSERT INTO public.users (email, uuid) VALUES (%s, NULL)"


class Migrated:
    """A database of one table, and how often each hook of it ran."""

    def __init__(self, database: Database, cache: CacheServer, folder: Path) -> None:
        self.database = database
        self.log = folder / "hooks.log"
        self.folder = folder
        hooks = "".join(
            f'    {name}: {{command: ["sh", "-c", "echo {name} >> {self.log}"]}}\n'
            for name in HOOKS
        )
        self.config = folder / "phasegate.yaml"
        self.config.write_text(
            "environment: test\n"
            f'cache: {{url: "{cache.url()}", key_pattern: "back:*"}}\n'
            "tables: [{name: public.users}]\n"
            f"migrate:\n  mode: maintenance\n  hooks:\n{hooks}",
            encoding="utf-8",
        )

    def call(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and what it said."""
        output, errors = self.folder / "output", self.folder / "errors"
        environment = {"DATABASE_URL": self.database.conninfo()}
        call = [*arguments, "--config", str(self.config), "--yes"]
        process = FORKS.Process(
            target=call_ungated, args=(call, environment, str(output), str(errors))
        )
        process.start()
        process.join(60)
        assert process.exitcode is not None
        return process.exitcode, output.read_text("utf-8") + errors.read_text("utf-8")

    def hooks(self) -> list[str]:
        """Those that ran since the last call, in order."""
        text = self.log.read_text("utf-8") if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text.split()


def fetch_schema(database: Database) -> str:
    """What is not ours by right."""
    return dump_schema(database.server, database.name, "--exclude-schema=phasegate")


@pytest.fixture
def migrated(database: Database, cache_server: CacheServer, tmp_path: Path) -> Migrated:
    database.execute(
        "CREATE TABLE users (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text);"
        "INSERT INTO users (email) SELECT 'u' || n FROM generate_series(1, 500) n"
    )
    return Migrated(database, cache_server, tmp_path)


def test_the_way_back_runs_the_hooks_in_reverse_and_leaves_nothing_of_ours(
    migrated: Migrated, cache_server: CacheServer
) -> None:
    database = migrated.database
    before = fetch_schema(database)
    code, said = migrated.call("run")
    assert code == 0, said
    assert migrated.hooks() == [
        *("maintenance_on", "drain", "deploy_api", "deploy_web", "maintenance_off")
    ]
    with redis.Redis.from_url(cache_server.url()) as client:
        client.mset({"back:1": "ours", "neighbour:1": "theirs"})

    code, said = migrated.call("rollback", "--strategy", "gradual")
    assert code == 0, said
    assert migrated.hooks() == ["maintenance_on", "rollback_web", "rollback_api", "maintenance_off"]
    with redis.Redis.from_url(cache_server.url()) as client:
        assert client.exists("back:1", "neighbour:1") == 1
        client.delete("neighbour:1")
    assert database.execute(
        "SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass"
        " AND attname = 'uuid'"
    ) == [(False,)]
    with psycopg.connect(database.conninfo(), autocommit=True) as old:
        old.execute(OLD_WRITE, ("old",))
        old.execute("INSERT INTO users (email) VALUES ('older')")

    code, said = migrated.call("rollback", "--to", "prepare")
    assert code == 2
    assert re.search(r"lost: the UUIDs of every row.*--accept-loss unknown", said, re.S), said
    code, said = migrated.call("rollback", "--to", "prepare", "--accept-loss", "unknown")
    assert code == 0, said
    assert "drop public.users.uuid" in said
    assert fetch_schema(database) == before
    assert database.execute("SELECT count(*) FROM users") == [(502,)]
    migrated.hooks()
    code, said = migrated.call("run")
    assert code == 0, said
    assert migrated.hooks()[2:4] == ["deploy_api", "deploy_web"]
