"""The health collector: every check at once, each as its own series, none able to hold the rest."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from phasegate.contract import metrics
from phasegate.contract.settings import Health
from phasegate.exporter.collectors.health import HealthChecks
from phasegate.exporter.runner import Snapshot
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter


class Application:
    """Answers /health with `status`, and /hang never."""

    def __init__(self) -> None:
        self.status = 200

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(status=self.status)

    async def hang(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()


@asynccontextmanager
async def serving(
    application: Application, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    served = web.Application()
    served.router.add_get("/health", application.health)
    served.router.add_get("/hang", application.hang)
    runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def up(snapshot: Snapshot, check: str) -> float:
    return value_of(snapshot, metrics.HEALTH_UP, check)


async def test_each_check_is_a_series_and_follows_the_application(
    start_exporter: StartExporter,
) -> None:
    application = Application()
    async with serving(application) as url:
        exporter = await start_exporter(
            "SELECT 1",
            f"health: [{{name: api, url: '{url}/health'}}, {{name: web, url: '{url}/'}}]\n",
        )
        snapshot = await exporter.scrape(5, frozenset())
        assert (up(snapshot, "api"), up(snapshot, "web")) == (1, 0)
        assert value_of(snapshot, metrics.COLLECTOR_SUCCESS, "health") == 1
        assert 0 < value_of(snapshot, metrics.HEALTH_DURATION, "api") < 2
        assert not labels_of(snapshot, metrics.HEALTH_CERTIFICATE_EXPIRY)
        application.status = 503
        assert up(await exporter.scrape(5, frozenset()), "api") == 0
        application.status = 200
        assert up(await exporter.scrape(5, frozenset()), "api") == 1


async def test_a_check_that_hangs_is_down_and_costs_the_others_nothing(
    start_exporter: StartExporter,
) -> None:
    async with serving(Application()) as url:
        checks = [f"{{name: hang{i}, url: '{url}/hang'}}" for i in range(5)]
        checks.append(f"{{name: api, url: '{url}/health'}}")
        exporter = await start_exporter("SELECT 1", f"health: [{', '.join(checks)}]\n")
        loop = asyncio.get_running_loop()
        began = loop.time()
        snapshot = await exporter.scrape(1, frozenset({"health"}))
        assert loop.time() - began < 1.2
    assert up(snapshot, "api") == 1
    assert [up(snapshot, f"hang{i}") for i in range(5)] == [0] * 5
    assert value_of(snapshot, metrics.HEALTH_DURATION, "hang0") == pytest.approx(0.8, abs=0.15)


async def test_the_end_of_a_certificate_is_told(tmp_path: Path) -> None:
    authority = trustme.CA()
    ca = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(Application(), context) as url:
        collector = HealthChecks([Health(name="api", url=f"{url}/health", ca=ca)])
        samples = await collector.collect(5)
    expiry = metrics.HEALTH_CERTIFICATE_EXPIRY
    [found] = [s.value for s in samples if s.metric is expiry and s.labels == ("api",)]
    assert isinstance(found, float)
    assert found > 1_700_000_000
