"""`phasegate init` on schemas of several makers: its file is taken as it is by check and plan."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from click.testing import CliRunner, Result

from phasegate.cli import group
from phasegate.contract.errors import PhasegateError
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.migrate.catalog import Catalog, fetch_catalog
from phasegate.migrate.sessions import Connection
from phasegate.operate import init_command
from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.database import Database
from tests.fixtures.planned import expand, make_legacy, write_legacy

SCHEMAS = Path(__file__).parents[2] / "fixtures" / "schemas"
PROPOSED = {
    "demo": ["public.users.uuid"],
    "django": ["public.auth_user.uuid", "public.shop_place.uuid", "public.shop_order.uuid"],
    "prisma": ["public.User.uuid", "public.BlogPost.uuid_key"],
    "rails": ["public.users.uuid", "public.companies.uuid"],
    "hostile": [
        '"a: b # c".${HOME}.uuid',
        '"a: b # c"."line\n- {name: public.evil}".uuid',
        '"a: b # c".true.uuid_key',
    ],
}
AUDITED = {"demo": "public.audit_logs", "hostile": 'public."Audit Log"'}
CHECKED = ["demo", "django", "prisma", "rails"]


class Folder:
    """A folder with what `init` writes, and calls of the commands there."""

    def __init__(self, path: Path, database: Database, url: str = "") -> None:
        self.config = path / "phasegate.yaml"
        self.environ = {"DATABASE_URL": url or database.conninfo(), "REDIS_URL": ""}

    def init(self, *flags: str) -> Result:
        return self._run("init", "--output", str(self.config), *flags)

    def plan(self) -> Result:
        return self._run("migrate", "plan", "--no-measure", "--config", str(self.config))

    def check(self) -> str:
        """As a process: the exporter's probe is one too."""
        command = ["exporter", "--config.file", str(self.config), "--check-config", "--connect"]
        done = subprocess.run(
            [sys.executable, "-m", "phasegate", *command],
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _run(self, *arguments: str) -> Result:
        return CliRunner().invoke(group, arguments, env=self.environ)

    @property
    def text(self) -> str:
        return self.config.read_text(encoding="utf-8")

    @property
    def settings(self) -> Settings:
        return load_settings(self.config, self.environ)

    @property
    def tables(self) -> list[str]:
        return [f"{one.name}.{one.uuid_column}" for one in self.settings.tables]


def code(result: Result) -> int:
    """What the process would end with."""
    error = result.exception
    return error.exit_code if isinstance(error, PhasegateError) else result.exit_code


def words(result: Result) -> str:
    """What it would say."""
    return f"{result.output}{result.exception or ''}"


def seed(database: Database, schema: str) -> None:
    file = SCHEMAS / f"{schema}.sql"
    database.execute(file.read_text("utf-8") if file.exists() else write_legacy(500))


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> Folder:
    return Folder(tmp_path, database)


@pytest.mark.parametrize("schema", PROPOSED)
def test_check_and_plan_take_the_file_as_it_is(
    database: Database, folder: Folder, schema: str
) -> None:
    seed(database, schema)
    written = folder.init()
    assert code(written) == 0, words(written)
    assert folder.tables == PROPOSED[schema]
    audit = folder.settings.audit
    assert (None if audit is None else str(audit.table)) == AUDITED.get(schema)
    planned = folder.plan()
    assert code(planned) == 0, words(planned)
    if schema in CHECKED:
        assert "latency: ok" in folder.check()
    [[identifier]] = database.execute("SELECT system_identifier::text FROM pg_control_system()")
    identity = folder.settings.database.identity
    assert (identity.system_identifier, identity.database) == (identifier, database.name)


@pytest.mark.parametrize("schema", PROPOSED)
def test_every_entry_that_is_only_offered_is_one(
    database: Database, folder: Folder, schema: str
) -> None:
    seed(database, schema)
    folder.init()
    proposed = len(folder.settings.tables)
    text = re.sub(r"(?m)^  # (- \{)", r"  \1", folder.text).replace("tables: []", "tables:")
    offered = folder.text.count("\n  # - {")
    folder.config.write_text(text, encoding="utf-8")
    assert len(folder.settings.tables) == proposed + offered
    if schema == "hostile":
        touched = next(one for one in folder.settings.tables if one.name.table == "touched")
        assert touched.accept_triggers == ("touch_it",)
        assert code(folder.plan()) == 0


@pytest.mark.parametrize("schema", CHECKED)
def test_the_permission_query_runs_once_the_column_is_there(
    database: Database, folder: Folder, schema: str
) -> None:
    seed(database, schema)
    folder.init()
    [lookup] = folder.settings.lookups
    parameter, sql = lookup.parameter, psycopg.sql
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        table = sql.Identifier(parameter.schema, parameter.table)
        named = sql.Identifier(parameter.column)
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {} uuid").format(table, named))
        connection.execute(sql.SQL("PREPARE check_it AS " + lookup.sql))
        drawn = "EXECUTE check_it('00000000-0000-0000-0000-000000000001')"
        assert connection.execute(drawn).fetchall() == []


def test_a_log_that_triggers_write_is_watched_by_their_function(
    database: Database, folder: Folder
) -> None:
    seed(database, "hostile")
    folder.init()
    audit = folder.settings.audit
    assert audit is not None
    assert (audit.time_column, audit.partition, audit.category_column) == (
        "at: #",
        "week",
        "category",
    )
    assert audit.function is not None
    assert audit.function.name == ("public", "write: it")
    assert [(str(one.table), one.writer) for one in audit.watch] == [('"a: b # c".true', "trigger")]
    assert "public.evil" not in [str(table.name) for table in folder.settings.tables]


def test_what_is_not_taken_is_named_with_its_reason(database: Database, folder: Folder) -> None:
    seed(database, "django")
    folder.init()
    text = folder.text
    assert "shop_restaurant: its key is a reference" in text
    assert "django_session: it belongs to Django" in text
    assert "is reference (uuid, never NULL, unique) the key that you show?" in text
    assert "framework_migrate: {command: [python, manage.py, migrate]" in text.replace('"', "")
    assert "DROP CONSTRAINT auditlog_logentry_actor_id_fkey" in re.sub(r"\n# +", " ", text)


def test_on_15_and_once_the_schema_is_expanded_it_finds_what_migrate_made(
    any_database: Database, tmp_path: Path
) -> None:
    make_legacy(any_database)
    expand(any_database, tmp_path)
    folder = Folder(tmp_path, any_database)
    written = folder.init()
    assert code(written) == 0, words(written)
    assert folder.tables == ["public.users.uuid"]
    assert "Its column uuid is there: uuid, never NULL, unique." in folder.text
    audit = folder.settings.audit
    assert audit is not None
    assert (str(audit.table), audit.partition, audit.function) == (
        *("public.audit_logs", "month"),
        None,
    )
    assert [str(one.table) for one in audit.watch] == ["public.users"]
    assert "may migrate add triggers" not in folder.text
    planned = folder.plan()
    assert code(planned) == 0, words(planned)


def test_a_log_that_takes_too_long_to_read_is_left_out_and_the_rest_goes_on(
    database: Database, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(database, "demo")

    def fetch(connection: Connection, names: Iterable[TableName]) -> Catalog:
        if ("public", "audit_logs") in list(names):
            connection.execute("SET statement_timeout = '10ms'; SELECT pg_sleep(5)")
        return fetch_catalog(connection, names)

    monkeypatch.setattr(init_command, "fetch_catalog", fetch)
    written = folder.init()
    assert code(written) == 0, words(written)
    assert folder.tables == ["public.users.uuid"]
    assert folder.settings.audit is None
    assert "its partitions could not be read in time" in re.sub(r"\n# +", " ", folder.text)


def test_an_empty_database(folder: Folder) -> None:
    assert code(folder.init("--environment", "staging")) == 0
    assert (folder.tables, folder.settings.environment) == ([], "staging")
    assert code(folder.plan()) == 0
    assert "database: ok" in folder.check()


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role without rights on what others own."""
    name = "init_reader"
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'reads-only-7'")
    yield name
    database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def test_a_role_with_rights_on_some_tables(database: Database, tmp_path: Path, role: str) -> None:
    seed(database, "demo")
    database.execute(f"ALTER TABLE users OWNER TO {role}; GRANT SELECT ON roles TO {role};")
    database.execute(f"GRANT CREATE ON SCHEMA public TO {role}; GRANT pg_monitor TO {role}")
    folder = Folder(tmp_path, database, database.conninfo(role, "reads-only-7"))
    written = folder.init()
    assert code(written) == 0, words(written)
    assert folder.tables == ["public.users.uuid"]
    assert "public.permissions: our role may not read it" in folder.text
    assert "it is owned by postgres" in re.sub(r"\n +# +", " ", folder.text)
    assert "reads-only-7" not in folder.text + words(written)
    assert folder.settings.audit is None
    planned = folder.plan()
    assert code(planned) == 0, words(planned)


def test_a_role_that_owns_nothing_proposes_and_says_who_must_migrate(
    database: Database, tmp_path: Path, role: str
) -> None:
    seed(database, "demo")
    database.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    folder = Folder(tmp_path, database, database.conninfo(role, "reads-only-7"))
    assert code(folder.init()) == 0
    assert folder.tables == ["public.users.uuid"]
    head = re.sub(r"\n# ", " ", folder.text)
    assert f"{role} owns none of the tables below" in head
    assert f"{role} is no member of pg_monitor" in head
    assert code(folder.plan()) == 2


def test_a_table_that_is_locked_is_not_waited_for(database: Database, folder: Folder) -> None:
    seed(database, "rails")
    with psycopg.connect(database.conninfo()) as locking:
        locking.execute("LOCK TABLE companies IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        written = folder.init()
        lasted = time.monotonic() - began
    assert code(written) == 0, words(written)
    assert lasted < 5
    assert folder.tables == ["public.users.uuid"]
    assert "public.companies: somebody holds, or waits for, ACCESS EXCLUSIVE" in folder.text


def test_a_lock_on_what_hangs_on_a_table_gives_way_soon(database: Database, folder: Folder) -> None:
    seed(database, "demo")
    with psycopg.connect(database.conninfo()) as locking:
        locking.execute("LOCK TABLE user_roles IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        written = folder.init()
        lasted = time.monotonic() - began
    assert code(written) == 5
    assert "the same command goes on when it is free" in words(written)
    assert lasted < 5
    assert not folder.config.exists()


def test_a_standby_is_refused_by_name(database: Database, folder: Folder) -> None:
    with PostgresServer(standby_of=database.server) as standby:
        folder.environ["DATABASE_URL"] = standby.conninfo(database.name)
        refused = folder.init()
    assert code(refused) == 2
    assert "found a standby" in words(refused)
    assert not folder.config.exists()


def test_the_cache_is_sampled_and_its_ratio_stays(folder: Folder) -> None:
    with (
        CacheServer(password="hush-hush-9") as server,
        redis.Redis(port=server.port, password="hush-hush-9") as client,
    ):
        pairs = {f":1:acl:{n}": "x" * 100 for n in range(40)}
        client.mset(pairs | {f"session:{n:032x}": "y" for n in range(200)} | {"[a]:1": "z"})
        folder.environ["REDIS_URL"] = f"redis://:hush-hush-9@127.0.0.1:{server.port}/0"
        client.get("session:none")
        before = client.info("stats")
        written = folder.init()
        after = client.info("stats")
        commands = client.info("commandstats")
    assert code(written) == 0, words(written)
    for name, expected in (("keyspace_hits", 0), ("keyspace_misses", 1)):
        assert before[name] == after[name] == expected
    assert not {"cmdstat_keys", "cmdstat_object", "cmdstat_type"} & set(commands)
    cache = folder.settings.cache
    assert cache is not None
    assert cache.key_pattern == ":1:acl:*"
    assert "session:…  83.0%" in folder.text
    assert "hush-hush-9" not in folder.text + words(written)


def test_a_cache_that_is_down_is_told_and_the_rest_goes_on(
    database: Database, folder: Folder
) -> None:
    seed(database, "demo")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        folder.environ["REDIS_URL"] = f"redis://:hush-hush-9@127.0.0.1:{taken.getsockname()[1]}/0"
        written = folder.init()
    assert code(written) == 0
    assert "the cache is left unread" in written.stderr
    assert "It could not be read: cache:" in folder.text
    assert folder.tables == ["public.users.uuid"]
    assert "hush-hush-9" not in folder.text + words(written)


def test_a_file_that_is_there_stays_unless_forced(folder: Folder) -> None:
    folder.config.write_text("mine\n", encoding="utf-8")
    refused = folder.init()
    assert (code(refused), folder.text) == (2, "mine\n")
    assert "--force writes over it" in words(refused)
    assert code(folder.init("--force")) == 0
    assert folder.text.startswith("# Written by")


def test_a_database_that_is_not_reached_is_4_and_its_password_is_not_said(folder: Folder) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:hush-hush-9@127.0.0.1:{taken.getsockname()[1]}/db"
        failed = folder.init("--database-url", url)
    assert code(failed) == 4
    assert "hush-hush-9" not in words(failed)
    assert not folder.config.exists()


def test_an_unfinished_migration_is_said_before_a_plan_is_made(
    database: Database, folder: Folder
) -> None:
    seed(database, "prisma")
    database.execute("UPDATE _prisma_migrations SET finished_at = NULL")
    written = folder.init()
    assert code(written) == 0
    assert "before a plan: public._prisma_migrations: Prisma has unfinished" in written.stderr
    assert "20250101000000_init" in folder.text
