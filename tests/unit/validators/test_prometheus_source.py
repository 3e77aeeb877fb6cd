"""A Prometheus-compatible API over HTTP: what cannot be read is an error, what must not decide is
not believed, and what is busy is asked again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.model import Verdict
from phasegate.contract.settings import Settings
from phasegate.servers.ports import free_port
from phasegate.validators import prometheus_api as api
from phasegate.validators.gate import assess
from phasegate.validators.http_get import Answer, fetch
from phasegate.validators.sources import Request, gather
from phasegate.validators.sources import prometheus as source
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import CONFIG, make_settings

UP = {"__name__": "phasegate_up", "job": "phasegate", "instance": "a", "target": "database"}


def body(*series: dict[str, object], kind: str = "matrix", **more: object) -> bytes:
    """What the API answers."""
    data = {"resultType": kind, "result": series}
    return msgspec.json.encode({"status": "success", "data": data, **more})


def rows(now: float) -> bytes:
    return body({"metric": UP, "values": [[now - 1, "1"]]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    monkeypatch.setattr(api, "PAUSES_SECONDS", (0.01, 0.01))
    with answering(Answering(body=rows(time.time()))) as answer:
        yield answer


def asking(folder: Path, url: str, more: str = "") -> Settings:
    return make_settings(folder, f'{CONFIG}prometheus: {{url: "{url}"{more}}}\n')


def fill(settings: Settings, now: float | None = None) -> Dossier:
    judged = time.time() if now is None else now
    request = Request(settings, ("health",), judged - 600, "prometheus")
    return source.fill(Dossier(judged, measurer="prometheus"), request)


def verdict(settings: Settings) -> tuple[Verdict, int, str]:
    """Of `health`, as `validate` gives it."""
    request = Request(settings, ("health",), time.time() - 600, "prometheus")
    report = assess(("health",), gather(request, time.time), settings, Options())
    return report.verdict, report.exit_code, report.judgements[0].reason


def test_raw_samples_are_asked_at_one_time_and_of_the_one_exporter(
    server: Answering, tmp_path: Path
) -> None:
    fill(asking(tmp_path, f"{server.url}/below/"), now := time.time())
    asked = [parse_qs(urlsplit(path).query) for path, _ in server.asked]
    assert {urlsplit(path).path for path, _ in server.asked} == {"/below/api/v1/query"}
    assert {one["time"][0] for one in asked} == {f"{now:.3f}"}
    assert {one["partial_response"][0] for one in asked} == {"false"}
    assert asked[0]["query"] == ['{__name__=~"phasegate_up"}[600000ms]']
    assert '{instance="a",job="phasegate",__name__=~"' in asked[1]["query"][0]
    for one in asked:
        assert one["query"][0].endswith("ms]")
        assert not {"rate", "increase"} & set(one["query"][0].split("("))


def test_the_exporter_is_chosen_by_its_labels(server: Answering, tmp_path: Path) -> None:
    fill(asking(tmp_path, server.url, ', match: {job: "a\\"b"}'))
    asked = parse_qs(urlsplit(server.asked[0][0]).query)
    assert asked["query"][0].startswith('{job="a\\"b",__name__=~')


def test_credentials_and_tenants_are_sent_and_never_told(server: Answering, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("canary-bearer\n")
    tenant = ", headers: {X-Scope-OrgID: canary-tenant}"
    fill(asking(tmp_path, server.url, f", bearer_file: {token}{tenant}"))
    fill(asking(tmp_path, server.url, ", basic_auth: {username: u, password: canary-basic}"))
    first, last = server.asked[0][1], server.asked[-1][1]
    assert (first["Authorization"], first["X-Scope-OrgID"]) == (
        *("Bearer canary-bearer", "canary-tenant"),
    )
    assert last["Authorization"] == "Basic dTpjYW5hcnktYmFzaWM="
    server.status, server.headers = 401, {"Content-Type": "text/plain"}
    with pytest.raises(SourceError, match="refuses these credentials") as refused:
        fill(asking(tmp_path, server.url, f", bearer_file: {token}{tenant}"))
    assert "canary" not in str(refused.value)


HTML: dict[str, Any] = {"body": b"<html>", "headers": {"Content-Type": "text/html"}}
ERROR = b'{"status": "error", "errorType": "execution", "error": "too many samples"}'
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "5xx": ({"status": 500, "body": b""}, "status 500"),
    "5xx with html": ({"status": 503, **HTML}, "status 503"),
    "not found": ({"status": 404, **HTML}, "is prometheus.url its base"),
    "redirect": ({"status": 302, "headers": {"Location": "/login"}}, "status 302"),
    "html instead of json": (HTML, "text/html"),
    "html that says json": ({"body": b"<html>"}, "not of its API"),
    "truncated json": ({"body": rows(1.0)[:-9]}, "not of its API"),
    "cut": ({"declared": 10_000}, "middle"),
    "nothing": ({"body": b""}, "not of its API"),
    "an empty object": ({"body": b"{}"}, "not of its API"),
    "no data": ({"body": b'{"status": "success"}'}, "no success, no data"),
    "an error with 200": ({"body": ERROR}, "too many samples"),
    "an error with 422": ({"status": 422, "body": ERROR}, "too many samples"),
    "an error with 503": ({"status": 503, "body": ERROR}, "too many samples"),
    "a vector": ({"body": body(kind="vector")}, "answered a vector"),
    "a value that is none": (
        {"body": body({"metric": UP, "values": [[1.0, "many"]]})},
        "not of its API",
    ),
    "a value that is no text": ({"body": body({"metric": UP, "values": [[1.0, 1]]})}, "not of"),
    "deep": ({"body": b"[" * 100_000}, "not of its API"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_an_error(name: str, server: Answering, tmp_path: Path) -> None:
    spoiled, said = UNREADABLE[name]
    for key, value in spoiled.items():
        setattr(server, key, value)
    found = verdict(asking(tmp_path, server.url))
    assert found[:2] == (Verdict.ERROR, 4)
    assert said in found[2]
    assert "__name__" not in found[2]


DOUBTED = {
    "an empty result": (body(), "nothing was measured"),
    "only NaN": (body({"metric": UP, "values": [[1.0, "NaN"]]}), "nothing was measured"),
    "warnings": (body(warnings=["PromQL: a store is away"]), "a store is away"),
    "a partial answer": (body(isPartial=True), "partial"),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_what_must_not_decide_is_inconclusive(name: str, server: Answering, tmp_path: Path) -> None:
    server.body, said = DOUBTED[name]
    found = verdict(asking(tmp_path, server.url))
    assert found[:2] == (Verdict.INCONCLUSIVE, 3)
    assert said in found[2]


def ask(settings: Settings) -> list[api.Row]:
    assert settings.prometheus is not None
    return api.Api(settings.prometheus, time.time()).ask("x[1m]")


def test_infos_and_no_warnings_are_harmless(server: Answering, tmp_path: Path) -> None:
    server.body = body({"metric": UP, "values": [[2.5, "1e3"], [1, "+Inf"]]}, infos=["info: …"])
    expected = [api.Row(UP, [(1.0, math.inf), (2.5, 1000.0)])]
    assert ask(asking(tmp_path, server.url)) == expected
    server.headers = {"Content-Type": "application/stream+json; charset=utf-8"}
    assert ask(asking(tmp_path, server.url)) == expected
    server.body = body({"metric": UP, "histograms": [[1.0, {"count": "1"}]]}, warnings=None)
    assert ask(asking(tmp_path, server.url)) == [api.Row(UP, [], native=True)]


@pytest.mark.parametrize("apart", [-60, 60])
def test_clocks_that_are_apart_are_not_believed(
    apart: float, server: Answering, tmp_path: Path
) -> None:
    found = fill(asking(tmp_path, server.url), time.time() + apart)
    assert found.evidence is None
    assert "s apart" in found.doubts[""]


def test_without_a_time_clocks_cannot_be_compared(
    server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undated(*arguments: Any, **more: Any) -> Answer:
        return fetch(*arguments, **more)._replace(headers={})

    monkeypatch.setattr(api, "fetch", undated)
    assert "clocks cannot be compared" in fill(asking(tmp_path, server.url)).doubts[""]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_is_busy_is_asked_again_and_not_for_ever(
    status: int, server: Answering, tmp_path: Path
) -> None:
    server.status = status
    with pytest.raises(SourceError, match=f"status {status}"):
        fill(asking(tmp_path, server.url))
    assert len(server.asked) == 1 + len(api.PAUSES_SECONDS)


def test_the_whole_ends_in_time(
    server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "WITHIN_SECONDS", 0.3)
    server.hang = True
    began = time.monotonic()
    with pytest.raises(SourceTimeout, match="no whole answer") as late:
        fill(asking(tmp_path, server.url))
    assert time.monotonic() - began < 3
    assert "__name__" not in str(late.value)


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    settings = asking(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SourceUnavailable, match="refused"):
        fill(settings)
    assert verdict(settings)[1] == 4


def test_without_a_url_the_key_is_named(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    request = Request(settings, ("health",), 0.0, "prometheus")
    report = assess(("health",), gather(request, time.time), settings, Options())
    assert report.exit_code == 3
    assert report.judgements[0].remedy == "configure prometheus.url"


def test_another_source_asks_nobody_here(server: Answering, tmp_path: Path) -> None:
    settings = asking(tmp_path, server.url)
    request = Request(settings, ("health",), 0.0, "exporter")
    assert source.fill(Dossier(time.time()), request).evidence is None
    assert not server.asked
