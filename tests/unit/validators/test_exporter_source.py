"""The evidence over HTTP: every kind of bad answer has its sentence, and none is evidence."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from phasegate.contract.dossier import Dossier, Trouble
from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.settings import Settings
from phasegate.contract.settings_http import HttpAccess
from phasegate.servers.ports import free_port
from phasegate.validators.http_get import fetch
from phasegate.validators.sources import Request, gather
from phasegate.validators.sources import exporter as source
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import CONFIG, NOW, make_evidence, make_settings

EVIDENCE = msgspec.json.encode(make_evidence())
URL = "http://127.0.0.1:9"


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering(Answering(body=EVIDENCE)) as answer:
        yield answer


def asking(folder: Path, url: str, access: str = "") -> Settings:
    text = CONFIG.replace(f'url: "{URL}"', f'url: "{url}"{access}')
    return make_settings(folder, text)


def fill(settings: Settings, since: float = NOW - 600.25) -> Dossier:
    return source.fill(Dossier(NOW), Request(settings, ("health",), since, "exporter"))


def test_the_whole_answer_since_the_time_asked_for(server: Answering, tmp_path: Path) -> None:
    assert fill(asking(tmp_path, server.url)).evidence == make_evidence()
    [(path, headers)] = server.asked
    assert path == "/api/v1/evidence?since=1799999399.750000"
    assert headers["Accept-Encoding"] == "gzip"
    assert "Authorization" not in headers


def test_a_packed_answer_and_a_base_with_a_path(server: Answering, tmp_path: Path) -> None:
    server.body = gzip.compress(EVIDENCE)
    server.headers["Content-Encoding"] = "gzip"
    assert fill(asking(tmp_path, f"{server.url}/below/")).evidence == make_evidence()
    assert server.asked[0][0].startswith("/below/api/v1/evidence?")


def test_credentials_are_sent_and_never_told(server: Answering, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("canary-bearer\n")
    fill(asking(tmp_path, server.url, f", bearer_file: {token}"))
    fill(asking(tmp_path, server.url, ", basic_auth: {username: u, password: canary-basic}"))
    sent = [headers["Authorization"] for _, headers in server.asked]
    assert sent == ["Bearer canary-bearer", "Basic dTpjYW5hcnktYmFzaWM="]
    server.status = 401
    with pytest.raises(SourceError, match="status 401: it refuses these credentials") as refused:
        fill(asking(tmp_path, server.url, f", bearer_file: {token}"))
    assert "canary" not in str(refused.value)


BAD = [
    pytest.param({"status": 500}, "status 500", id="5xx"),
    pytest.param({"status": 404}, "is it an exporter", id="404"),
    pytest.param({"status": 302, "headers": {"Location": "/"}}, "status 302", id="redirect"),
    pytest.param({"status": 204, "body": b""}, "status 204", id="empty"),
    pytest.param(
        {"body": b"<html>", "headers": {"Content-Type": "text/html"}}, "text/html", id="html"
    ),
    pytest.param({"body": b"<html>"}, "no evidence", id="html that says json"),
    pytest.param({"body": b""}, "no evidence", id="nothing"),
    pytest.param({"body": b"{}"}, "no evidence", id="empty object"),
    pytest.param({"body": b"[]"}, "no evidence", id="a list"),
    pytest.param({"body": EVIDENCE[:-20]}, "no evidence", id="truncated json"),
    pytest.param({"body": EVIDENCE, "declared": len(EVIDENCE) + 9}, "middle", id="cut"),
    pytest.param(
        {
            "body": gzip.compress(EVIDENCE)[:-30],
            "headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        },
        "middle",
        id="cut gzip",
    ),
    pytest.param(
        {"headers": {"Content-Type": "application/json", "Content-Encoding": "br"}},
        "encoding 'br'",
        id="another encoding",
    ),
    pytest.param({"body": b'{"version": 2}'}, "version 2", id="a later version"),
    pytest.param({"body": b'{"version": "1"}'}, "no evidence", id="a version of text"),
    pytest.param(
        {"body": EVIDENCE.replace(b'"value":0.0', b'"value":NaN', 1)}, "no evidence", id="nan"
    ),
    pytest.param(
        {"body": EVIDENCE.replace(b'"value":0.0', b'"value":1e999', 1)}, "no evidence", id="inf"
    ),
    pytest.param(
        {"body": EVIDENCE.replace(b'"total":50', b'"total":"50"', 1)}, "no evidence", id="text"
    ),
    pytest.param({"body": b"[" * 100_000}, "no evidence", id="deep"),
]


@pytest.mark.parametrize(("spoiled", "said"), BAD)
def test_what_is_no_evidence_is_named(
    spoiled: dict[str, object], said: str, server: Answering, tmp_path: Path
) -> None:
    for name, value in spoiled.items():
        setattr(server, name, value)
    with pytest.raises(SourceError, match=said) as error:
        fill(asking(tmp_path, server.url))
    assert not isinstance(error.value, SourceUnavailable | SourceTimeout)


def test_a_flood_is_cut(server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_BYTES", 100_000)
    server.body = gzip.compress(b" " * 10_000_000)
    server.headers["Content-Encoding"] = "gzip"
    with pytest.raises(SourceError, match="more than 100,000 bytes"):
        fill(asking(tmp_path, server.url))


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_no_answer_ends_in_time(
    way: str, server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "WITHIN_SECONDS", 0.3)
    setattr(server, way, True)
    server.headers["Connection"] = "close"  # then the client lets go of its socket early
    began = time.monotonic()
    with pytest.raises(SourceTimeout, match=r"no whole answer within 0\.3 s"):
        fill(asking(tmp_path, server.url))
    assert time.monotonic() - began < 3


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    settings = asking(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SourceUnavailable, match="refused"):
        fill(settings)
    dossier = gather(Request(settings, ("health",), 0.0, "exporter"), lambda: NOW)
    [problem] = dossier.problems
    assert (problem.source, problem.trouble) == ("exporter", Trouble.UNREACHABLE)
    assert dossier.evidence is None


def test_a_missing_token_is_told_by_its_file(tmp_path: Path) -> None:
    settings = asking(tmp_path, URL, f", bearer_file: {tmp_path / 'none'}")
    with pytest.raises(SourceUnavailable, match=r"bearer_file .*none: No such file"):
        fill(settings)


def test_without_a_url_nobody_is_asked(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, CONFIG.replace(f'exporter: {{url: "{URL}"}}\n', ""))
    request = Request(settings, ("health",), 0.0, "exporter")
    assert gather(request, lambda: NOW).evidence is None
    assert gather(request, lambda: NOW).problems == ()


def test_the_judge_knows_the_addresses_of_its_own_configuration(
    server: Answering, tmp_path: Path
) -> None:
    settings = asking(tmp_path, server.url)
    dossier = gather(Request(settings, ("health",), 0.0, "exporter"), lambda: NOW)
    assert dossier.identities == {"cache": "redis://127.0.0.1:6390/0/0/0"}
    assert replace(dossier, identities={}) == Dossier(NOW, make_evidence())


def test_what_is_posted_with_headers_of_its_own_and_answered_with_some(server: Answering) -> None:
    server.headers |= {"Link": "<x>; rel=next"}
    url = f"{server.url}/a?b=c"
    limits: dict[str, Any] = {"within_seconds": 5.0, "limit": 10_000_000}
    found = fetch(url, HttpAccess(), "s", headers={"X-Team": "é"}, body=b"{}", **limits)
    assert (found.headers["link"], server.posted) == ("<x>; rel=next", [b"{}"])
    assert server.asked[0][1]["X-Team"].encode("latin-1").decode() == "é"
    fetch(url, HttpAccess(), "s", method="POST", **limits)
    assert server.posted == [b"{}", b""]
    with pytest.raises(SourceError, match="header X-Team does not hold one line") as refused:
        fetch(url, HttpAccess(), "s", headers={"X-Team": "canary\r\nX: y"}, **limits)
    assert "canary" not in str(refused.value)
    nowhere = f"http://127.0.0.1:{free_port()}/a?token_of_mine=canary"
    with pytest.raises(SourceUnavailable, match="/a cannot be reached") as unreached:
        fetch(nowhere, HttpAccess(), "s", **limits)
    assert "canary" not in str(unreached.value)
