"""Health checks against real servers that answer well, badly, slowly, or not at all."""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Body, Health
from phasegate.contract.settings_http import BasicAuth
from phasegate.exporter.health_check import BODY_LIMIT_BYTES, HealthResult, check_health

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(answer: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def answering(status: int = 200, body: Any = "", **keys: Any) -> Answering:
    text = body if isinstance(body, str) else json.dumps(body)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, **keys)

    return answer


async def check(answer: Answering, **keys: Any) -> HealthResult:
    async with serving(answer) as url:
        return await check_health(Health(name="api", url=f"{url}/health", **keys))


@pytest.mark.parametrize(
    ("status", "body", "keys", "reason"),
    [
        (200, "", {}, "ok"),
        (204, "", {"status": (200, 204)}, "ok"),
        (200, {"status": "ok"}, {}, "ok"),
        (200, {"status": "UP", "components": {}}, {}, "ok"),
        (200, {"status": {"db": "down"}}, {}, "ok"),
        (200, "status: degraded", {}, "ok"),
        (200, {"status": "degraded"}, {}, "body"),
        (200, {"status": "DOWN"}, {}, "body"),
        (200, {"status": False}, {}, "body"),
        (200, {"status": "degraded"}, {"body": Body(json={"status": "degraded"})}, "ok"),
        (200, {"status": "degraded"}, {"body": Body(json={"status": "ok"})}, "body"),
        (200, {"ready": True}, {"body": Body(json={"ready": True})}, "ok"),
        (200, {"ready": 1}, {"body": Body(json={"ready": True})}, "body"),
        (200, {"ready": 1.0}, {"body": Body(json={"ready": 1})}, "ok"),
        (200, {"db": {"status": "up"}}, {"body": Body(json={"db.status": "up"})}, "ok"),
        (200, {"db": "up"}, {"body": Body(json={"db.status": "up"})}, "body"),
        (200, {"db": None}, {"body": Body(json={"db": None})}, "ok"),
        (200, "{", {"body": Body(json={"status": "ok"})}, "body_not_json"),
        (200, "[1]", {"body": Body(json={"status": "ok"})}, "body_not_json"),
        (200, "[" * 60_000, {"body": Body(json={"status": "ok"})}, "body_not_json"),
        (200, "all is well", {"body": Body(contains="is well")}, "ok"),
        (200, "all is lost", {"body": Body(contains="is well")}, "body"),
        (503, {"status": "ok"}, {}, "status"),
        (404, "", {}, "status"),
        (503, "", {"status": (503,)}, "ok"),
    ],
)  # fmt: skip
async def test_an_answer_is_judged_by_status_and_body(
    status: int, body: Any, keys: dict[str, Any], reason: str
) -> None:
    result = await check(answering(status, body), **keys)
    assert (result.reason, result.up) == (reason, reason == "ok")
    assert bool(result.detail) is not result.up
    assert 0 < result.duration_seconds < 5
    assert result.certificate_expires is None


async def test_a_redirect_is_not_followed() -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302 if request.path == "/health" else 200,
                            headers={"Location": "/login"})  # fmt: skip

    assert (await check(answer)).reason == "redirected"
    assert seen == ["/health"]
    assert (await check(answer, status=(302,))).up


async def test_a_hang_before_the_answer_ends_at_the_limit() -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    result = await check(answer, timeout=0.2)
    assert result.reason == "timeout"
    assert 0.15 < result.duration_seconds < 1


async def test_the_callers_limit_counts_where_it_is_shorter() -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(answer) as url:
        result = await check_health(Health(name="api", url=url, timeout=20), 0.1)
    assert result.reason == "timeout"
    assert result.duration_seconds < 1


async def test_a_hang_inside_the_body_is_a_hang() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(30)
        return response

    assert (await check(answer, timeout=0.3)).reason == "timeout"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(Body(), "ok"), (Body(contains="xx"), "ok"), (Body(contains="needle"), "body_too_large"),
     (Body(json={"a": 1}), "body_too_large")],
)  # fmt: skip
async def test_an_endless_body_is_read_up_to_the_limit(body: Body, reason: str) -> None:
    written = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        while written < 2**30:
            await response.write(b"x" * 65_536)
            written += 65_536
        return response

    assert (await check(answer, body=body)).reason == reason
    assert BODY_LIMIT_BYTES <= written < 64 * 2**20


async def test_a_compressed_answer_that_nobody_asked_for_is_read_too() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        response = web.json_response({"status": "degraded"})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    assert (await check(answer)).reason == "body"


async def raw_server(reply: bytes) -> tuple[asyncio.Server, str]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "disconnected"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x50\r\n\r\n", "protocol"),
    ],
)
async def test_a_server_that_speaks_something_else(reply: bytes, reason: str) -> None:
    server, url = await raw_server(reply)
    async with server:
        result = await check_health(Health(name="api", url=url))
    assert (result.reason, result.up) == (reason, False)


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    result = await check_health(Health(name="api", url=f"http://127.0.0.1:{port}/?token=CANARY"))
    assert result.reason == "refused"
    assert "CANARY" not in result.detail


async def test_a_name_that_does_not_exist() -> None:
    result = await check_health(Health(name="api", url="http://nowhere.invalid/", timeout=20))
    assert result.reason == "name_unknown"


async def test_credentials_are_sent_and_read_again_each_time(tmp_path: Path) -> None:
    seen = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response()

    secret = tmp_path / "secret"
    async with serving(answer) as url:
        bearer = Health(name="api", url=url, bearer_file=secret)
        basic = Health(
            name="api", url=url, basic_auth=BasicAuth(username="u", password=Secret("pä"))
        )
        for text in ("one\n", "two"):
            secret.write_text(text)
            assert (await check_health(bearer)).up
        assert (await check_health(basic)).up
        secret.write_text("")
        empty = await check_health(bearer)
        secret.unlink()
        missing = await check_health(bearer)
    assert seen == ["Bearer one", "Bearer two", "Basic dTpww6Q="]
    assert (empty.reason, missing.reason) == ("credentials", "credentials")
    assert "No such file" in missing.detail


DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


@asynccontextmanager
async def secured(
    authority: trustme.CA, *names: str, expires: datetime.datetime = NOW + 30 * DAY
) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_before=NOW - 60 * DAY, not_after=expires).configure_cert(
        context
    )
    async with serving(answering(), context) as url:
        yield url


@pytest.fixture
def ca(tmp_path: Path) -> tuple[trustme.CA, Path]:
    authority = trustme.CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return authority, path


async def test_a_trusted_certificate_tells_its_expiry(ca: tuple[trustme.CA, Path]) -> None:
    expires = NOW + 30 * DAY
    async with secured(ca[0], "127.0.0.1", expires=expires) as url:
        result = await check_health(Health(name="api", url=url, ca=ca[1]))
    assert (result.reason, result.certificate_expires) == ("ok", expires.timestamp())


async def test_an_expired_certificate_tells_its_expiry_too(ca: tuple[trustme.CA, Path]) -> None:
    expires = NOW - 2 * DAY
    async with secured(ca[0], "127.0.0.1", expires=expires) as url:
        result = await check_health(Health(name="api", url=url, ca=ca[1]))
    assert result.reason == "certificate_expired"
    assert (result.up, result.certificate_expires) == (False, expires.timestamp())


async def test_an_expired_certificate_of_a_stranger_tells_nothing(
    ca: tuple[trustme.CA, Path],
) -> None:
    async with secured(trustme.CA(), "127.0.0.1", expires=NOW - DAY) as url:
        result = await check_health(Health(name="api", url=url, ca=ca[1]))
    assert (result.reason, result.certificate_expires) == ("certificate_untrusted", None)


async def test_a_certificate_of_another_name(ca: tuple[trustme.CA, Path]) -> None:
    async with secured(ca[0], "api.example") as url:
        result = await check_health(Health(name="api", url=url, ca=ca[1]))
    assert (result.reason, result.certificate_expires) == ("certificate_hostname", None)


async def test_a_renewed_authority_is_read_again(ca: tuple[trustme.CA, Path]) -> None:
    renewed = trustme.CA()
    async with secured(renewed, "127.0.0.1") as url:
        check = Health(name="api", url=url, ca=ca[1])
        before = await check_health(check)
        renewed.cert_pem.write_to_path(ca[1])
        after = await check_health(check)
    assert (before.reason, after.reason) == ("certificate_untrusted", "ok")


async def test_https_against_a_plain_server() -> None:
    async with serving(answering()) as url:
        result = await check_health(Health(name="api", url=url.replace("http:", "https:")))
    assert result.reason == "tls"


async def test_a_certificate_of_our_own_is_shown(
    ca: tuple[trustme.CA, Path], tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca[0].issue_cert("127.0.0.1").configure_cert(context)
    ca[0].configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own = ca[0].issue_cert("probe@example.org")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    file = tmp_path / "own.pem"
    async with serving(answering(), context) as url:
        with_own = await check_health(Health(name="api", url=url, ca=ca[1], cert=file, key=file))
        without = await check_health(Health(name="api", url=url, ca=ca[1]))
    assert with_own.reason == "ok"
    # TLS 1.3 tells the client after its own handshake has succeeded: as an alert or as an end.
    assert without.reason in ("tls", "disconnected")


@pytest.mark.parametrize("text", ["", "no PEM at all"])
async def test_an_authority_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    missing = await check_health(Health(name="api", url="https://127.0.0.1:1/", ca=path))
    path.write_text(text)
    broken = await check_health(Health(name="api", url="https://127.0.0.1:1/", ca=path))
    assert (missing.reason, broken.reason) == ("credentials", "credentials")
