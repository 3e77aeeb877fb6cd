"""The way back as a user calls it: hooks in reverse, old writes let in, nothing of ours left."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.kept import dump_schema
from tests.fixtures.planned import make_legacy
from tests.fixtures.underway import FORKS, Mover
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


ENV_FILE = b"DATABASE_URL=postgres://x\r\nMAINTENANCE_MODE=false\nLAST=without an end"
MAINTENANCE = """\
environment: test
tables: [{{name: public.users}}]
migrate:
  mode: maintenance
  hooks:
    maintenance_on: {{command: [{python}, -m, {module}, set, {file}, MAINTENANCE_MODE=true]}}
    maintenance_off: {{command: [{python}, -m, {module}, unset, {file}, MAINTENANCE_MODE]}}
    rollback_api: {{command: [sh, -c, "sleep 0.5"]}}
"""


def test_maintenance_ends_byte_for_byte_though_the_way_back_was_killed(
    migrated: Migrated,
) -> None:
    """With SIGKILL once the file says that maintenance is on."""
    file = migrated.folder / ".env.production"
    file.write_bytes(ENV_FILE)
    module = "phasegate.migrate.env_file"
    migrated.config.write_text(
        MAINTENANCE.format(python=sys.executable, module=module, file=file), encoding="utf-8"
    )
    assert migrated.call("run")[0] == 0
    assert file.read_bytes() == ENV_FILE
    mover = Mover(migrated.database.server, migrated.database.name, migrated.folder)
    migrated.config.write_text(
        MAINTENANCE.format(python=sys.executable, module=module, file=file)
        + "database: {url: '${DATABASE_URL}'}\n",
        encoding="utf-8",
    )
    back = ("rollback", "--strategy", "gradual", "--yes")
    with mover.running(*back) as killed:
        killed.await_line("take back")
        killed.signal(signal.SIGKILL)
        killed.wait()
    assert b"MAINTENANCE_MODE=true" in file.read_bytes()
    code, _, told = mover.call(*back)
    assert code == 0, told
    assert file.read_bytes() == ENV_FILE


def test_after_the_way_back_only_the_log_is_another_and_is_named(
    database: Database, tmp_path: Path
) -> None:
    make_legacy(database, rows=200)
    mover = Mover(database.server, database.name, tmp_path)
    others = ("--exclude-schema=phasegate", "--exclude-table=public.audit_logs*")
    before = dump_schema(database.server, database.name, *others)
    rows = database.execute("SELECT count(*), min(created_at), max(created_at) FROM audit_logs")
    code, _, told = mover.call("run", "--yes")
    assert code == 0, told
    assert mover.call("rollback", "--strategy", "gradual", "--yes")[0] == 0
    code, said, told = mover.call("rollback", "--to", "prepare", "--dry-run")
    assert code == 0, told
    assert "lost: the UUIDs of every row" in said + told
    assert "stays: public.audit_logs, partitioned by month, with every row" in said + told
    code, _, told = mover.call("rollback", "--to", "prepare", "--accept-loss", "unknown", "--yes")
    assert code == 0, told
    assert dump_schema(database.server, database.name, *others) == before
    assert (
        database.execute("SELECT count(*), min(created_at), max(created_at) FROM audit_logs")
        == rows
    )
    assert database.execute("SELECT relkind FROM pg_class WHERE oid = 'audit_logs'::regclass") == [
        ("p",)
    ]
