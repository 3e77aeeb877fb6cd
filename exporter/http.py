"""The HTTP face: metrics for Prometheus, health for an orchestrator, reload for an operator.

`/-/healthy` and `/-/ready` touch no server and need no password: an orchestrator must not restart
an exporter because a database is down.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import time

from aiohttp import web

from phasegate.contract.errors import ConfigError
from phasegate.contract.evidence import EVIDENCE_PATH
from phasegate.contract.settings_describe import describe_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.collectors.latency import Latency
from phasegate.exporter.collectors.plans import Plans
from phasegate.exporter.evidence_page import answer_evidence
from phasegate.exporter.exposition import OPENMETRICS_TYPE, TEXT_TYPE
from phasegate.exporter.negotiation import accepts_gzip, prefers_openmetrics
from phasegate.exporter.page import render_page

EXPORTER = web.AppKey("exporter", Exporter)
GZIP_LEVEL = 1
LEAST_SECONDS = 0.05
_TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
# Taken, so not to be had for the metrics.
FIXED_PATHS = (
    "/",
    "/debug/probes",
    "/-/healthy",
    "/-/ready",
    "/-/reload",
    "/config",
    EVIDENCE_PATH,
)


def make_application(
    exporter: Exporter, *, telemetry_path: str = "/metrics", lifecycle: bool = False
) -> web.Application:
    """The routes. Starting and stopping the application starts and stops the exporter."""
    application = web.Application()
    application[EXPORTER] = exporter
    application.router.add_get(telemetry_path, metrics_page)
    application.router.add_get("/", landing_page)
    application.router.add_get("/debug/probes", probes_page)
    application.router.add_get("/-/healthy", healthy)
    application.router.add_get("/-/ready", healthy)
    application.router.add_get("/config", config_page)
    application.router.add_get(EVIDENCE_PATH, evidence_page)
    if lifecycle:
        application.router.add_post("/-/reload", reload)
    else:
        application.router.add_post("/-/reload", reload_refused)

    async def run(_: web.Application) -> None:
        await exporter.start()

    async def end(_: web.Application) -> None:
        await exporter.stop()

    application.on_startup.append(run)
    application.on_cleanup.append(end)
    return application


async def metrics_page(request: web.Request) -> web.Response:
    """One scrape, within the time that the scraper states."""
    exporter = request.app[EXPORTER]
    timeout_seconds = scrape_timeout(request, exporter)
    only = frozenset(request.query.getall("collect[]", []))
    unknown = only - {
        part for name in exporter.runner.statuses for part in (name, name.split("/")[0])
    }
    if unknown:
        known = ", ".join(sorted(exporter.runner.statuses))
        text = f"no collector {', '.join(sorted(unknown))}; there are: {known}\n"
        return web.Response(status=400, text=text)
    snapshot = await exporter.scrape(timeout_seconds, only)
    as_openmetrics = prefers_openmetrics(request)
    zipped = accepts_gzip(request)

    def render() -> bytes:
        body = exporter.exposition.render(snapshot.samples, as_openmetrics=as_openmetrics)
        return gzip.compress(body, GZIP_LEVEL) if zipped else body

    headers = {
        "Content-Type": OPENMETRICS_TYPE if as_openmetrics else TEXT_TYPE,
        "Vary": "Accept, Accept-Encoding",
    }
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=await asyncio.to_thread(render), headers=headers)


def scrape_timeout(request: web.Request, exporter: Exporter) -> float:
    """Seconds that this scrape may take: what the scraper states less our offset, else ours."""
    ours = exporter.settings.exporter.collect_timeout
    try:
        stated = float(request.headers.get(_TIMEOUT_HEADER, ""))
    except ValueError:
        return ours
    if not math.isfinite(stated) or stated <= 0:
        return ours
    # A short limit keeps most of itself: the offset never takes more than half.
    offset = min(exporter.settings.exporter.scrape_timeout_offset, stated / 2)
    return max(LEAST_SECONDS, stated - offset)


async def landing_page(request: web.Request) -> web.Response:
    """The state of everything at the last run, for a person."""
    exporter = request.app[EXPORTER]
    _, kept = exporter.runner.last()
    held = exporter.hold(time.time())
    collectors = exporter.runner.collectors.values()
    plans = [line for c in collectors if isinstance(c, Plans) for line in c.lines()]
    text = render_page(exporter.settings, exporter.targets.values(), kept, held, plans)
    return web.Response(text=text, content_type="text/html")


async def probes_page(request: web.Request) -> web.Response:
    """The last hundred events of each probe and those that exemplars name, oldest first, as JSON;
    after `since` where given. Each has the plan of its lookup as it was then."""
    try:
        since = float(request.query.get("since", "0"))
    except ValueError:
        return web.Response(status=400, text="since: expected Unix seconds\n")
    collectors = request.app[EXPORTER].runner.collectors.values()
    plans = {c.database.name: c for c in collectors if isinstance(c, Plans)}
    found = {
        c.name: [
            event | plans[c.database.name].told(event)
            for event in c.probes()
            if event["time"] > since
        ]
        for c in collectors
        if isinstance(c, Latency)
    }
    return web.json_response(found)


async def healthy(_: web.Request) -> web.Response:
    """The process serves requests."""
    return web.Response(text="OK\n")


async def config_page(request: web.Request) -> web.Response:
    """The settings in force, secrets redacted."""
    return web.Response(text=describe_settings(request.app[EXPORTER].settings))


async def evidence_page(request: web.Request) -> web.Response:
    """The counts and values that a judge reads."""
    return await answer_evidence(request.app[EXPORTER], request)


async def reload(request: web.Request) -> web.Response:
    """Read the configuration again; 500 with the faults where it is refused."""
    try:
        await request.app[EXPORTER].reload()
    except ConfigError as error:
        return web.Response(status=500, text=f"{error}\n")
    return web.Response(text="reloaded\n")


async def reload_refused(_: web.Request) -> web.Response:
    """Without the flag a POST must not change anything."""
    text = "reload over HTTP is off; start with --web.enable-lifecycle, or send SIGHUP\n"
    return web.Response(status=403, text=text)
