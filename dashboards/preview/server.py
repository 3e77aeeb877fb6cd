"""The server of the preview: one page, the boards' JSON, and a few read-only queries.

What can be asked of the Prometheus is an allow-list, of paths and of parameters: this server holds
the credentials that a browser does not have. It answers only to names of this machine, so that a
page of another origin cannot reach it by a name that it points here.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any
from urllib.parse import quote

from aiohttp import web

from phasegate.contract.listening import is_loopback
from phasegate.contract.settings import Prometheus
from phasegate.dashboards.preview.upstream import WITHIN_SECONDS, Unanswered, Upstream

Board = Mapping[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PAGE = resources.files("phasegate.dashboards.preview") / "page"
BY_FORM: Mapping[str, frozenset[str]] = {
    "query": frozenset({"query", "time"}),
    "query_range": frozenset({"query", "start", "end", "step"}),
    "series": frozenset({"match[]", "start", "end"}),
}
"""What is asked by GET or POST, with the parameters that are passed on."""
OF_VALUES = frozenset({"match[]", "start", "end"})
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
MOST_OF_A_QUERY = 2**20
HEADERS = {
    # All that the page loads is its own; what a board or a label says can load nothing.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
UPSTREAM = web.AppKey("upstream", Upstream)


def make_app(
    boards: Mapping[str, Board],
    prometheus_url: str = "",
    access: Prometheus | None = None,
    *,
    within_seconds: float = WITHIN_SECONDS,
) -> web.Application:
    """The preview of `boards` (uid -> classic JSON, in the order in which they are listed).

    Asks the Prometheus of `access`, or the one at `prometheus_url` without credentials. Needs no
    Prometheus to start: a panel shows what its query met.
    """
    application = web.Application(middlewares=[_guard], client_max_size=MOST_OF_A_QUERY)
    application[UPSTREAM] = Upstream(access or Prometheus(url=prometheus_url), within_seconds)
    application.on_cleanup.append(_close)
    _add_boards(application, boards)
    application.router.add_get("/page/{name}", _serve_file)
    for path, allowed in BY_FORM.items():
        asking = _asking(path, allowed)
        application.router.add_get(f"/api/v1/{path}", asking)
        application.router.add_post(f"/api/v1/{path}", asking)
    application.router.add_get("/api/v1/label/{name}/values", _ask_values)
    application.router.add_get("/api/v1/alerts", _ask_alerts)
    return application


def _add_boards(application: web.Application, boards: Mapping[str, Board]) -> None:
    async def first(request: web.Request) -> web.StreamResponse:
        if not boards:
            return _refuse(404, "no_boards", "there is no board to show")
        asked = f"?{request.query_string}" if request.query_string else ""
        raise web.HTTPFound(f"/d/{quote(next(iter(boards)), safe='')}{asked}")

    async def page(request: web.Request) -> web.StreamResponse:
        return _file("index.html", 200 if request.match_info["uid"] in boards else 404)

    async def listed(_: web.Request) -> web.StreamResponse:
        return web.json_response(
            [
                {"uid": uid, "title": str(one.get("title", uid)), "tags": one.get("tags") or []}
                for uid, one in boards.items()
            ]
        )

    async def board(request: web.Request) -> web.StreamResponse:
        uid = request.match_info["uid"]
        if uid not in boards:
            return _refuse(404, "no_board", f"there is no board {uid!r}; there are: "
                           + ", ".join(boards))  # fmt: skip
        return web.json_response(boards[uid])

    application.router.add_get("/", first)
    application.router.add_get("/d/{uid}", page)
    application.router.add_get("/d/{uid}/{slug}", page)
    application.router.add_get("/api/boards", listed)
    application.router.add_get("/api/boards/{uid}", board)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        host = request.url.host
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        answer: web.StreamResponse = _refuse(
            403, "not_loopback", "this preview answers only to 127.0.0.1, [::1] and localhost"
        )
    else:
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            answer = _refuse(error.status, "not_served", f"{request.method} {request.path}: "
                             f"{error.reason}")  # fmt: skip
    answer.headers.update(HEADERS)
    return answer


def _asking(path: str, allowed: frozenset[str]) -> Handler:
    async def ask(request: web.Request) -> web.StreamResponse:
        form = await request.post() if request.method == "POST" else request.query
        pairs = [(name, value) for name, value in form.items() if isinstance(value, str)]
        return await _pass_on(request, path, pairs, allowed, by_form=True)

    return ask


async def _ask_values(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if not LABEL.fullmatch(name):
        return _refuse(400, "bad_label", f"{name!r} is not the name of a label")
    pairs = list(request.query.items())
    return await _pass_on(request, f"label/{name}/values", pairs, OF_VALUES, by_form=False)


async def _ask_alerts(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "alerts", (), frozenset(), by_form=False)


async def _pass_on(
    request: web.Request,
    path: str,
    pairs: Sequence[tuple[str, str]],
    allowed: frozenset[str],
    *,
    by_form: bool,
) -> web.StreamResponse:
    passed = [(name, value) for name, value in pairs if name in allowed]
    try:
        answer = await request.app[UPSTREAM].ask(path, passed, by_form=by_form)
    except Unanswered as error:
        return _refuse(504 if error.kind == "timeout" else 502, error.kind, str(error))
    # Its own failure is not ours.
    status = 502 if answer.status == 500 else answer.status
    return web.Response(status=status, body=answer.body, content_type="application/json")


def _refuse(status: int, kind: str, text: str) -> web.Response:
    """In the words of the API, so that the page reads one kind of error."""
    body = json.dumps({"status": "error", "errorType": kind, "error": text})
    return web.Response(status=status, text=body, content_type="application/json")


async def _serve_file(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if name not in {one.name for one in PAGE.iterdir()}:
        return _refuse(404, "no_file", f"the page has no file {name!r}")
    return _file(name)


def _file(name: str, status: int = 200) -> web.Response:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return web.Response(
        status=status, body=(PAGE / name).read_bytes(), content_type=kind, charset="utf-8"
    )


async def _close(application: web.Application) -> None:
    await application[UPSTREAM].close()
