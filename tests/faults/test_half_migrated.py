"""A schema that a migration left, or holds, half-way is measured as far as it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.model import Metric
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    CANARY,
    CONFIG,
    ROLE,
    TABLES,
    Scene,
    assert_counters_kept,
    prepare_tables,
    reasons,
    running,
)
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of

USERS, LOGS = ("public", "users"), ("public", "audit_logs")
MORE = """
CREATE TABLE user_roles (id int PRIMARY KEY, user_id int REFERENCES users, role text);
INSERT INTO user_roles SELECT i, i FROM generate_series(1, 100) AS i;
"""


@dataclass(frozen=True)
class Half:
    """What has been done so far, why no lookup by UUID is made, and figures that must show."""

    sql: str
    absent: str | None = None
    shown: tuple[tuple[Metric, float], ...] = ()


HALVES = {
    "no column yet": Half("ALTER TABLE users DROP uuid", "no_column"),
    "no index yet": Half("ALTER TABLE users DROP CONSTRAINT users_uuid_key"),
    "an invalid index": Half(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'users_uuid_key'::regclass",
        shown=((metrics.INVALID_INDEXES, 1),),
    ),
    "rows without a UUID": Half(
        "ALTER TABLE users ALTER uuid DROP NOT NULL; UPDATE users SET uuid = NULL WHERE id <= 700",
        shown=((metrics.UUID_MISSING, 700),),
    ),
    "no row with a UUID": Half(
        "ALTER TABLE users ALTER uuid DROP NOT NULL; UPDATE users SET uuid = NULL",
        shown=((metrics.UUID_MISSING, 2000),),
    ),
    "UUIDs as text": Half(
        "ALTER TABLE users ALTER uuid DROP DEFAULT, ALTER uuid TYPE text", "wrong_type"
    ),
    "no table": Half("DROP TABLE users CASCADE", "no_table"),
    "an empty table": Half("TRUNCATE users CASCADE", shown=((metrics.UUID_MISSING, 0),)),
    "a child half renamed": Half(
        "ALTER TABLE user_roles ADD user_uuid uuid;"
        "ALTER TABLE user_roles ADD FOREIGN KEY (user_uuid) REFERENCES users (uuid) NOT VALID;"
        "ALTER TABLE user_roles RENAME user_id TO old_user_id",
        shown=((metrics.CONSTRAINTS_UNVALIDATED, 1),),
    ),
    "a view in its place": Half(
        "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people", "no_table"
    ),
}


@pytest.fixture
def database(server: PostgresServer) -> Database:
    name = "half"
    server.drop_database(name)
    server.create_database(name)
    prepare_tables(server, TABLES + MORE, name)
    return Database(server, name)


@asynccontextmanager
async def measured(database: Database, folder: Path) -> AsyncIterator[Scene]:
    async with running(
        folder, CONFIG, {"DATABASE_URL": database.conninfo(ROLE, CANARY)}
    ) as exporter:
        yield Scene(exporter, database.server)


@pytest.mark.parametrize("name", HALVES)
async def test_half_a_migration(database: Database, tmp_path: Path, name: str) -> None:
    half = HALVES[name]
    database.execute(half.sql)
    async with measured(database, tmp_path) as scene:
        found = await scene.whole_soon()
        absent = ("database", "uuid_lookup", *USERS)
        expected = {(*absent, half.absent)} if half.absent else set()
        assert {
            one for one in labels_of(found, metrics.PROBE_ABSENT) if one[1] == absent[1]
        } == expected
        for metric, value in half.shown:
            assert value_of(found, metric, *USERS) == value
        if half.absent in (None, "wrong_type", "no_column") and name != "an empty table":
            await scene.probes_go_on()


async def test_it_goes_on_under_a_running_exporter(database: Database, tmp_path: Path) -> None:
    async with measured(database, tmp_path) as scene:
        before = await scene.whole_soon()
        await scene.probes_go_on()
        for statement in (
            "ALTER TABLE users RENAME uuid TO uuid_old",
            "ALTER TABLE users ADD uuid uuid",
            "UPDATE users SET uuid = uuid_old",
            "CREATE UNIQUE INDEX ON users (uuid)",
            "ALTER TABLE users DROP uuid_old",
        ):
            database.execute(statement)
            after = await scene.whole()
            assert_counters_kept(before, after)
            before = after
        await scene.probes_go_on()


async def test_a_table_that_an_open_change_holds_costs_its_own_figures(
    database: Database, tmp_path: Path
) -> None:
    async with measured(database, tmp_path) as scene:
        before = await scene.whole_soon()
        with psycopg.connect(database.conninfo()) as change:
            change.execute("ALTER TABLE users ADD half_done int")
            change.execute("ALTER TABLE audit_logs DETACH PARTITION audit_logs_old")
            await scene.exporter.runner.run_scheduled(5)
            held = await scene.scrape(2)
            assert value_of(held, metrics.UP, "database") == 1
            assert_counters_kept(before, held)
            assert reasons(held)["schema/uuid_missing"] == "lock_timeout"
            assert not {"identity", "database", "schema", "partitions"} & set(reasons(held))
            assert not labels_of(held, metrics.UUID_MISSING)
            change.rollback()
        await scene.exporter.runner.run_scheduled(5)
        await scene.whole_soon()
        await scene.probes_go_on()


async def test_a_partition_that_is_being_attached_appears_when_it_is(
    database: Database, tmp_path: Path
) -> None:
    def partitions(found: Snapshot) -> set[str]:
        return {table for _, table, _ in labels_of(found, metrics.TABLE_SIZE)}

    database.execute("ALTER TABLE audit_logs DETACH PARTITION audit_logs_old")
    async with measured(database, tmp_path) as scene:
        await scene.whole_soon()
        with psycopg.connect(database.conninfo()) as change:
            change.execute(
                "ALTER TABLE audit_logs ATTACH PARTITION audit_logs_old"
                " FOR VALUES FROM ('2020-01-01') TO ('2026-06-01')"
            )
            assert partitions(await scene.whole()) == {"audit_logs_now"}
            await asyncio.to_thread(change.commit)
        assert partitions(await scene.whole()) == {"audit_logs_now", "audit_logs_old"}
