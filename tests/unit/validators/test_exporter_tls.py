"""The evidence by HTTPS: certificates are verified, shown where asked for, and named when wrong."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceUnavailable
from phasegate.servers.home import ServerTls
from phasegate.validators.sources import Request, exporter
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import CONFIG, NOW, make_evidence, make_settings
from tests.fixtures.pipeline import Pipeline

URL = "http://127.0.0.1:9"


@pytest.fixture
def server(server_tls: ServerTls) -> Iterator[Answering]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_tls.cert, server_tls.key)
    with answering(Answering(msgspec.json.encode(make_evidence()), tls=context)) as answer:
        yield answer


@pytest.fixture
def strict(server_tls: ServerTls) -> Iterator[Answering]:
    """One that wants to see a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_tls.cert, server_tls.key)
    context.load_verify_locations(server_tls.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with answering(Answering(msgspec.json.encode(make_evidence()), tls=context)) as answer:
        yield answer


def fill(folder: Path, url: str, **files: Path | None) -> Dossier:
    access = "".join(f', {key}: "{path}"' for key, path in files.items())
    settings = make_settings(folder, CONFIG.replace(f'url: "{URL}"', f'url: "{url}"{access}'))
    return exporter.fill(Dossier(NOW), Request(settings, ("health",), 0.0, "exporter"))


def client(authority: trustme.CA, folder: Path) -> dict[str, Path]:
    """A certificate of that authority, and its key."""
    issued, cert, key = authority.issue_cert("judge"), folder / "c.crt", folder / "c.key"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    return {"cert": cert, "key": key}


def test_a_server_of_the_configured_authority_is_believed(
    server: Answering, server_tls: ServerTls, tmp_path: Path
) -> None:
    assert fill(tmp_path, server.url, ca=server_tls.ca).evidence == make_evidence()
    by_name = server.url.replace("127.0.0.1", "localhost")
    assert fill(tmp_path, by_name, ca=server_tls.ca).evidence == make_evidence()


def test_a_server_that_nobody_vouches_for_is_not(server: Answering, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"cannot be reached.*certificate"):
        fill(tmp_path, server.url)
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(SourceUnavailable, match=r"cannot be reached.*certificate"):
        fill(tmp_path, server.url, ca=other)
    assert server.asked == []


def test_a_certificate_of_another_name_is_not_believed(
    authority: trustme.CA, server_tls: ServerTls, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("exporter.example").configure_cert(context)
    with (
        answering(Answering(tls=context)) as elsewhere,
        pytest.raises(SourceUnavailable, match=r"not valid for '127\.0\.0\.1'"),
    ):
        fill(tmp_path, elsewhere.url, ca=server_tls.ca)


def test_a_server_that_asks_for_a_certificate_gets_ours(
    strict: Answering, server_tls: ServerTls, authority: trustme.CA, tmp_path: Path
) -> None:
    ours = client(authority, tmp_path)
    assert fill(tmp_path, strict.url, ca=server_tls.ca, **ours).evidence == make_evidence()
    foreign = client(trustme.CA(), tmp_path)
    for files in ({}, foreign):
        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            fill(tmp_path, strict.url, ca=server_tls.ca, **files)


def test_files_that_are_no_certificates_are_named(
    server: Answering, server_tls: ServerTls, authority: trustme.CA, tmp_path: Path
) -> None:
    ours, text = client(authority, tmp_path), tmp_path / "text"
    text.write_text("no PEM")
    another = client(authority, tmp_path)["key"].rename(tmp_path / "another.key")
    for files in (
        {"ca": text},
        {"ca": tmp_path / "none"},
        {"ca": server_tls.ca, "cert": text, "key": text},
        {"ca": server_tls.ca, "cert": ours["cert"], "key": another.with_name("none")},
        {"ca": server_tls.ca, "cert": server_tls.cert, "key": another},
    ):
        with pytest.raises(SourceUnavailable, match="ca, cert or key cannot be used"):
            fill(tmp_path, server.url, **files)
    assert server.asked == []


def test_http_to_https_and_https_to_http_are_4(
    server: Answering, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(tmp_path, server, capsys)
    pipeline.configure(url=server.url.replace("https", "http"))
    assert pipeline.call()[0] == 4
    with answering(Answering()) as plain:
        pipeline.configure(url=plain.url.replace("http", "https"))
        code, out, err = pipeline.call()
    assert (code, "cannot be reached" in out, "Traceback" in out + err) == (4, True, False)
