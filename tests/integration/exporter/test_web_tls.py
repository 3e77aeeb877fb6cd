"""TLS, mTLS and basic authentication on a real socket, and their renewal while it listens."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from phasegate.contract.errors import ConfigError
from phasegate.exporter.webauth import protect
from phasegate.exporter.webconfig import load_web_config
from phasegate.exporter.webfile import WebFile
from phasegate.exporter.webtls import ssl_context

PASSWORD = "correct horse"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{alice: {HASH}}}\n"


class Clock:
    """The time that a web file sees; far enough ahead for every file to be at rest."""

    def __init__(self) -> None:
        self.ahead = 3600.0

    def __call__(self) -> float:
        self.ahead += 10
        return time.time() + self.ahead


@dataclass
class Folder:
    """A web file with its certificates."""

    path: Path
    ca: trustme.CA

    def write(self, text: str) -> Path:
        file = self.path / "web.yml"
        file.write_text(text)
        return file

    def issue(self, name: str, *names: str, ca: trustme.CA | None = None) -> Path:
        issued = (ca or self.ca).issue_cert(*(names or ("127.0.0.1", "localhost")))
        blob = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        (self.path / f"{name}.crt").write_bytes(blob)
        issued.private_key_pem.write_to_path(self.path / f"{name}.key")
        return self.path / f"{name}.crt"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path, trustme.CA())
    made.issue("server")
    made.ca.cert_pem.write_to_path(tmp_path / "ca.crt")
    return made


TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MTLS = TLS + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"


@asynccontextmanager
async def serving(file: WebFile) -> AsyncIterator[str]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def broken(_request: web.Request) -> web.Response:
        raise web.HTTPServiceUnavailable

    application = web.Application()
    for path in ("/metrics", "/-/healthy", "/-/ready"):
        application.router.add_get(path, hello)
    application.router.add_get("/broken", broken)
    protect(application, file.current)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        context = file.ssl_context()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Reply:
    status: int
    headers: Mapping[str, str]
    serial: str
    version: str
    cipher: str


def client(folder: Folder, own: str = "", **settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    folder.ca.configure_trust(context)
    if own:
        context.load_cert_chain(folder.path / f"{own}.crt", folder.path / f"{own}.key")
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def get(
    url: str, context: ssl.SSLContext | bool = True, credentials: str = "", path: str = "/metrics"
) -> Reply:
    headers = {}
    if credentials:
        headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url + path, headers=headers) as response,
    ):
        transport = response.connection.transport if response.connection else None
        found = transport.get_extra_info("ssl_object") if transport else None
        facts = (found.getpeercert()["serialNumber"], found.version(), found.cipher()[0]) if (
            found) else ("", "", "")  # fmt: skip
        await response.read()
        return Reply(response.status, dict(response.headers), *facts)


REFUSED = (aiohttp.ClientError, ssl.SSLError, ConnectionError)


async def serial(url: str, context: ssl.SSLContext) -> str:
    """Of the certificate that a new connection is shown."""
    host, port = url.removeprefix("https://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found = writer.get_extra_info("peercert")["serialNumber"]
    writer.transport.abort()
    return str(found)


async def test_basic_authentication(folder: Folder) -> None:
    headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    file = WebFile(folder.write(USERS + headers), Clock())
    async with serving(file) as url:
        assert (await get(url, credentials=f"alice:{PASSWORD}")).status == 200
        refused = await get(url)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
        for wrong in ("alice:wrong", f"bob:{PASSWORD}", "alice:", f"alice:{HASH}"):
            assert (await get(url, credentials=wrong)).status == 401
        for path in ("/-/healthy", "/-/ready"):
            assert (await get(url, path=path)).status == 200
        for path in ("/-/healthy/", "/-/healthyx", "/-/nothing", "//-/healthy"):
            assert (await get(url, path=path)).status == 401
        # Every answer carries the headers: refused, failed and fine.
        for path, credentials in (("/metrics", ""), ("/broken", f"alice:{PASSWORD}"),
                                  ("/none", f"alice:{PASSWORD}"), ("/-/healthy", "")):  # fmt: skip
            reply = await get(url, path=path, credentials=credentials)
            assert reply.headers["X-Frame-Options"] == "deny"


async def test_a_slow_hash_does_not_stop_the_others(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, started, go_on = [0, 0], threading.Event(), threading.Event()

    def checkpw(_password: bytes, _hashed: bytes) -> bool:
        most[0] += 1
        most[1] = max(most)
        started.set()
        assert go_on.wait(10), "the event loop is blocked"
        most[0] -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    file = WebFile(folder.write(USERS), Clock())
    async with serving(file) as url:
        wrong = [asyncio.create_task(get(url, credentials=f"alice:{n}")) for n in range(4)]
        assert await asyncio.to_thread(started.wait, 10)
        assert (await get(url, path="/-/healthy")).status == 200
        go_on.set()
        assert [reply.status for reply in await asyncio.gather(*wrong)] == [401] * 4
    assert most[1] == 1  # one hash at a time


async def test_the_rate_limit(folder: Folder) -> None:
    file = WebFile(folder.write("rate_limit: {interval: 1h, burst: 2}\n"), Clock())
    async with serving(file) as url:
        replies = [await get(url) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert 3500 < int(replies[2].headers["Retry-After"]) <= 3600
        assert (await get(url, path="/-/ready")).status == 200


async def test_tls_and_its_versions(folder: Folder) -> None:
    file = WebFile(folder.write(TLS + "  min_version: TLS13\n"), Clock())
    async with serving(file) as url:
        assert (await get(url, client(folder))).status == 200
        old = client(folder, maximum_version=ssl.TLSVersion.TLSv1_2)
        with pytest.raises(REFUSED):
            await get(url, old)


async def test_ciphers_and_curve(folder: Folder) -> None:
    suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    text = TLS + f"  cipher_suites: [{suites}]\n  curve_preferences: [CurveP384]\n"
    file = WebFile(folder.write(text), Clock())
    async with serving(file) as url:
        old = client(folder, maximum_version=ssl.TLSVersion.TLSv1_2)
        assert (await get(url, old)).status == 200
        other = client(folder, maximum_version=ssl.TLSVersion.TLSv1_2)
        other.set_ciphers("ECDHE+CHACHA20")
        with pytest.raises(REFUSED):
            await get(url, other)
        curve = client(folder)
        curve.set_ecdh_curve("X25519")
        with pytest.raises(REFUSED):
            await get(url, curve)


async def test_inline_certificate_and_key(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def block(name: str, file: str) -> str:
        lines = (folder.path / file).read_text().splitlines()
        return f"  {name}: |\n" + "".join(f"    {line}\n" for line in lines)

    text = "tls_server_config:\n" + block("cert", "server.crt") + block("key", "server.key")
    file = folder.write(text)
    async with serving(WebFile(file, Clock())) as url:
        assert (await get(url, client(folder))).status == 200
    monkeypatch.delattr("os.memfd_create")
    assert ssl_context(load_web_config(file)) is not None


async def test_a_client_needs_a_certificate_of_our_authority(folder: Folder) -> None:
    folder.issue("own", "prometheus.example")
    folder.issue("stranger", "prometheus.example", ca=trustme.CA())
    async with serving(WebFile(folder.write(MTLS), Clock())) as url:
        assert (await get(url, client(folder, "own"))).status == 200
        for other in ("", "stranger"):
            with pytest.raises(REFUSED):
                await get(url, client(folder, other))


async def test_a_certificate_only_if_given(folder: Folder) -> None:
    folder.issue("own", "prometheus.example")
    folder.issue("stranger", "prometheus.example", ca=trustme.CA())
    text = MTLS.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    async with serving(WebFile(folder.write(text), Clock())) as url:
        for allowed in ("own", ""):
            assert (await get(url, client(folder, allowed))).status == 200
        with pytest.raises(REFUSED):
            await get(url, client(folder, "stranger"))


async def test_only_allowed_names_may_ask(folder: Folder) -> None:
    folder.issue("own", "prometheus.example")
    folder.issue("other", "grafana.example")
    text = MTLS + "  client_allowed_sans: [prometheus.example]\n"
    async with serving(WebFile(folder.write(text), Clock())) as url:
        assert (await get(url, client(folder, "own"))).status == 200
        for path in ("/metrics", "/-/healthy"):
            reply = await get(url, client(folder, "other"), path=path)
            assert reply.status == 403
            assert reply.headers["Connection"] == "close"


async def test_a_renewed_certificate_is_shown_to_the_next_connection(folder: Folder) -> None:
    file = WebFile(folder.write(TLS), Clock())
    async with serving(file) as url:
        first = await serial(url, client(folder))
        folder.issue("server")
        second = await serial(url, client(folder))
        assert first != second
        # Half a renewal: the certificate is new, its key not yet. The last good pair stays.
        key = (folder.path / "server.key").read_bytes()
        folder.issue("server")
        new_key = (folder.path / "server.key").read_bytes()
        (folder.path / "server.key").write_bytes(key)
        assert await serial(url, client(folder)) == second
        assert "the key of another certificate" in file.fault
        (folder.path / "server.key").write_bytes(new_key)
        assert await serial(url, client(folder)) not in (first, second)
        assert file.fault == ""


async def test_a_new_list_of_authorities_counts_for_the_next_connection(folder: Folder) -> None:
    other = trustme.CA()
    folder.issue("own", "prometheus.example", ca=other)
    async with serving(WebFile(folder.write(MTLS), Clock())) as url:
        with pytest.raises(REFUSED):
            await get(url, client(folder, "own"))
        other.cert_pem.write_to_path(folder.path / "ca.crt")
        assert (await get(url, client(folder, "own"))).status == 200


async def test_a_tightened_file_counts_for_connections_that_stand(folder: Folder) -> None:
    file = WebFile(folder.write(TLS), Clock())
    connector = aiohttp.TCPConnector(ssl=client(folder))
    async with serving(file) as url, aiohttp.ClientSession(connector=connector) as session:
        async with session.get(url + "/metrics") as response:
            assert response.status == 200
        folder.write(MTLS)
        async with session.get(url + "/metrics") as response:
            assert response.status == 403


async def test_a_changed_file_counts_once_it_rests(folder: Folder) -> None:
    now = [time.time()]
    file = WebFile(folder.write(USERS), lambda: now[0])
    path = folder.write("http_server_config: {http2: false}\n")
    now[0] = path.stat().st_ctime + 0.5
    assert file.current().basic_auth_users
    now[0] = path.stat().st_ctime + 1.5
    assert not file.current().basic_auth_users


async def test_a_broken_file_changes_nothing_and_says_so(folder: Folder) -> None:
    file = WebFile(folder.write(TLS + USERS), Clock())
    async with serving(file) as url:
        for broken, words in (("", "an empty file"), ("basic_auth_users: {", "valid YAML"),
                              (USERS, "a restart for such a change")):  # fmt: skip
            folder.write(broken)
            assert (await get(url, client(folder))).status == 401
            assert words in file.fault
            with pytest.raises(ConfigError, match=words):
                file.reload()
        before = await serial(url, client(folder))
        folder.issue("server")
        assert await serial(url, client(folder)) != before  # in spite of the broken file
        folder.write(TLS)
        assert (await get(url, client(folder))).status == 200
        assert file.fault == ""


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )


def swapped(folder: Path) -> None:
    cert, key = folder / "server.crt", folder / "server.key"
    key.write_bytes(cert.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "key", "found"),
    [
        (lambda f: (f / "server.crt").unlink(), "cert_file", "No such file"),
        (lambda f: (f / "server.key").unlink(), "key_file", "No such file"),
        (lambda f: (f / "server.crt").write_text("x"), "cert_file", "no certificate"),
        (lambda f: (f / "server.crt").write_text("-----BEGIN CERTIFICATE-----\nx\n"), "cert_file",
         "a text that is no certificate"),
        (swapped, "key_file", "no usable key"),
        (lambda f: (f / "server.key").write_bytes(encrypted((f / "server.key").read_bytes())),
         "key_file", "no usable key"),
        (lambda f: (f / "ca.crt").write_text(""), "client_ca_file", "no usable certificate"),
        (lambda f: (f / "ca.crt").unlink(), "client_ca_file", "No such file"),
    ],
)  # fmt: skip
def test_unusable_certificates_are_told_with_their_place(
    folder: Folder, spoil: Callable[[Path], object], key: str, found: str
) -> None:
    spoil(folder.path)
    with pytest.raises(ConfigError) as caught:
        WebFile(folder.write(MTLS))
    (fault,) = caught.value.faults
    assert (fault.key, fault.found[: len(found)]) == (f"tls_server_config.{key}", found)
    assert MTLS.splitlines()[fault.line - 1].strip().startswith(f"{key}:")
