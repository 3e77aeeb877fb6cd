"""The application's counters joined reading by reading, through a change of what is counted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from phasegate.contract.model import Block
from phasegate.contract.settings import Application as ApplicationSettings
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.application import ApplicationCounts
from phasegate.exporter.collectors import application as collector
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.wiring import Wiring

CONFIG = """
database: {url: postgresql://u@127.0.0.1:1/d}
application:
  metrics_url: http://127.0.0.1:1/metrics
  requests: {metric: http_requests_total}
  errors: {metric: http_requests_total, match: {status: "5.."}}
"""


class Page:
    """What the application shows: requests, and errors as they are counted now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._counts = (0, 0)
        self._folder = folder
        self.evidence = EvidenceStore()

        async def fetch(application: ApplicationSettings, timeout: float) -> ApplicationCounts:
            del application, timeout
            requests, errors = self._counts
            return ApplicationCounts(caches={}, requests=requests, errors=errors, started="s")

        monkeypatch.setattr(collector, "fetch_application", fetch)

    def start(self, text: str) -> collector.Application:
        """As a start or a reload makes it."""
        file = self._folder / "phasegate.yaml"
        file.write_text(text, encoding="utf-8")
        settings: Settings = load_settings(file, {})
        self.evidence.use(settings, (0.01,))
        wiring = Wiring(settings, {}, Counters(), Histograms(), self.evidence)
        assert settings.application is not None
        return collector.Application(settings.application, wiring)

    async def read(self, reader: collector.Application, requests: int, errors: int) -> None:
        """One scrape that finds these counters."""
        self._counts = (requests, errors)
        await reader.collect(1.0)

    def counted(self) -> list[Block]:
        """The blocks that hold anything."""
        series = self.evidence.series(0.0, 0.0)
        return [block for one in series for block in one.blocks if block.total]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Page:
    return Page(monkeypatch, tmp_path)


async def test_another_match_of_errors_joins_no_earlier_count(page: Page) -> None:
    before = page.start(CONFIG)
    await page.read(before, 1_000, 10)
    await page.read(before, 2_000, 20)
    after = page.start(CONFIG.replace("5..", "[45].."))
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.dump())))
    # Of the 400s until now nobody knows when they were.
    await page.read(after, 3_000, 700)
    await page.read(after, 4_000, 730)
    first, second = page.counted()
    assert [(b.total, b.total - b.good) for b in (first, second)] == [(1_000, 10), (1_000, 30)]
    assert first.settings_hash != second.settings_hash


async def test_the_same_match_goes_on_through_a_reload(page: Page) -> None:
    before = page.start(CONFIG)
    await page.read(before, 1_000, 10)
    after = page.start(CONFIG)
    after.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(before.dump())))
    await page.read(after, 2_000, 30)
    assert sum(block.total for block in page.counted()) == 1_000
