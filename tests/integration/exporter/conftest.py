"""An exporter in this process, on a fresh database, and how to read what it found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from tests.fixtures.database import Database

StartExporter = Callable[[str, str], Awaitable[Exporter]]


@pytest.fixture
async def start_exporter(database: Database, tmp_path: Path) -> AsyncIterator[StartExporter]:
    """Prepares the database by SQL and starts an exporter with that configuration."""
    started: list[Exporter] = []

    async def start(sql: str, config: str) -> Exporter:
        database.execute(sql)
        file = tmp_path / "phasegate.yaml"
        file.write_text(f"environment: test\n{config}", encoding="utf-8")
        environ = {"DATABASE_URL": database.conninfo()}
        exporter = Exporter(lambda: load_settings(file, environ))
        started.append(exporter)
        await exporter.start()
        return exporter

    yield start
    for exporter in started:
        await exporter.stop()
