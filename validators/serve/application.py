"""The HTTP face of the judge. Whatever goes wrong is answered without a pass, and says so in JSON.

`/-/healthy` and `/-/ready` ask for no token and touch no source: an orchestrator has no token, and
must not restart a judge because an exporter is down.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
from aiohttp import web
from aiohttp.typedefs import Handler

from phasegate.contract.errors import ConfigError, SourceError
from phasegate.contract.model import Verdict
from phasegate.contract.settings import Settings
from phasegate.validators.call import TESTS, Call, plan_call
from phasegate.validators.serve.access import read_token, shows_token
from phasegate.validators.serve.answers import (
    GATE_STATUS,
    ROLLBACK_STATUS,
    describe,
    describe_refusal,
    describe_unbegun,
)
from phasegate.validators.serve.looks import Looks, TooManyAsk
from phasegate.validators.serve.origins import Origins
from phasegate.validators.serve.questions import (
    HOOKS,
    ROLLBACK,
    Question,
    read_hook,
    read_query,
)
from phasegate.validators.verdict import Report

log = logging.getLogger("phasegate.serve")

OPEN_PATHS = ("/-/healthy", "/-/ready")
VERDICT_PATH = "/api/v1/verdict"
MOST_BYTES = 65_536


class Judge:
    """Answers questions by `look`, which blocks; `junit` are the globs that `look` reads."""

    def __init__(
        self, settings: Settings, junit: tuple[str, ...], look: Callable[[Call], Report]
    ) -> None:
        self._settings, self._junit = settings, junit
        self._looks, self._origins = Looks(look), Origins()

    async def judge(self, question: Question) -> Report | None:
        """The report; None for a run that this question may not begin. Raises UsageError."""
        now = time.time()
        flags = question.flags
        if not flags.criteria or TESTS in flags.criteria:
            flags = flags._replace(junit=self._junit)
        if question.run:
            origin = self._origins.find(question.run, now)
            if origin is None and not question.begins:
                return None
            flags = flags._replace(since=now - question.window if origin is None else origin)
        call = plan_call(flags, self._settings, now)
        if question.run:
            assert flags.since is not None
            self._origins.keep(question.run, flags.since, now)
        report = await self._looks.report(call)
        log.info("judged run=%r criteria=%s %s", question.run, call.criteria, report.verdict)
        return report


def make_application(judge: Judge, token_file: Path | None) -> web.Application:
    """The routes, behind the token where there is a file for one."""
    application = web.Application(
        middlewares=[tell_errors, token_middleware(token_file)], client_max_size=MOST_BYTES
    )
    for path in OPEN_PATHS:
        application.router.add_get(path, _healthy)
    application.router.add_get(VERDICT_PATH, partial(_answer_verdict, judge))
    for hook in HOOKS:
        application.router.add_post(f"/flagger/{hook}", partial(_answer_hook, judge, hook))
    return application


def token_middleware(token_file: Path | None) -> Any:
    """The middleware that answers 401 to whoever does not show the token; None asks for none."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        opened = resource is not None and resource.canonical in OPEN_PATHS
        if token_file is not None and not opened:
            header = request.headers.get("Authorization", "")
            if not shows_token(header, read_token(token_file)):
                answer = _json(401, describe_refusal("unauthorized"))
                answer.headers["WWW-Authenticate"] = 'Bearer realm="phasegate"'
                return answer
        return await handler(request)

    return admit


@web.middleware
async def tell_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is raised, as an answer that passes nothing."""
    try:
        return await handler(request)
    except click.UsageError as error:
        return _json(400, describe_refusal(error.message))
    except TooManyAsk:
        return _json(503, describe_refusal("too many questions are being looked into; ask again"))
    except web.HTTPException as error:
        return _json(error.status, describe_refusal(error.reason))
    except ConfigError as error:
        # Of what only its use shows, such as an expression of a tracker.
        log.warning("the configuration cannot be used: %s", error)
        return _json(503, describe_refusal(f"the configuration cannot be used: {error}"))
    except SourceError as error:
        log.warning("%s", error)
        return _json(503, describe_refusal("the token of this service cannot be read"))
    except Exception:
        log.exception("a bug of Phasegate; please report it")
        return _json(500, describe_refusal("a bug of Phasegate; its log says more"))


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="OK\n")


async def _answer_verdict(judge: Judge, request: web.Request) -> web.Response:
    query = {name: request.query.getall(name) for name in request.query}
    report = await judge.judge(read_query(query))
    assert report is not None
    return _json(200, describe(report))


async def _answer_hook(judge: Judge, hook: str, request: web.Request) -> web.Response:
    status = ROLLBACK_STATUS if hook == ROLLBACK else GATE_STATUS
    report = await judge.judge(read_hook(hook, await request.read()))
    if report is None:
        return _json(status[Verdict.INCONCLUSIVE], describe_unbegun())
    return _json(status[report.verdict], describe(report))


def _json(status: int, body: dict[str, Any]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False) + "\n"
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
