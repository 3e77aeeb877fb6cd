"""What is looked at before a migration, on real servers that have it and on some that lack it."""

from __future__ import annotations

from pathlib import Path

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
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters, open_migrating
from tests.fixtures.presence import require_present

T = TableName("public", "t")


def look(database: Database, user: str | None = None) -> dict[str, Finding]:
    given = {"user": user, "password": "x"} if user else {}
    with open_session(connect_parameters(database, **given)) as connection:
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
