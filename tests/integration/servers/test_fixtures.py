"""The fixtures that every other test stands on."""

from __future__ import annotations

import pytest
import redis

from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present


def test_a_database_is_fresh_and_writable(any_database: Database) -> None:
    any_database.execute("create table t (a int); insert into t values (1), (2)")

    assert any_database.execute("select a from t order by a") == [(1,), (2,)]
    assert any_database.execute("select current_database()") == [(any_database.name,)]


@pytest.mark.parametrize("round_number", [1, 2])
def test_no_table_of_another_test_is_seen(database: Database, round_number: int) -> None:
    database.execute("create table shared_name (a int)")

    assert database.execute("select count(*) from shared_name") == [(0,)], round_number


def test_the_cache_answers(cache_server: CacheServer) -> None:
    with redis.Redis.from_url(cache_server.url()) as client:
        assert client.ping() is True


def test_a_missing_server_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHASEGATE_REQUIRE", raising=False)

    with pytest.raises(pytest.skip.Exception, match="Oracle 9 is not installed"):
        require_present("Oracle 9", present=False)


def test_a_missing_server_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASEGATE_REQUIRE", "all")

    with pytest.raises(pytest.fail.Exception, match="Oracle 9 is not installed"):
        require_present("Oracle 9", present=False)


def test_a_present_server_does_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASEGATE_REQUIRE", "all")

    require_present("Oracle 9", present=True)
