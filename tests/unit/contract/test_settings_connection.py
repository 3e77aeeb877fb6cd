"""What a driver gets, built fresh at each connect, and errors that tell no secret."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from phasegate.contract import connection as module
from phasegate.contract.cache_address import parse_cache_url
from phasegate.contract.connection import (
    cache_address,
    check_connections,
    database_conninfo,
    fetch_password,
)
from phasegate.contract.errors import ConfigError, SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.secrets import Dsn, redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_connection import Cache, Connection, Database, Replica


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (
            "postgresql://u:p%40ss@h:5433/db?sslmode=require",
            {"user": "u", "password": "p@ss", "host": "h", "port": "5433", "dbname": "db",
             "sslmode": "require"},
        ),
        ("host=h password='a b' user=u", {"host": "h", "password": "a b", "user": "u"}),
        (
            "postgresql://u@a:1,b:2/db?target_session_attrs=read-write",
            {"user": "u", "host": "a,b", "port": "1,2", "dbname": "db",
             "target_session_attrs": "read-write"},
        ),
        ("postgresql:///db?host=/run/pg", {"host": "/run/pg", "dbname": "db"}),
    ],
)  # fmt: skip
def test_both_forms_become_keywords(dsn: str, expected: dict[str, str]) -> None:
    assert database_conninfo(Connection(url=Dsn(dsn))) == expected


def test_a_password_file_is_read_each_time_and_wins(tmp_path: Path) -> None:
    path = tmp_path / "password"
    connection = Connection(url=Dsn("postgresql://u:old@h/db"), password_file=path)
    for password in ("first-canary", "  second canary "):
        path.write_text(f"{password}\n", encoding="utf-8")
        assert database_conninfo(connection)["password"] == password
        assert redactor(f"with {password}") == "with ***"


def test_a_url_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "url"
    connection = Connection(url_file=path)
    path.write_text("host=a password=one-canary\n", encoding="utf-8")
    assert database_conninfo(connection)["host"] == "a"
    path.write_text("host=b", encoding="utf-8")
    assert database_conninfo(connection) == {"host": "b"}
    assert redactor("one-canary") == "***"


def test_a_password_command_is_run_each_time(tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/runs; wc -l < {tmp_path}/runs; echo warning >&2"
    connection = Connection(url=Dsn("host=h"), password_command=("/bin/sh", "-c", script))
    assert [database_conninfo(connection)["password"] for _ in range(2)] == ["1", "2"]


def test_no_password_configured_is_none() -> None:
    assert fetch_password(Connection(url=Dsn("host=h")), "database") is None


FAILURES = {
    "status": (("/bin/sh", "-c", "echo canary; echo canary >&2; exit 3"), "ended with status 3"),
    "killed": (("/bin/sh", "-c", "kill -9 $$"), "ended with status -9"),
    "silence": (("/bin/true",), "printed no password"),
    "no text": (("/bin/sh", "-c", "printf 'canary\\377'"), "printed no password"),
    "absent": (("/no/such/program", "canary"), "cannot be started: No such file"),
    "odd argument": (("/bin/echo", "a\0b"), "cannot be started: its arguments"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_command_is_told_without_its_output(name: str) -> None:
    command, reason = FAILURES[name]
    with pytest.raises(SourceUnavailable) as caught:
        database_conninfo(Connection(url=Dsn("host=h"), password_command=command), "replica1")
    assert str(caught.value).startswith("replica1: password_command ")
    assert reason in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_slow_command_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PASSWORD_COMMAND_SECONDS", 0.3)
    script = f"sleep 60 & echo $! > {tmp_path}/child; exit 0"
    started = time.monotonic()
    with pytest.raises(SourceTimeout, match=r"took longer than 0\.3 s"):
        fetch_password(Connection(password_command=("/bin/sh", "-c", script)), "database")
    assert time.monotonic() - started < 5
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    for _ in range(100):
        if _gone(child):
            return
        time.sleep(0.02)
    pytest.fail("the child of the command is still there")


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Without an init that reaps orphans a dead child stays as a zombie.
    return (
        Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "is empty"), (b"\n", "is empty"), (b"can\xffary", "not UTF-8")],
)
def test_an_unusable_file_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    for connection, key in (
        (Connection(url=Dsn("host=h"), password_file=path), "password_file"),
        (Connection(url_file=path), "url_file"),
    ):
        with pytest.raises(SourceUnavailable) as caught:
            database_conninfo(connection)
        assert str(caught.value).startswith(f"database: {key} {path}")
        assert reason in str(caught.value)


def test_a_malformed_dsn_is_told_without_its_text() -> None:
    with pytest.raises(SourceUnavailable) as caught:
        database_conninfo(Connection(url=Dsn("host=h password='canary")))
    assert "malformed" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


MALFORMED = {
    "postgresql://u:canary@h/db?sslmod=require": "the parameter sslmod, perhaps meant as sslmode",
    "host=h pasword=canary": "the parameter pasword, perhaps meant as password",
    "postgresql://u:can%zzary@h/db": "an odd percent-encoding",
    "postgresql://u@h/db?password=a&canary=1": "a parameter that libpq does not know",
    "host=h password='canary": "no connection string that libpq can read",
}


@pytest.mark.parametrize("key", ["database.url", "database.replicas.r1.url"])
@pytest.mark.parametrize("dsn", MALFORMED)
def test_a_malformed_dsn_is_refused_without_connecting(dsn: str, key: str) -> None:
    good = Dsn("host=h")
    database = Database(
        url=Dsn(dsn) if key == "database.url" else good,
        replicas={"r1": Replica(url=good if key == "database.url" else Dsn(dsn))},
    )
    with pytest.raises(ConfigError) as caught:
        check_connections(Settings(database=database))
    [fault] = caught.value.faults
    assert (fault.key, fault.found) == (key, MALFORMED[dsn])
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_sound_dsn_is_let_through() -> None:
    check_connections(Settings(database=Database(url=Dsn("postgresql:///d?sslmode=require"))))
    check_connections(Settings(database=Database(url_file=Path("/absent"))))


def test_nothing_configured_is_a_source_error() -> None:
    with pytest.raises(SourceError, match="no url and no url_file"):
        database_conninfo(Connection())


CACHES = {
    "redis://h": "redis://h:6379/0",
    "redis://u:p@h:1/2": "redis://h:1/2",
    "rediss://:p@[::1]:1/2?ssl_ca_certs=/ca.pem": "rediss://[::1]:1/2",
    "redis://h?db=3": "redis://h:6379/3",
    "unix:///run/v.sock": "unix:///run/v.sock?db=0",
    "unix://u:p@/run/v.sock?db=4": "unix:///run/v.sock?db=4",
    "redis+sentinel://:p@a,b:2/mymaster": "redis+sentinel://a:26379,b:2/mymaster/0",
    "rediss+sentinel://a:1/mymaster/5": "rediss+sentinel://a:1/mymaster/5",
    "redis+cluster://a,b:2": "redis+cluster://a:6379,b:2",
}


@pytest.mark.parametrize("url", CACHES)
def test_cache_urls(url: str) -> None:
    address = parse_cache_url(url)
    assert address.identity == CACHES[url]
    assert (address.password is not None) == (":p@" in url)
    assert address.tls == url.startswith("rediss")


def test_the_parts_of_a_cache_url() -> None:
    address = parse_cache_url("rediss://us%40er:p%2Fw@h:1/2?ssl_ca_certs=/ca.pem")
    assert (address.username, address.hosts, address.database) == ("us@er", (("h", 1),), 2)
    assert address.password is not None
    assert address.password.reveal() == "p/w"
    assert address.tls_files == {"ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "redis://",
        "redis://h:0",
        "redis://h:99999",
        "redis://h:1/x",
        "redis://h/1/2",
        "redis://a,b",
        "redis://[::1",
        "redis://h?canary=1",
        "redis+sentinel://h:1",
        "redis+cluster://h/1",
        "unix://",
    ],
)
def test_odd_cache_urls_are_refused_without_their_text(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(its|a|several|the) ") as caught:
        parse_cache_url(url.replace("://", "://u:canary-password@", 1))
    assert "canary-password" not in str(caught.value)


def test_the_cache_takes_its_password_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("fresh-canary\n", encoding="utf-8")
    address = cache_address(Cache(url=Dsn("redis://:old@h"), password_file=path))
    assert address.password is not None
    assert address.password.reveal() == "fresh-canary"
    path.write_text("redis://h:x", encoding="utf-8")
    with pytest.raises(SourceUnavailable, match="its URL is malformed: a host or a port"):
        cache_address(Cache(url_file=path))
