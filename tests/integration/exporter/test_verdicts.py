"""Verdicts as series of a running exporter: the page's own, one judgement a block."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from phasegate.contract import metrics
from phasegate.exporter import app
from phasegate.exporter.app import Exporter
from phasegate.exporter.criteria_now import Row, describe_criteria
from phasegate.exporter.runner import Snapshot
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter

SCHEMA = "CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid())"
CONFIG = "exporter: {evidence_block: 1s}\ntables: [{name: public.users}]\n"


def verdicts_of(snapshot: Snapshot) -> dict[str, str]:
    found = [s for s in snapshot.samples if s.metric is metrics.CRITERION_STATE and s.value]
    return {s.labels[0]: s.labels[1] for s in found}


async def scrape(exporter: Exporter) -> Snapshot:
    return await exporter.scrape(5, frozenset())


async def test_series_say_what_the_page_says_and_follow_within_a_block(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(SCHEMA, CONFIG)
    first = await scrape(exporter)
    rows = describe_criteria(exporter.settings, exporter.hold(time.time()))
    told = {row.criterion: str(row.verdict) for row in rows if row.verdict is not None}
    assert verdicts_of(first) == told
    assert told["indexes_valid"] == "passed"
    assert told["audit_partition_size"] == "inconclusive"
    assert value_of(first, metrics.CRITERION_VALUE, "indexes_valid") == 0
    assert not labels_of(await exporter.scrape(5, frozenset({"schema"})), metrics.CRITERION_STATE)
    database.execute("ALTER TABLE users ADD CONSTRAINT c CHECK (id > 0) NOT VALID")
    for _ in range(100):
        later = await scrape(exporter)
        if verdicts_of(later)["constraints_validated"] == "failed":
            break
        await asyncio.sleep(0.1)
    assert value_of(later, metrics.CRITERION_VALUE, "constraints_validated") == 1
    measured = value_of(later, metrics.CRITERION_MEASURED, "constraints_validated")
    assert time.time() - 10 < measured <= time.time()


async def test_scrapes_judge_nothing_and_a_reload_judges_anew(
    start_exporter: StartExporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[object] = []

    def describe(*args: object) -> list[Row]:
        judged.append(args)
        return describe_criteria(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(app, "describe_criteria", describe)
    exporter = await start_exporter(SCHEMA, CONFIG.replace("1s", "5m"))
    for _ in range(5):
        assert verdicts_of(await scrape(exporter))
    assert len(judged) == 1
    (tmp_path / "phasegate.yaml").write_text("environment: test\n", encoding="utf-8")
    await exporter.reload()
    assert verdicts_of(await scrape(exporter))["indexes_valid"] == "inconclusive"
    assert len(judged) == 2


async def test_a_judgement_that_breaks_leaves_no_old_verdict(
    start_exporter: StartExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = await start_exporter(SCHEMA, CONFIG)
    assert verdicts_of(await scrape(exporter))

    def fail(*_: object) -> list[Row]:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "describe_criteria", fail)
    with capture_logs() as logged:
        await asyncio.sleep(1.2)
        found = await scrape(exporter)
    assert "judging_failed" in [entry["event"] for entry in logged]
    assert not verdicts_of(found)
    assert value_of(found, metrics.UP, "database") == 1
