"""The decisions behind 401, 403 and 429, without a server."""

from __future__ import annotations

import base64
from typing import Any

import bcrypt
import pytest

from phasegate.contract.secrets import Secret
from phasegate.exporter.webauth import Bucket, Passwords, client_allowed, parse_basic
from phasegate.exporter.webconfig import RateLimit, TlsServer, WebConfig

COST = 4


def hashed(password: str, cost: int = COST) -> Secret:
    return Secret(bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode())


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic YTpi", ("a", b"b")),
        ("bASIC YTpi", ("a", b"b")),
        (basic(b"a:b:c"), ("a", b"b:c")),
        (basic(b":"), ("", b"")),
        (basic("ü:ä".encode()), ("ü", "ä".encode())),
        (basic(b"a:\xff"), ("a", b"\xff")),
        (basic(b"\xff:a"), None),
        (basic(b"ab"), None),
        ("", None),
        ("Basic", None),
        ("Basic ***", None),
        ("Basic YTpi\u00e4", None),
        ("Bearer YTpi", None),
    ],
)
def test_basic_credentials(header: str, found: tuple[str, bytes] | None) -> None:
    assert parse_basic(header) == found


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hashes that bcrypt was asked about."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, stored: bytes) -> bool:
        asked.append(stored)
        return real(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    return asked


async def test_only_a_success_is_remembered(calls: list[bytes]) -> None:
    passwords, users = Passwords(), {"alice": hashed("right")}
    for _ in range(3):
        assert await passwords.verify(users, basic(b"alice:right"))
        assert not await passwords.verify(users, basic(b"alice:wrong"))
    assert len(calls) == 1 + 3


async def test_a_changed_hash_forgets(calls: list[bytes]) -> None:
    passwords = Passwords()
    assert await passwords.verify({"alice": hashed("old")}, basic(b"alice:old"))
    assert not await passwords.verify({"alice": hashed("new")}, basic(b"alice:old"))
    assert len(calls) == 2


async def test_a_stranger_costs_what_a_user_costs(calls: list[bytes]) -> None:
    passwords, users = Passwords(), {"alice": hashed("right"), "bob": hashed("right", COST + 1)}
    for name in ("mallory", "", "alice "):
        for _ in range(2):
            assert not await passwords.verify(users, basic(f"{name}:right".encode()))
        first, second = calls[-2:]
        assert first == second  # the same name always meets the same hash
    assert len(calls) == 6


async def test_a_right_guess_of_a_strangers_hash_opens_nothing() -> None:
    passwords, users = Passwords(), {"alice": hashed("right")}
    assert not await passwords.verify(users, basic(b"mallory:right"))
    assert await passwords.verify(users, basic(b"alice:right"))
    assert not await passwords.verify(users, basic(b"mallory:right"))


async def test_bcrypt_reads_72_bytes_as_htpasswd_does() -> None:
    passwords, users = Passwords(), {"alice": hashed("x" * 72)}
    assert await passwords.verify(users, basic(b"alice:" + b"x" * 100))
    assert not await passwords.verify(users, basic(b"alice:" + b"x" * 71))


@pytest.mark.parametrize("header", ["", "Bearer x", "Basic x"])
async def test_what_is_no_password_costs_nothing(header: str, calls: list[bytes]) -> None:
    assert not await Passwords().verify({"alice": hashed("right")}, header)
    assert calls == []


def test_the_bucket_gives_a_burst_and_then_one_each_interval() -> None:
    now = [100.0]
    bucket, limit = Bucket(lambda: now[0]), RateLimit(interval=2.0, burst=3)
    assert [bucket.take(limit) for _ in range(4)] == [0, 0, 0, 2.0]
    now[0] += 1.0
    assert bucket.take(limit) == pytest.approx(1.0)
    now[0] += 1.0
    assert [bucket.take(limit), bucket.take(limit)] == [0, pytest.approx(2.0)]
    now[0] += 1000.0
    assert [bucket.take(limit) == 0 for _ in range(4)] == [True, True, True, False]


def test_a_changed_limit_starts_full_and_none_is_no_limit() -> None:
    bucket = Bucket(lambda: 0.0)
    assert [bucket.take(RateLimit(interval=1.0, burst=1)) for _ in range(2)] == [0, 1.0]
    assert bucket.take(RateLimit(interval=1.0, burst=2)) == 0
    assert [bucket.take(limit) for limit in (None, RateLimit(interval=0.0, burst=0))] == [0, 0]


def tls(**keys: Any) -> WebConfig:
    return WebConfig(tls_server_config=TlsServer(**keys))


SANS = (("DNS", "prom.example"), ("IP Address", "2001:DB8:0:0:0:0:0:1"), ("email", "a@b.example"))


@pytest.mark.parametrize(
    ("allowed", "names", "expected"),
    [
        (("prom.example",), SANS, True),
        (("a@b.example", "other"), SANS, True),
        (("2001:db8::1",), SANS, True),
        (("PROM.example",), SANS, False),
        (("example",), SANS, False),
        (("prom.example",), (), False),
        (None, (), True),
    ],
)
def test_a_client_needs_one_of_the_names(
    allowed: tuple[str, ...] | None, names: tuple[tuple[str, str], ...], expected: bool
) -> None:
    config = tls(client_auth_type="RequireAndVerifyClientCert", client_allowed_sans=allowed)
    assert client_allowed(config, {"subject": (), "subjectAltName": names}) is expected


def test_a_client_without_a_certificate() -> None:
    assert client_allowed(WebConfig(), {})
    assert client_allowed(tls(client_auth_type="VerifyClientCertIfGiven"), {})
    assert not client_allowed(tls(client_auth_type="RequireAndVerifyClientCert"), {})
    named = tls(client_auth_type="VerifyClientCertIfGiven", client_allowed_sans=("a",))
    assert not client_allowed(named, {})
