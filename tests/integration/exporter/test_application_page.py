"""Reading an application's metrics page over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from aiohttp import web
from prometheus_client import openmetrics

from phasegate.contract.errors import CollectError
from phasegate.contract.settings import Application, ApplicationCache, ApplicationCounter
from phasegate.exporter.application import (
    PAGE_LIMIT_BYTES,
    ApplicationCounts,
    CacheCounts,
    fetch_application,
)


@asynccontextmanager
async def serving(status: int, body: bytes, content_type: str) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


def configured(url: str, **keys: Any) -> Application:
    return Application(
        metrics_url=url,
        requests=ApplicationCounter(metric="http_requests_total"),
        errors=ApplicationCounter(metric="http_requests_total", match={"status": "5.."}),
        cache=ApplicationCache(requests="cache_requests_total", hits="cache_hits_total"),
        **keys,
    )


def real_page() -> prometheus_client.CollectorRegistry:
    registry = prometheus_client.CollectorRegistry()
    requests = prometheus_client.Counter(
        "http_requests", "Requests.", ["status"], registry=registry
    )
    requests.labels("200").inc(8)
    requests.labels("503").inc(2)
    for name, count in (("cache_requests", 10), ("cache_hits", 9)):
        counter = prometheus_client.Counter(name, "Cache.", ["cache"], registry=registry)
        counter.labels("permissions").inc(count)
    return registry


@pytest.mark.parametrize("render", [prometheus_client, openmetrics.exposition])
async def test_a_page_of_the_real_client_library(render: Any) -> None:
    body = render.generate_latest(real_page())
    async with serving(200, body, render.CONTENT_TYPE_LATEST) as url:
        counts = await fetch_application(configured(url))
    assert counts == ApplicationCounts(10, 2, {"permissions": CacheCounts(10, 9)})


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "status"),
        (302, b"", "status"),
        (200, b"\xff\xfe", "not_metrics"),
        (200, b"", "metric_missing"),
        (200, b"# x\n" * (PAGE_LIMIT_BYTES // 4 + 1), "too_large"),
    ],
)
async def test_a_page_that_cannot_be_used(status: int, body: bytes, reason: str) -> None:
    async with serving(status, body, "text/plain") as url:
        with pytest.raises(CollectError) as caught:
            await fetch_application(configured(url))
    assert (caught.value.collector, caught.value.reason) == ("application", reason)


async def test_a_page_at_the_limit_is_read() -> None:
    body = prometheus_client.generate_latest(real_page())
    body += b"#" * (PAGE_LIMIT_BYTES - len(body))
    async with serving(200, body, "text/plain") as url:
        assert (await fetch_application(configured(url))).requests == 10


async def test_nobody_listens(tmp_path: Path) -> None:
    async with serving(200, b"", "text/plain") as url:
        pass
    with pytest.raises(CollectError) as caught:
        await fetch_application(configured(url))
    assert caught.value.reason == "refused"
    with pytest.raises(CollectError) as caught:
        await fetch_application(configured(url, bearer_file=tmp_path / "none"))
    assert caught.value.reason == "credentials"
