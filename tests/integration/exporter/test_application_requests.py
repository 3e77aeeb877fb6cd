"""The application's requests and errors as evidence: joined, told apart by settings, kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from phasegate.contract import metrics
from phasegate.contract.model import Block
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.storage import Storage
from tests.fixtures.database import Database
from tests.fixtures.pages import serving
from tests.fixtures.snapshots import value_of
from tests.integration.exporter.conftest import StartExporter


class Page:
    """An application's metrics page, which counts how often it is read."""

    def __init__(self) -> None:
        self.url = ""
        self.reads = 0
        self.started = ""
        self.good, self.bad, self.lookups = 0, 0, 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.reads += 1
        lines = [
            "# TYPE http_requests_total counter",
            f'http_requests_total{{status="200"}} {self.good}',
            *([f'http_requests_total{{status="503"}} {self.bad}'] if self.bad else []),
            f'cache_requests_total{{cache="permissions"}} {self.lookups}',
            f'cache_hits_total{{cache="permissions"}} {self.lookups}',
            *([f"process_start_time_seconds {self.started}"] if self.started else []),
        ]
        return web.Response(text="\n".join(lines) + "\n")


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()
    async with serving(made.answer) as made.url:
        yield made


def config(page: Page, errors: str = "5..") -> str:
    # Only the test itself reads the page.
    return (
        f"exporter: {{evidence_block: 5m, evidence_retention: 24h}}\n"
        f"application:\n  metrics_url: {page.url}\n"
        "  requests: {metric: http_requests_total}\n"
        f"  errors: {{metric: http_requests_total, match: {{status: '{errors}'}}}}\n"
        "  cache: {requests: cache_requests_total, hits: cache_hits_total}\n"
    )


@pytest.fixture
async def exporter(start_exporter: StartExporter, page: Page) -> Exporter:
    return await start_exporter("SELECT 1", config(page))


async def count(exporter: Exporter, page: Page, good: int, bad: int) -> list[Block]:
    """All blocks of requests after a reading of these counts."""
    page.good, page.bad = good, bad
    await exporter.scrape(5, frozenset({"application"}))
    found = [one for one in exporter.evidence.series(0) if one.criterion == "error_rate"]
    assert all((one.target, one.scope, one.table) == ("application", "", "") for one in found)
    return [block for one in found for block in one.blocks]


def sums(blocks: list[Block]) -> list[tuple[int, int]]:
    """Requests and errors under each settings, in each life of the counters."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for block in blocks:
        key = (block.settings_hash, block.epoch)
        total, bad = found.get(key, (0, 0))
        found[key] = (total + block.total, bad + block.total - block.good)
    return list(found.values())


async def test_one_reading_serves_requests_errors_and_lookups(
    exporter: Exporter, page: Page
) -> None:
    assert await count(exporter, page, 1_000, 10) == []  # of what was before nobody knows the time
    page.lookups = 7
    blocks = await count(exporter, page, 1_090, 20)
    assert sums(blocks) == [(100, 10)]
    assert {block.identity for block in blocks} == {page.url}
    assert page.reads == 2
    snapshot = await exporter.scrape(5, frozenset({"application"}))
    assert value_of(snapshot, metrics.CACHE_REQUESTS, "permissions", "application") == 7


def counted(exporter: Exporter) -> tuple[object, object]:
    """Requests and errors as the exposition has them, also while the page cannot be read."""
    values = {sample.metric: sample.value for sample in exporter.runner.last()[1]}
    return values[metrics.APPLICATION_REQUESTS], values[metrics.APPLICATION_ERRORS]


async def test_a_first_error_counts_and_a_restart_loses_none(
    exporter: Exporter, page: Page
) -> None:
    await count(exporter, page, 100, 0)
    assert counted(exporter) == (0, 0)
    assert sums(await count(exporter, page, 199, 1)) == [(100, 1)]
    assert counted(exporter) == (100, 1)
    # Restarted: what it shows now it counted since, in another life of its counters.
    assert sums(await count(exporter, page, 40, 2)) == [(100, 1), (42, 2)]
    assert counted(exporter) == (142, 3)


async def test_a_restart_that_its_counts_have_overtaken_is_seen_by_its_start(
    exporter: Exporter, page: Page
) -> None:
    page.started = "1700000000.12"
    await count(exporter, page, 1_000, 100)
    page.started = "1700000500.5"
    assert sums(await count(exporter, page, 1_400, 100)) == [(1_500, 100)]


async def test_an_error_ahead_of_its_request_comes_with_it(
    start_exporter: StartExporter, page: Page
) -> None:
    text = config(page).replace(
        "requests: {metric: http_requests_total}",
        "requests: {metric: http_requests_total, match: {status: '200'}}",
    )
    exporter = await start_exporter("SELECT 1", text)
    await count(exporter, page, 100, 0)
    assert sums(await count(exporter, page, 102, 5)) == [(2, 2)]
    assert counted(exporter) == (2, 2)
    assert sums(await count(exporter, page, 112, 5)) == [(12, 5)]
    assert counted(exporter) == (12, 5)


async def test_other_settings_are_another_count(
    start_exporter: StartExporter, page: Page, tmp_path: Path
) -> None:
    exporter = await start_exporter("SELECT 1", config(page))
    await count(exporter, page, 100, 0)
    await count(exporter, page, 190, 10)
    file = tmp_path / "phasegate.yaml"
    file.write_text(f"environment: test\n{config(page, errors='...')}", encoding="utf-8")
    await exporter.reload()
    assert sums(await count(exporter, page, 190, 10)) == [(100, 10), (0, 0)]
    blocks = await count(exporter, page, 285, 15)
    assert sums(blocks) == [(100, 10), (100, 100)]
    assert len({block.settings_hash for block in blocks}) == 2


async def test_counts_outlive_the_exporter(database: Database, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "phasegate.yaml"
    file.write_text(config(page), encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo()}
    found, series = [], []
    storage = Storage(tmp_path / "state")
    for good, bad in ((100, 0), (190, 10), (280, 20)):
        exporter = Exporter(lambda: load_settings(file, environ), storage)
        await exporter.start()
        found += [sums(await count(exporter, page, good, bad))]
        series.append(counted(exporter))
        await exporter.stop()
    assert found == [[], [(100, 10)], [(200, 20)]]
    assert series == [(0, 0), (100, 10), (200, 20)]
