"""The warm-up fills what is missing and brings no revoked grant back; clearing spares others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from phasegate.contract.errors import StepFailed
from phasegate.contract.secrets import Dsn
from phasegate.contract.settings_connection import Cache, Warm
from phasegate.migrate.cache_keys import clear_keys
from phasegate.migrate.command import migrate
from phasegate.migrate.context import NothingStops
from phasegate.migrate.operations.warm_cache import WarmCache
from phasegate.migrate.warm_cache import PENDING_MILLISECONDS, Warmer
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

ROWS = 1_200
SQL = (
    "SELECT 'warm:' || id, json_agg(name ORDER BY name)::text FROM public.grants"
    " WHERE id = ANY($1) GROUP BY id"
)
WARM = Warm(ids="SELECT DISTINCT id FROM public.grants", sql=SQL, rate=1_000_000)


@pytest.fixture
def migrating(database: Database, tmp_path: Path) -> Iterator[Migrating]:
    database.execute("CREATE TABLE public.grants (id int, name text)")
    database.execute(
        f"INSERT INTO public.grants SELECT n, 'read' FROM generate_series(1, {ROWS}) n"
    )
    with open_migrating(database, tmp_path, ()) as found:
        yield found


@pytest.fixture
def client(cache_server: CacheServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(cache_server.url(), decode_responses=True) as found:
        clear_keys(found, "warm:*")
        yield found
        clear_keys(found, "warm:*")


@pytest.fixture
def warmer(migrating: Migrating, client: redis.Redis) -> Warmer:
    cache = Cache(url=Dsn("redis://127.0.0.1"), key_pattern="warm:*")
    return Warmer(cache, WARM, migrating.connection, client, NothingStops())


def between(monkeypatch: pytest.MonkeyPatch, before: str, act: Callable[[], object]) -> None:
    """Let it happen once, just before the warm-up's own `before`."""
    original = getattr(Warmer, before)
    left = [act]

    def wrapped(self: Warmer, *given: object) -> object:
        if left:
            left.pop()()
        return original(self, *given)

    monkeypatch.setattr(Warmer, before, wrapped)


def test_what_is_missing_is_filled_and_what_is_there_is_left(
    warmer: Warmer, client: redis.Redis
) -> None:
    client.set("warm:7", "the application's", px=600_000)
    assert warmer.is_cold()
    assert warmer.fill() == (ROWS - 1, 1, 0, ROWS)
    assert client.get("warm:7") == "the application's"
    assert client.get("warm:8") == '["read"]'
    assert PENDING_MILLISECONDS < client.pttl("warm:8") <= 300_000
    assert not warmer.is_cold()
    assert warmer.fill() == (0, ROWS, 0, ROWS)


@pytest.mark.parametrize("before", ["_write", "_prove"])
@pytest.mark.parametrize(
    "change", ["DELETE FROM public.grants", "UPDATE public.grants SET name = 'none'"]
)
def test_a_grant_that_is_revoked_meanwhile_does_not_come_back(
    warmer: Warmer, migrating: Migrating, monkeypatch: pytest.MonkeyPatch, before: str, change: str
) -> None:
    client = warmer.client

    def revoke() -> None:
        migrating.database.execute(change)
        clear_keys(client, "warm:*")

    between(monkeypatch, before, revoke)
    warmer.fill()
    stale = [key for key in client.scan_iter("warm:*") if client.get(key) == '["read"]']
    assert stale == []


def test_what_the_application_writes_meanwhile_stays_as_it_is(
    warmer: Warmer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    between(monkeypatch, "_prove", lambda: client.set("warm:8", '["read"]', px=60_000))
    warmer.fill()
    assert 55_000 < client.pttl("warm:8") <= 60_000


def test_a_warm_up_that_dies_leaves_nothing_for_long(
    warmer: Warmer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    between(monkeypatch, "_prove", die)
    with pytest.raises(KeyboardInterrupt):
        warmer.fill()
    lives = [client.pttl(key) for key in client.scan_iter("warm:*")]
    assert lives
    assert max(lives) <= PENDING_MILLISECONDS


def test_a_key_that_a_roll_back_would_not_clear_is_refused(warmer: Warmer) -> None:
    other = replace(warmer, warm=replace(WARM, sql=SQL.replace("warm:", "neighbour:")))
    with pytest.raises(StepFailed, match="found a key not of warm"):
        other.fill()


def test_the_step_fills_and_only_our_keys_are_cleared_without_keys(
    migrating: Migrating, client: redis.Redis, cache_server: CacheServer
) -> None:
    cache = Cache(url=Dsn(cache_server.url()), key_pattern="warm:*", warm=WARM)
    settings = replace(migrating.settings, cache=cache)
    assert migrating.apply(WarmCache(), settings=settings) == 1
    assert f"permission cache: {ROWS} keys filled" in migrating.said[-1]
    migrating.apply(WarmCache(if_cold=True), settings=settings)
    assert "is warm" in migrating.said[-1]
    client.set("warmth:1", "a neighbour's")
    calls = client.info("commandstats").get("cmdstat_keys")
    assert clear_keys(client, "warm:*") == ROWS
    assert list(client.scan_iter("warm:*")) == []
    assert client.get("warmth:1") == "a neighbour's"
    assert client.info("commandstats").get("cmdstat_keys") == calls
    assert "cmdstat_flushdb" not in client.info("commandstats")
    client.delete("warmth:1")


def test_the_command_fills_and_knows_a_warm_cache(
    migrating: Migrating, client: redis.Redis, cache_server: CacheServer, tmp_path: Path
) -> None:
    config = tmp_path / "phasegate.yaml"
    config.write_text(
        f'database: {{url: "{migrating.database.conninfo()}"}}\n'
        f'cache:\n  url: "{cache_server.url()}"\n  key_pattern: "warm:*"\n'
        f'  warm:\n    ids: "{WARM.ids}"\n    sql: "{SQL}"\n    rate: 100000\n'
    )
    said = [
        CliRunner().invoke(migrate, ["warm-cache", "--config", str(config), *more])
        for more in ((), ("--if-cold",))
    ]
    assert [(one.exit_code, one.exception) for one in said] == [(0, None), (0, None)]
    assert f"{ROWS} keys filled" in said[0].stderr
    assert "warm already" in said[1].stderr
    assert client.exists("warm:1")
