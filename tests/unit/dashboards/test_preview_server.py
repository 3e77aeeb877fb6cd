"""The server of the preview: what it passes on to a Prometheus, and what it says when that fails.

The Prometheus is a fake here, since a real one does not misbehave on request.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Prometheus
from phasegate.contract.settings_http import BasicAuth
from phasegate.dashboards.preview import upstream
from phasegate.dashboards.preview.server import PAGE, make_app
from phasegate.servers.ports import free_port
from tests.fixtures.answers import Answering, answering

BOARDS = {
    "one": {"uid": "one", "title": "One", "tags": ["a"], "panels": []},
    "two": {"uid": "two", "panels": []},
}
SECRET = "hunter2-hunter2"
Client = TestClient[web.Request, web.Application]


class Fake:
    """A Prometheus that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.headers: dict[str, str] = {}
        self.answer: Callable[[], web.Response] = lambda: web.json_response(
            {"status": "success", "data": {"resultType": "vector", "result": []}}
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = await request.post() if request.method == "POST" else request.query
        pairs = [(name, str(value)) for name, value in form.items()]
        self.asked.append((request.method, request.path, pairs))
        self.headers = dict(request.headers)
        return self.answer()


@asynccontextmanager
async def previewing(
    fake: Fake, within_seconds: float = 5.0, path: str = "", **access: Any
) -> AsyncIterator[Client]:
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", fake.handle)
    async with TestServer(application) as server:
        settings = Prometheus(url=f"{server.make_url('/')}{path}", **access)
        app = make_app(BOARDS, access=settings, within_seconds=within_seconds)
        async with TestClient(TestServer(app)) as client:
            yield client


ALLOWED = [
    ("query", {"query": "up", "time": "1"}),
    ("query_range", {"query": "up", "start": "1", "end": "2", "step": "1"}),
    ("series", {"match[]": "up", "start": "1", "end": "2"}),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("path", "asked"), ALLOWED)
async def test_a_query_goes_through_with_its_own_parameters_alone(
    path: str, asked: dict[str, str], method: str
) -> None:
    fake = Fake()
    given = {**asked, "stats": "all", "extra_label": "tenant=other"}
    async with previewing(fake) as client:
        if method == "GET":
            answer = await client.get(f"/api/v1/{path}", params=given)
        else:
            answer = await client.post(f"/api/v1/{path}", data=given)
        assert answer.status == 200
        assert (await answer.json())["status"] == "success"
    assert fake.asked == [("POST", f"/api/v1/{path}", list(asked.items()))]


async def test_values_of_a_label_and_alerts_go_through() -> None:
    fake = Fake()
    async with previewing(fake, path="below/a/path/") as client:
        asked = [("match[]", "up"), ("match[]", "down"), ("limit", "1")]
        assert (await client.get("/api/v1/label/job/values", params=asked)).status == 200
        assert (await client.get("/api/v1/alerts", params={"any": "1"})).status == 200
    assert fake.asked == [
        ("GET", "/below/a/path/api/v1/label/job/values", asked[:2]),
        ("GET", "/below/a/path/api/v1/alerts", []),
    ]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v1/admin/tsdb/delete_series?match[]=up", 404),
        ("PUT", "/api/v1/query?query=up", 405),
        ("POST", "/api/v1/alerts", 405),
        ("GET", "/api/v1/status/config", 404),
        ("GET", "/api/v1/targets", 404),
        ("GET", "/api/v1/rules", 404),
        ("GET", "/api/v1/labels", 404),
        ("GET", "/api/v1/label/job%2F..%2F..%2Fstatus%2Fconfig%3F/values", 400),
        ("GET", "/api/v1/../v1/status/config", 404),
        ("POST", "/-/reload", 404),
        ("GET", "/metrics", 404),
    ],
)
async def test_nothing_else_goes_through(method: str, path: str, status: int) -> None:
    fake = Fake()
    async with previewing(fake) as client:
        answer = await client.request(method, path)
        assert answer.status == status
        found = await answer.json()
    assert found["status"] == "error"
    assert found["error"]
    assert fake.asked == []


def broken(body: bytes = b"<html>", status: int = 200, **more: Any) -> Callable[[], web.Response]:
    return lambda: web.Response(body=body, status=status, content_type="text/html", **more)


REFUSAL = b'{"status": "error", "errorType": "bad_data", "error": "1:5: parse error"}'


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (broken(REFUSAL, 400), 400, "1:5: parse error"),
        (broken(REFUSAL, 422), 422, "1:5: parse error"),
        (broken(REFUSAL, 500), 502, "1:5: parse error"),
        (broken(status=500), 502, "status 500"),
        (broken(status=200), 502, "expected JSON of the Prometheus API"),
        (broken(b"[]"), 502, "expected JSON of the Prometheus API"),
        (broken(status=401), 502, "configure prometheus.basic_auth"),
        (broken(status=403), 502, "it refuses these credentials"),
        (broken(status=404), 502, "is this the base of a Prometheus?"),
        (broken(status=302, headers={"Location": "/login"}), 502, "status 302"),
    ],
)
async def test_what_fails_is_told_and_is_never_a_failure_of_ours(
    answer: Callable[[], web.Response], status: int, told: str
) -> None:
    fake = Fake()
    fake.answer = answer
    async with previewing(fake) as client:
        found = await client.get("/api/v1/query", params={"query": "sum("})
        assert found.status == status
        body = await found.json()
    assert body["status"] == "error"
    assert told in body["error"]
    assert len(fake.asked) == 1


async def test_a_prometheus_that_is_gone_slow_or_cut_off_is_told() -> None:
    port = free_port()
    app = make_app(BOARDS, f"http://127.0.0.1:{port}")
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/api/v1/query", params={"query": "up"})
        assert answer.status == 502
        told = (await answer.json())["error"]
        assert told == f"http://127.0.0.1:{port} could not be reached: Connection refused"

    with answering(Answering(hang=True)) as fake:
        app = make_app(BOARDS, fake.url, within_seconds=0.3)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/api/v1/query", params={"query": "up"})
            assert answer.status == 504
            assert "no whole answer within 0.3 s" in (await answer.json())["error"]
    with answering(Answering(body=b"{", declared=9)) as fake:
        async with TestClient(TestServer(make_app(BOARDS, fake.url))) as client:
            answer = await client.get("/api/v1/alerts")
            assert answer.status == 502
            assert "before the end of its answer" in (await answer.json())["error"]


async def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MOST_BYTES", 1000)
    fake = Fake()
    fake.answer = broken(b"x" * 2000)
    async with previewing(fake) as client:
        answer = await client.get("/api/v1/alerts")
        assert answer.status == 502
        assert "more than 1,000 bytes" in (await answer.json())["error"]


async def test_credentials_go_to_prometheus_and_nowhere_else(tmp_path: Path) -> None:
    fake = Fake()
    tenant = {"X-Scope-OrgID": Secret(SECRET)}
    basic = BasicAuth(username="probe", password=Secret(SECRET))
    encoded = base64.b64encode(f"probe:{SECRET}".encode()).decode()
    async with previewing(fake, basic_auth=basic, headers=tenant) as client:
        await client.get("/api/v1/alerts")
        assert fake.headers["Authorization"] == f"Basic {encoded}"
        assert fake.headers["X-Scope-OrgID"] == SECRET
        fake.answer = broken(f"{SECRET} {encoded}".encode(), 401)
        for path in ("/api/v1/alerts", "/", "/d/one", "/api/boards", "/api/boards/one"):
            answer = await client.get(path)
            text = await answer.text() + str(answer.headers)
            assert SECRET not in text
            assert encoded not in text
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n", encoding="utf-8")
    async with previewing(fake, bearer_file=token) as client:
        await client.get("/api/v1/alerts")
        assert fake.headers["Authorization"] == f"Bearer {SECRET}"
        token.unlink()
        told = (await (await client.get("/api/v1/alerts")).json())["error"]
        assert told == f"prometheus.bearer_file {token}: No such file or directory"


async def test_the_page_and_the_boards_are_served() -> None:
    async with previewing(Fake()) as client:
        answer = await client.get("/?from=now-1h", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/d/one?from=now-1h")
        for path, status in (("/d/one", 200), ("/d/one/any-slug", 200), ("/d/none", 404)):
            answer = await client.get(path)
            assert answer.status == status
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert '<main id="board">' in await answer.text()
        assert await (await client.get("/api/boards")).json() == [
            {"uid": "one", "title": "One", "tags": ["a"]},
            {"uid": "two", "title": "two", "tags": []},
        ]
        assert await (await client.get("/api/boards/one")).json() == BOARDS["one"]
        answer = await client.get("/api/boards/none")
        assert answer.status == 404
        assert "there are: one, two" in (await answer.json())["error"]
        for path in ("/page/..%2Fserver.py", "/page/server.py", "/page/"):
            assert (await client.get(path)).status == 404


async def test_the_page_is_our_own_files_and_loads_nothing_else() -> None:
    async with previewing(Fake()) as client:
        for file in PAGE.iterdir():
            answer = await client.get(f"/page/{file.name}")
            assert answer.status == 200
            kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html"}
            assert answer.content_type == kinds[file.name.rpartition(".")[2]]
            text = await answer.text()
            assert text.count("\n") < 300, file.name
            urls = [word for word in text.replace('"', " ").split() if "://" in word]
            assert set(urls) <= {"http://www.w3.org/2000/svg"}, file.name


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:9898", 200),
        ("[::1]:9898", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_only_names_of_this_machine_are_answered(host: str, status: int) -> None:
    async with previewing(Fake()) as client:
        try:
            answer = await client.get("/api/boards", headers={"Host": host})
        except aiohttp.ClientError:
            assert not host
            return
        assert answer.status == status


async def test_no_boards_is_said() -> None:
    async with TestClient(TestServer(make_app({}, "http://127.0.0.1:1"))) as client:
        answer = await client.get("/")
        assert answer.status == 404
        assert (await answer.json())["error"] == "there is no board to show"
