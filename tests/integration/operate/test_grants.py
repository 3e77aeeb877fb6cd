"""The three roles on real servers: the exporter's reads all it must and writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.migration import Event, PhaseState
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.migrate.journal import Journal, save_progress
from phasegate.operate.grants import ROLES, render_grants
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of

EXPORTER, VALIDATOR, MIGRATOR = ROLES
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
CREATE SCHEMA access;
CREATE TABLE access.members (user_id int, role_id int, until timestamptz, note text);
INSERT INTO access.members SELECT id, 1, 'infinity' FROM users;
CREATE TABLE access.counted (first int, second int);
CREATE VIEW access.grants AS SELECT role_id AS id, 'may' AS permission, note FROM access.members;
ANALYZE;
"""
CONFIG = """
exporter: {exact_count_interval: 1s, probe_interval: 20ms, reconcile_interval: 1s}
tables: [{name: public.users}, {name: '"Odd ""one"" {0} %s"."se''lect"', uuid_column: '"u""u"'}]
audit: {table: public.audit_logs, category_column: category, watch: [{table: public.roles}]}
lookups:
  - query_type: permission_check
    parameter: users.id
    sql: |
      SELECT g.permission, g.id, u.id FROM users u
      JOIN access.members m ON m.user_id = u.id JOIN access.grants g ON g.id = m.role_id
      WHERE u.id = $1 AND m.until > now() -- still
  - query_type: counted
    parameter: users.id
    sql: SELECT count(*) FROM access.counted WHERE $1 > 0
"""


@pytest.fixture
def script(any_database: Database, tmp_path: Path) -> Iterator[str]:
    """The tables stand and belong to an ordinary owner; the roles go after the test."""
    any_database.execute(TABLES)
    any_database.execute(f"CREATE ROLE {OWNER}; ALTER TABLE users OWNER TO {OWNER}")
    any_database.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
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


async def test_the_lookups_are_timed_under_the_role(exporter: Exporter) -> None:
    asked = {"permission_check", "counted", "uuid_lookup", "id_lookup"}
    for _ in range(100):
        snapshot = await exporter.scrape(5, frozenset())
        timed = {labels[0] for labels in labels_of(snapshot, metrics.QUERY_DURATION)}
        if timed >= asked:
            break
        await asyncio.sleep(0.05)
    assert timed >= asked


@pytest.mark.parametrize(
    ("table", "readable"),
    [
        ("access.members", {"user_id", "role_id", "until"}),
        ("access.grants", {"id", "permission"}),
        ("access.counted", {"first"}),
        ("users", {"id", "uuid"}),
    ],
)
def test_a_lookup_s_columns_are_readable_and_no_others(
    any_database: Database, script: str, table: str, readable: set[str]
) -> None:
    any_database.execute(script)
    columns = any_database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        f" AND has_column_privilege('{EXPORTER}', attrelid, attnum, 'SELECT')",
        [table],
    )
    assert {name for (name,) in columns} == readable
    assert any_database.execute("SELECT to_regclass('pg_temp.phasegate_lookup')") == [(None,)]


def test_a_lookup_that_cannot_be_asked_yet_costs_the_others_nothing(
    any_database: Database, script: str, tmp_path: Path
) -> None:
    file = tmp_path / "phasegate.yaml"
    broken = """
  - {query_type: later, parameter: users.id, sql: "SELECT x FROM later WHERE id = $1"}
  - {query_type: absent, parameter: users.no_column, sql: "SELECT id FROM users WHERE id = $1"}
"""
    text = CONFIG.replace("lookups:\n", f"lookups:{broken}")
    file.write_text(text, encoding="utf-8")
    any_database.execute(render_grants(load_settings(file, {"DATABASE_URL": "dbname=x"})))
    granted = f"SELECT has_column_privilege('{EXPORTER}', 'access.members', 'until', 'SELECT')"
    assert any_database.execute(granted) == [(True,)]


async def test_rows_of_a_partition_made_later_and_of_one_that_was_there_are_counted(
    any_database: Database, exporter: Exporter
) -> None:
    created = ("public", "audit_logs")
    await settled(exporter, lambda found: value_of(found, metrics.AUDIT_CREATED, *created) == 0)
    any_database.execute(
        "CREATE TABLE audit_logs_2 PARTITION OF audit_logs"
        " FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');"
        "INSERT INTO audit_logs (created_at) SELECT '2026-02-02' FROM generate_series(1, 50);"
        "INSERT INTO audit_logs (created_at) SELECT '2026-01-02' FROM generate_series(1, 7);"
        "DELETE FROM audit_logs WHERE id % 10 = 1"
    )
    snapshot = await settled(
        exporter,
        lambda found: (
            value_of(found, metrics.AUDIT_CREATED, *created) >= 51
            and value_of(found, metrics.AUDIT_UNPROVED, *created) == 0
            and all(s.success for s in found.statuses if s.collector.startswith("audit"))
        ),
    )
    assert value_of(snapshot, metrics.AUDIT_CREATED, *created) <= 57


def test_every_partition_s_new_rows_can_be_told(any_database: Database, script: str) -> None:
    any_database.execute(script)
    any_database.execute(f"ALTER ROLE {EXPORTER} PASSWORD 'measures'")
    with psycopg.connect(any_database.conninfo(EXPORTER, "measures")) as connection:
        connection.execute("SELECT max(age(xmin)), max(cmin::text) FROM ONLY audit_logs_1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT details FROM ONLY audit_logs_1")


async def settled(exporter: Exporter, done: Callable[[Snapshot], bool]) -> Snapshot:
    for _ in range(120):
        snapshot = await exporter.scrape(5, frozenset())
        if metrics.AUDIT_CREATED in {s.metric for s in snapshot.samples} and done(snapshot):
            break
        await asyncio.sleep(0.1)
    assert done(snapshot), [(s.collector, s.error) for s in snapshot.statuses if not s.success]
    return snapshot


def test_later_tables_are_readable_where_partitions_stand_and_nowhere_else(
    any_database: Database, script: str
) -> None:
    any_database.execute(script)
    any_database.execute("CREATE TABLE later (id int); CREATE TABLE access.later (id int)")
    any_database.execute(f"SET ROLE {OWNER}; CREATE TABLE others (id int); RESET ROLE")
    rights = [
        ("later", "SELECT"),
        ("later", "INSERT"),
        ("access.later", "SELECT"),
        ("others", "SELECT"),
    ]
    held = [
        any_database.execute(f"SELECT has_table_privilege('{EXPORTER}', %s, %s)", right)[0][0]
        for right in rights
    ]
    assert held == [True, False, False, False]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (secret) VALUES ('y')",
        "UPDATE users SET uuid = NULL",
        "DELETE FROM audit_logs_1",
        "TRUNCATE users",
        "SELECT secret FROM users",
        "SELECT note FROM access.members",
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


async def test_a_journal_that_the_migrator_makes_later_is_readable(
    any_database: Database, exporter: Exporter, tmp_path: Path
) -> None:
    any_database.execute(f"ALTER ROLE {MIGRATOR} PASSWORD 'moves'")
    with psycopg.connect(any_database.conninfo(MIGRATOR, "moves"), autocommit=True) as connection:
        journal = Journal(connection, tmp_path, "identity")
        journal.open()
        journal.write(Event.PHASE_STARTED, phase="prepare")
        work = {"step": "step", "name": "t", "unit": "rows", "note": ""}
        save_progress(connection, **work, done=1, total=2, rate=1)
    snapshot = await exporter.scrape(5, frozenset())
    assert value_of(snapshot, metrics.MIGRATION_PHASE_STATE, "prepare", PhaseState.RUNNING) == 1
    assert value_of(snapshot, metrics.MIGRATION_PROGRESS, "step", "t") == 0.5
    any_database.execute(f"ALTER ROLE {VALIDATOR} PASSWORD 'judges'")
    with psycopg.connect(any_database.conninfo(VALIDATOR, "judges")) as connection:
        [[entries]] = connection.execute("SELECT count(*) FROM phasegate.journal").fetchall()
    assert entries == 1


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
