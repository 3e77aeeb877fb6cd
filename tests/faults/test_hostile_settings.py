"""What the role's settings and search_path hold changes neither a figure nor whether there is one.

ALTER ROLE … SET is the owner's right, and a schema that stands before pg_catalog is a trap that
anybody may set who can create one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phasegate.contract import metrics
from phasegate.contract.model import Distribution
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import (
    CANARY,
    CONFIG,
    ROLE,
    Scene,
    running,
)

TRAPS = """
CREATE SCHEMA IF NOT EXISTS traps;
GRANT USAGE ON SCHEMA traps TO PUBLIC;
CREATE TABLE traps.pg_class (LIKE pg_catalog.pg_class);
CREATE TABLE traps.pg_namespace (LIKE pg_catalog.pg_namespace);
CREATE TABLE traps.pg_attribute (attrelid oid);
CREATE TABLE traps.pg_inherits (LIKE pg_catalog.pg_inherits);
CREATE TABLE traps.pg_index (LIKE pg_catalog.pg_index);
CREATE TABLE traps.pg_database (oid oid, datname name);
CREATE TABLE traps.users (uuid uuid, id int);
CREATE TABLE traps.audit_logs (id int8);
CREATE VIEW traps.pg_locks AS SELECT pg_sleep(60)::text AS slept;
CREATE VIEW traps.pg_stat_activity AS SELECT pg_sleep(60)::text AS slept;
CREATE FUNCTION traps.trap() RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION traps.current_database() RETURNS name LANGUAGE sql AS $$ SELECT traps.trap() $$;
CREATE FUNCTION traps.pg_backend_pid() RETURNS int LANGUAGE sql AS $$ SELECT traps.trap()::int $$;
CREATE FUNCTION traps.pg_table_size(oid) RETURNS int8 LANGUAGE sql AS $$ SELECT 666::int8 $$;
CREATE FUNCTION traps.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION traps.set_config(text, text, bool) RETURNS text
    LANGUAGE sql AS $$ SELECT traps.trap() $$;
CREATE FUNCTION traps.same(name, text) RETURNS bool LANGUAGE sql AS $$ SELECT traps.trap()::bool $$;
CREATE FUNCTION traps.same(uuid, uuid) RETURNS bool LANGUAGE sql AS $$ SELECT false $$;
CREATE FUNCTION traps.same(int, int) RETURNS bool LANGUAGE sql AS $$ SELECT false $$;
CREATE OPERATOR traps.= (LEFTARG = name, RIGHTARG = text, FUNCTION = traps.same);
CREATE OPERATOR traps.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = traps.same);
CREATE OPERATOR traps.= (LEFTARG = int, RIGHTARG = int, FUNCTION = traps.same);
"""
HOSTILE: dict[str, dict[str, str]] = {
    "search_path": {"search_path": "traps, pg_catalog, public"},
    "formats": {
        "datestyle": "German, DMY",
        "intervalstyle": "sql_standard",
        "timezone": "Asia/Kathmandu",
        "bytea_output": "escape",
        "client_encoding": "LATIN1",
        "extra_float_digits": "-15",
        "array_nulls": "off",
        "quote_all_identifiers": "on",
        "standard_conforming_strings": "off",
        "transform_null_equals": "on",
        "client_min_messages": "debug5",
    },
    "planner": {
        "enable_indexscan": "off",
        "enable_bitmapscan": "off",
        "enable_hashjoin": "off",
        "enable_nestloop": "off",
        "from_collapse_limit": "1",
        "work_mem": "64kB",
        "jit": "on",
        "jit_above_cost": "0",
        "plan_cache_mode": "force_generic_plan",
    },
    "time limits": {
        "statement_timeout": "1",
        "lock_timeout": "1",
        "idle_in_transaction_session_timeout": "50",
        "idle_session_timeout": "100",
        "transaction_timeout": "50",
    },
    "transactions": {
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
        "default_transaction_read_only": "on",
        "row_security": "on",
        "exit_on_error": "on",
    },
}
STABLE = (
    metrics.TARGET_INFO,
    metrics.SOURCE_EPOCH,
    metrics.TABLE_SIZE,
    metrics.PARTITION_GAPS,
    metrics.UUID_MISSING,
    metrics.KEY_USED,
    metrics.INVALID_INDEXES,
    metrics.PROBE_PLAN_CHANGES,
)
Figures = dict[tuple[str, tuple[str, ...]], float | Distribution]
# Without any setting; measured once.
PLAIN: dict[PostgresServer, Figures] = {}


@pytest.fixture(scope="module")
def trapped(server: PostgresServer) -> PostgresServer:
    server.execute(TRAPS)
    return server


@pytest.fixture
def set_role(trapped: PostgresServer) -> Iterator[PostgresServer]:
    yield trapped
    trapped.execute(f"ALTER ROLE {ROLE} RESET ALL")


def figures(found: Snapshot) -> Figures:
    return {(s.metric.name, s.labels): s.value for s in found.samples if s.metric in STABLE}


async def measure(server: PostgresServer, folder: Path) -> Snapshot:
    environ = {"DATABASE_URL": server.conninfo("postgres", ROLE, CANARY)}
    async with running(folder, CONFIG, environ) as exporter:
        scene = Scene(exporter, server)
        await scene.whole_soon()
        await scene.probes_go_on()
        return await scene.whole()


@pytest.mark.parametrize("name", HOSTILE)
async def test_settings_of_the_role_change_no_figure(
    set_role: PostgresServer, tmp_path: Path, name: str
) -> None:
    if set_role not in PLAIN:
        PLAIN[set_role] = figures(await measure(set_role, tmp_path))
        assert len({metric for metric, _ in PLAIN[set_role]}) == len(STABLE)
    for key, value in HOSTILE[name].items():
        literal = value if key == "search_path" else f"'{value}'"
        set_role.execute(f"ALTER ROLE {ROLE} SET {key} TO {literal}")
    assert figures(await measure(set_role, tmp_path)) == PLAIN[set_role]
