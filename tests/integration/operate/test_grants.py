"""The three roles on real servers: the exporter's reads all it must and writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.operate.grants import EXPORTER, MIGRATOR, VALIDATOR, render_grants
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of

OWNER = "application_owner"
TABLES = """
CREATE SCHEMA "Odd ""one"" {0} %s";
CREATE TABLE "Odd ""one"" {0} %s"."se'lect" (
    "i'd" serial PRIMARY KEY, "u""u" uuid UNIQUE, secret text
);
INSERT INTO "Odd ""one"" {0} %s"."se'lect" ("u""u", secret)
SELECT gen_random_uuid(), 'x' FROM generate_series(1, 100);
CREATE TABLE users (id serial PRIMARY KEY, uuid uuid, secret text);
INSERT INTO users (secret) SELECT 'x' FROM generate_series(1, 100);
CREATE TABLE roles (id int PRIMARY KEY, secret text);
CREATE TABLE audit_logs (
    id int GENERATED ALWAYS AS IDENTITY, created_at timestamptz, category text, details text,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_1 PARTITION OF audit_logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
ANALYZE;
"""
CONFIG = """
exporter: {exact_count_interval: 1s, probe_interval: 20ms}
tables: [{name: public.users}, {name: '"Odd ""one"" {0} %s"."se''lect"', uuid_column: '"u""u"'}]
audit: {table: public.audit_logs, category_column: category, watch: [{table: public.roles}]}
"""


@pytest.fixture
def script(any_database: Database, tmp_path: Path) -> Iterator[str]:
    """The tables stand and belong to an ordinary owner; the roles go after the test."""
    any_database.execute(TABLES)
    any_database.execute(f"CREATE ROLE {OWNER}; ALTER TABLE users OWNER TO {OWNER}")
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    yield render_grants(load_settings(file, {"DATABASE_URL": any_database.conninfo()}))
    for role in (EXPORTER, VALIDATOR, MIGRATOR, OWNER):
        any_database.execute(
            f"DO $$ BEGIN IF to_regrole('{role}') IS NOT NULL THEN"
            f" DROP OWNED BY {role} CASCADE; DROP ROLE {role}; END IF; END $$"
        )


@pytest.fixture
async def exporter(any_database: Database, script: str, tmp_path: Path) -> AsyncIterator[Exporter]:
    """An exporter that connects as the role of that name."""
    any_database.execute(script)
    any_database.execute(f"ALTER ROLE {EXPORTER} PASSWORD 'measures'")
    environ = {"DATABASE_URL": any_database.conninfo(EXPORTER, "measures")}
    started = Exporter(lambda: load_settings(tmp_path / "phasegate.yaml", environ))
    await started.start()
    yield started
    await started.stop()


async def test_every_collector_succeeds_under_the_role(exporter: Exporter) -> None:
    for _ in range(100):
        snapshot = await exporter.scrape(5, frozenset())
        if all(status.success for status in snapshot.statuses):
            break
        await asyncio.sleep(0.05)
    assert [(s.collector, s.reason, s.error) for s in snapshot.statuses if not s.success] == []
    assert {s.collector for s in snapshot.statuses} >= {
        *("identity", "latency", "partitions", "schema", "schema/uuid_missing", "database"),
        *("key_overflow", "key_scans"),
    }
    odd = ('Odd "one" {0} %s', "se'lect")
    assert value_of(snapshot, metrics.UUID_MISSING, "public", "users") == 100
    assert value_of(snapshot, metrics.UUID_MISSING, *odd) == 0
    assert value_of(snapshot, metrics.UUID_MISSING_ESTIMATED, "public", "users") == 100
    assert not {
        labels for labels in labels_of(snapshot, metrics.PROBE_ABSENT) if "privilege" in labels[-1]
    }
    assert {labels[1] for labels in labels_of(snapshot, metrics.KEY_USED)} == {
        *("users", "se'lect", "audit_logs", "roles")
    }


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (secret) VALUES ('y')",
        "UPDATE users SET uuid = NULL",
        "DELETE FROM audit_logs_1",
        "TRUNCATE users",
        "SELECT secret FROM users",
        "SELECT id FROM users FOR UPDATE",
        "SELECT nextval('users_id_seq')",
        "LOCK TABLE users IN SHARE MODE",
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE TABLE phasegate.mine (id int)",
        "DROP TABLE users",
        "SET ROLE phasegate_migrator",
        "SELECT pg_reload_conf()",
    ],
)
async def test_the_exporter_cannot_write(
    any_database: Database, exporter: Exporter, statement: str
) -> None:
    with psycopg.connect(any_database.conninfo(EXPORTER, "measures")) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
        connection.rollback()


def test_the_script_runs_again_after_the_schema_grew(any_database: Database, script: str) -> None:
    any_database.execute("ALTER TABLE users DROP uuid")
    any_database.execute(script)
    any_database.execute("ALTER TABLE users ADD uuid uuid")
    granted = f"SELECT has_column_privilege('{EXPORTER}', 'users', 'uuid', 'SELECT')"
    assert any_database.execute(granted) == [(False,)]
    any_database.execute(script)
    assert any_database.execute(granted) == [(True,)]


def test_the_migrator_owns_through_the_owner_and_never_through_a_superuser(
    any_database: Database, script: str
) -> None:
    any_database.execute(script)
    any_database.execute(f"ALTER ROLE {MIGRATOR} PASSWORD 'moves'")
    with psycopg.connect(any_database.conninfo(MIGRATOR, "moves")) as connection:
        connection.execute("ALTER TABLE users ADD note text")
        connection.execute("CREATE TABLE phasegate.journal (id int)")
        connection.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE roles ADD note text")
    memberships = any_database.execute(
        f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{MIGRATOR}'::regrole"
    )
    assert {role for (role,) in memberships} == {OWNER, "pg_monitor"}
    any_database.execute(script)
    assert any_database.execute(
        f"SELECT has_table_privilege('{VALIDATOR}', 'phasegate.journal', 'SELECT'),"
        f" has_table_privilege('{VALIDATOR}', 'users', 'SELECT')"
    ) == [(True, False)]
