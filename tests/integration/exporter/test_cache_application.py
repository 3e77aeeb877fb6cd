"""The application's own hits and lookups: joined through its restarts, shown without a cache."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from phasegate.contract import metrics
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from tests.fixtures.pages import serving
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

HEAD = "# TYPE cache_requests_total counter\n# TYPE cache_hits_total counter\n"


class Page:
    """An application's metrics page; `status` 500 is an application that fails."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.counts: dict[str, tuple[int, int]] = {}

    async def answer(self, _request: web.Request) -> web.Response:
        lines = [
            f'cache_requests_total{{cache="{name}"}} {requests}\n'
            f'cache_hits_total{{cache="{name}"}} {hits}\n'
            for name, (requests, hits) in self.counts.items()
        ]
        return web.Response(status=self.status, text=HEAD + "".join(lines))


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()
    async with serving(made.answer) as made.url:
        yield made


@pytest.fixture
async def exporter(start_exporter: StartExporter, page: Page) -> Exporter:
    return await start_exporter(
        "SELECT 1",
        f"application:\n  metrics_url: {page.url}\n"
        "  cache: {requests: cache_requests_total, hits: cache_hits_total}\n",
    )


async def scrape(exporter: Exporter) -> Snapshot:
    return await exporter.scrape(5, frozenset({"application"}))


def counted(snapshot: Snapshot, cache: str) -> tuple[float, float]:
    return (
        value_of(snapshot, metrics.CACHE_REQUESTS, cache, "application"),
        value_of(snapshot, metrics.CACHE_HITS, cache, "application"),
    )


async def test_lookups_are_joined_through_the_applications_restart(
    exporter: Exporter, page: Page
) -> None:
    page.counts = {"permissions": (100, 90)}
    assert counted(await scrape(exporter), "permissions") == (0, 0)
    page.counts = {"permissions": (110, 95)}
    assert counted(await scrape(exporter), "permissions") == (10, 5)
    page.counts = {}  # restarted, nothing looked up yet
    assert counted(await scrape(exporter), "permissions") == (10, 5)
    page.counts = {"permissions": (120, 100)}
    assert counted(await scrape(exporter), "permissions") == (130, 105)


async def test_a_caches_first_lookups_count(exporter: Exporter, page: Page) -> None:
    assert not labels_of(await scrape(exporter), metrics.CACHE_REQUESTS)
    page.counts = {"permissions": (3, 1)}
    assert counted(await scrape(exporter), "permissions") == (3, 1)


async def test_an_application_that_fails_keeps_its_counters(exporter: Exporter, page: Page) -> None:
    page.counts = {"permissions": (1, 1)}
    await scrape(exporter)
    page.counts = {"permissions": (5, 4)}
    await scrape(exporter)
    page.status = 500
    failed = await scrape(exporter)
    assert value_of(failed, metrics.COLLECTOR_SUCCESS, "application") == 0
    assert counted(failed, "permissions") == (4, 3)
