"""The captured baseline as a series: believed as the judge believes it, and read where it lies."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from phasegate.contract import metrics
from phasegate.contract.baseline import FILE_NAME, encode_baseline, make_baseline
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from tests.fixtures.pages import serving
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter


class Page:
    """An application whose requests fail one in ten; it counts at each reading."""

    def __init__(self) -> None:
        self.url = ""
        self.reads = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.reads += 1
        return web.Response(
            text=f'http_requests_total{{status="200"}} {90 * self.reads}\n'
            f'http_requests_total{{status="503"}} {10 * self.reads}\n'
        )


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    made = Page()
    async with serving(made.answer) as made.url:
        yield made


def config(page: Page, errors: str = "5..") -> str:
    return (
        f"application:\n  metrics_url: {page.url}\n"
        "  requests: {metric: http_requests_total}\n"
        f"  errors: {{metric: http_requests_total, match: {{status: '{errors}'}}}}\n"
    )


async def scrape(exporter: Exporter) -> Snapshot:
    return await exporter.scrape(5, frozenset())


def reason_of(snapshot: Snapshot) -> tuple[str, str]:
    [found] = [(s.reason, s.error) for s in snapshot.statuses if s.collector == "baseline"]
    return found


async def test_what_was_captured_is_shown_once_it_lies_beside_the_configuration(
    start_exporter: StartExporter, page: Page, tmp_path: Path
) -> None:
    exporter = await start_exporter("SELECT 1", config(page))
    for _ in range(3):
        without = await scrape(exporter)
    assert not labels_of(without, metrics.ERROR_BASELINE)
    assert reason_of(without) == ("", "")
    captured = make_baseline(exporter.make_evidence(0.0, time.time()), time.time(), "1.0")
    file = tmp_path / FILE_NAME
    file.write_bytes(encode_baseline(captured))
    assert value_of(await scrape(exporter), metrics.ERROR_BASELINE) == 0.1
    file.write_bytes(encode_baseline(captured).replace(b"test", b"prod"))
    altered = await scrape(exporter)
    assert not labels_of(altered, metrics.ERROR_BASELINE)
    assert reason_of(altered)[0] == "baseline_unusable"
    assert "was altered" in reason_of(altered)[1]
    assert value_of(altered, metrics.COLLECTOR_SUCCESS, "application") == 1


async def test_a_baseline_of_another_place_or_of_other_settings_is_told(
    start_exporter: StartExporter, page: Page, tmp_path: Path
) -> None:
    exporter = await start_exporter("SELECT 1", config(page))
    for _ in range(2):
        await scrape(exporter)
    captured = make_baseline(exporter.make_evidence(0.0, time.time()), time.time(), "1.0")
    (tmp_path / FILE_NAME).write_bytes(encode_baseline(captured))
    file = tmp_path / "phasegate.yaml"
    for text, says in (
        (f"environment: other\n{config(page)}", "it is of environment test, not of other"),
        (f"environment: test\n{config(page, '...')}", "counted other requests or errors"),
    ):
        file.write_text(text, encoding="utf-8")
        await exporter.reload()
        found = await scrape(exporter)
        assert says in reason_of(found)[1]
        assert not labels_of(found, metrics.ERROR_BASELINE)
