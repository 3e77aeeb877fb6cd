"""A real Prometheus scrapes exporter and application at once, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.http import make_application
from phasegate.servers.cache import CacheServer
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.fixtures.planned import expand, make_legacy
from tests.fixtures.presence import require_present
from tests.integration.demo.test_application import start

CONFIG = """
environment: test
exporter: {{probe_interval: 50ms}}
criteria: {{uuid_lookup_latency: {{warning: 10us}}}}  # every probe is an exemplar
tables: [{{name: public.users}}]
audit: {{table: public.audit_logs, category_column: category}}
application:
  metrics_url: "{application}/metrics"
  cache: {{requests: cache_requests_total, hits: cache_hits_total}}
"""
SCRAPES = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: phasegate
    static_configs: [{{targets: ["{exporter}"]}}]
  - job_name: application
    static_configs: [{{targets: ["{application}"]}}]
"""
# The guide's own query, to the letter.
GUIDE_QUERY = (
    'histogram_quantile(0.95, rate(db_query_duration_seconds_bucket{query_type="uuid_lookup"}[5m]))'
)
LOOKUPS = 'cache_requests_total{job="phasegate",scope="application"}'


@pytest.fixture
async def prometheus(
    database: Database, cache_server: CacheServer, tmp_path: Path
) -> AsyncIterator[str]:
    """Its address; it scrapes an exporter and the application, which is asked meanwhile."""
    program = shutil.which("prometheus")
    require_present("prometheus", program is not None)
    make_legacy(database)
    expand(database, tmp_path)
    application = await start(database.conninfo(), cache_server.url())
    address = str(application.make_url("")).rstrip("/")
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG.format(application=address), encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": cache_server.url()}
    exporter = Exporter(lambda: load_settings(config, environ))
    runner = web.AppRunner(make_application(exporter))
    await runner.setup()
    port, own_port = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    scrapes = SCRAPES.format(
        exporter=f"127.0.0.1:{port}", application=address.removeprefix("http://")
    )
    (tmp_path / "prometheus.yml").write_text(scrapes, encoding="utf-8")
    with subprocess.Popen(  # noqa: ASYNC220  (starts at once; nothing waits for it here)
        [
            str(program),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            "--enable-feature=exemplar-storage",
            f"--web.listen-address=127.0.0.1:{own_port}",
        ],
        stderr=subprocess.DEVNULL,
    ) as process:
        for number in range(60):
            await application.get(f"/users/{number % 7 + 1}/permissions")
            await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{own_port}"
        process.kill()
    await runner.cleanup()
    await application.close()


async def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{prometheus}/api/v1/query", params={"query": query}) as answer,
    ):
        found: list[dict[str, Any]] = (await answer.json())["data"]["result"]
        return found


async def test_a_real_prometheus_finds_nothing_doubled(prometheus: str) -> None:
    for _ in range(20):
        up = {row["metric"]["job"]: row["value"][1] for row in await ask(prometheus, "up")}
        if up == {"phasegate": "1", "application": "1"} and await ask(prometheus, GUIDE_QUERY):
            break
        await asyncio.sleep(0.5)
    assert up == {"phasegate": "1", "application": "1"}
    [latency] = await ask(prometheus, GUIDE_QUERY)
    assert 0 < float(latency["value"][1]) < 1
    assert await ask(prometheus, 'count by (__name__) ({job="phasegate"}) > 0')
    rows = await ask(prometheus, "count by (__name__) (count by (__name__, job) ({job!=''})) > 1")
    shared = {row["metric"]["__name__"] for row in rows}
    guides = {"cache_requests_total", "cache_hits_total"}
    scraped = {name for name in shared if not name.startswith(("scrape_", "up"))}
    assert scraped == guides
    [counted] = await ask(prometheus, LOOKUPS)
    [own] = await ask(prometheus, 'sum(cache_requests_total{job="application"})')
    assert 0 < float(counted["value"][1]) <= float(own["value"][1])
    await find_exemplars(prometheus)


async def find_exemplars(prometheus: str) -> None:
    """Slow probes are found in Prometheus by the name that `/debug/probes` knows them by."""
    url = f"{prometheus}/api/v1/query_exemplars"
    now = time.time()
    asked: dict[str, str | float] = {"start": now - 60, "end": now}
    asked["query"] = "db_query_duration_seconds_bucket"
    async with aiohttp.ClientSession() as session, session.get(url, params=asked) as answer:
        found = (await answer.json())["data"]
    assert {row["seriesLabels"]["query_type"] for row in found} == {"uuid_lookup", "id_lookup"}
    for exemplar in (one for row in found for one in row["exemplars"]):
        assert set(exemplar["labels"]) == {"probe_id"}
        assert 0 < float(exemplar["value"]) < 1
        assert now - 60 < exemplar["timestamp"] < now
