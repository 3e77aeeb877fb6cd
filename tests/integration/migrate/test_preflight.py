"""What is looked at before a migration, on real servers that have it and on some that lack it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phasegate.contract.gates import PREFLIGHT_CHECKS
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.contract.secrets import Dsn
from phasegate.contract.settings import Settings
from phasegate.contract.settings_connection import Cache
from phasegate.migrate.findings import Finding
from phasegate.migrate.operations.preflight import Preflight
from phasegate.migrate.preflight import fetch_cache_findings, fetch_findings
from phasegate.migrate.sessions import open_session
from phasegate.servers.cache import CacheServer, find_cache_server
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters, open_migrating
from tests.fixtures.presence import require_present

T = TableName("public", "t")


def look(database: Database, user: str | None = None) -> dict[str, Finding]:
    given = connect_parameters(database)
    if user is not None:
        given = {**given, "user": user, "password": "x"}
    with open_session(given) as connection:
        found = fetch_findings(connection, Settings(), (T,), "identity")
    return {one.name: one for one in found}


def cache_findings(**settings: str | int) -> dict[str, Finding]:
    require_present("valkey-server", find_cache_server() is not None)
    with CacheServer(settings=settings) as server:
        return {one.name: one for one in fetch_cache_findings(Cache(url=Dsn(server.url())))}


def test_each_check_is_measured_and_journalled(any_database: Database, tmp_path: Path) -> None:
    any_database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        assert Preflight((T,)).find_refusals(migrating.catalog()) == ()
        migrating.apply(Preflight((T,)))
        [entry] = [one for one in migrating.journal.entries() if one.event is Event.PREFLIGHT]
    checks = entry.facts["checks"]
    assert tuple(sorted(checks)) == PREFLIGHT_CHECKS
    failed = {name for name, one in checks.items() if one["value"] == 0.0}
    assert failed - {"cpu"} == {"backup_age"}
    assert checks["disk"]["value"] == 1.0
    assert not [name for name, one in checks.items() if one["value"] is None]
    assert any("backup_age         FAILED" in line for line in migrating.said)


def test_a_small_cache_fails_and_noeviction_is_warned_of() -> None:
    found = cache_findings(maxmemory="64mb", **{"maxmemory-policy": "noeviction"})
    memory = found["cache_memory"]
    assert memory.value == 0.0
    assert (memory.found, memory.needed) == ("64.0 MiB", "at least 2.0 GiB")
    assert "noeviction" in memory.warning


def test_a_cache_without_persistence_is_named() -> None:
    found = cache_findings(save="", appendonly="no")["cache_persistence"]
    assert found.value == 0.0
    assert "--save '' --appendonly no" in found.found
    kept = cache_findings(save="900 1", appendonly="no", maxmemory="3gb")
    assert {one.value for one in kept.values()} == {1.0}


def test_a_cache_that_does_not_answer_is_unknown() -> None:
    found = fetch_cache_findings(Cache(url=Dsn("redis://127.0.0.1:1")))
    assert [one.value for one in found] == [None, None]


def test_faults_of_the_server_are_named(database: Database) -> None:
    database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY);"
        "CREATE TABLE _prisma_migrations (migration_name text, started_at timestamptz,"
        " finished_at timestamptz, rolled_back_at timestamptz);"
        "INSERT INTO _prisma_migrations VALUES ('001_half', now(), NULL, NULL),"
        " ('002_done', now(), now(), NULL)"
    )
    database.execute("SELECT pg_create_physical_replication_slot('idle', true)")
    database.execute("BEGIN; DELETE FROM t; PREPARE TRANSACTION 'held back'")
    database.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    database.execute("GRANT SELECT ON _prisma_migrations TO stranger")
    try:
        found = look(database)
        seen = look(database, "stranger")
    finally:
        database.execute("ROLLBACK PREPARED 'held back'")
        database.execute("SELECT pg_drop_replication_slot('idle')")
        database.execute("DROP OWNED BY stranger; DROP ROLE stranger")
    for name, told in {
        "framework": "(public._prisma_migrations): 001_half",
        "replication": "inactive slots: idle",
        "transactions": "1 are prepared",
    }.items():
        assert found[name].value == 0.0
        assert told in found[name].found
    assert found["privileges"].value == 1.0
    privileges = seen["privileges"]
    assert privileges.value == 0.0
    assert "public.t is not ours; no CREATE in schema public" in privileges.found
    # Whoever may not see where the server's files are does not know its disk.
    assert (seen["disk"].value, seen["cpu"].value) == (None, None)


@contextmanager
def small_file_system(megabytes: int) -> Iterator[Path]:
    """One of its own, which a server's account can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    try:
        mounting = [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={megabytes}m,mode=1777",
            "tmpfs",
            str(folder),
        ]
        if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
            pytest.skip("no file system of one's own may be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        shutil.rmtree(folder)


def test_a_disk_of_one_and_a_half_times_the_data_is_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_present("PostgreSQL 15", find_postgres(15) is not None)
    with small_file_system(120) as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        settings: dict[str, str | bool] = {
            "max_wal_size": "32MB",
            "min_wal_size": "32MB",
            "fsync": False,
        }
        with PostgresServer(15, settings=settings) as server:
            server.execute(
                "CREATE UNLOGGED TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
            )
            database = Database(server, "postgres")
            small = look(database)["disk"]
            assert small.value == 0.0
            assert small.remedy.startswith("needs 7")
            assert ", has " in small.remedy
            subprocess.run(["mount", "-o", "remount,size=300m", folder], check=True)
            assert look(database)["disk"].value == 1.0
