"""A migration's journal as the exporter serves it: read on from the last scrape, and read anew
where a restore brought back another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.migration import JOURNAL_VERSION, Event, PhaseState
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.migrate.journal import Journal
from phasegate.migrate.opening import fetch_identity
from tests.fixtures.database import Database
from tests.fixtures.snapshots import labels_of, value_of
from tests.integration.exporter.conftest import StartExporter


@pytest.fixture
async def exporter(start_exporter: StartExporter) -> Exporter:
    return await start_exporter("CREATE TABLE t (id int PRIMARY KEY)", "")


@pytest.fixture
def journal(database: Database, tmp_path: Path) -> Iterator[Journal]:
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        yield Journal(connection, tmp_path, fetch_identity(connection), "anna")


async def scrape(exporter: Exporter) -> Snapshot:
    return await exporter.scrape(5, frozenset())


def failure_of(snapshot: Snapshot) -> bool:
    [success] = [
        s.value
        for s in snapshot.samples
        if s.metric is metrics.COLLECTOR_SUCCESS and "migration" in s.labels
    ]
    return success == 0


async def test_without_a_journal_nothing_is_told_and_nothing_fails(exporter: Exporter) -> None:
    snapshot = await scrape(exporter)
    assert not failure_of(snapshot)
    assert not labels_of(snapshot, metrics.MIGRATION_PHASE_STATE)


async def test_a_newer_journal_is_a_failure(
    exporter: Exporter, journal: Journal, database: Database
) -> None:
    journal.open()
    journal.write(Event.PHASE_STARTED, phase="prepare")
    database.execute(f"UPDATE phasegate.journal SET format = {JOURNAL_VERSION + 1}")
    assert failure_of(await scrape(exporter))


async def test_a_restore_unproves_the_backup_whatever_changes_after_it(
    exporter: Exporter, journal: Journal
) -> None:
    journal.open()
    journal.write(Event.BACKUP_MADE, phase="prepare")
    journal.write(Event.BACKUP_PROVED, phase="prepare", facts={"proved": True})
    await scrape(exporter)
    assert value_of(await scrape(exporter), metrics.BACKUP_PROVED) == 1
    journal.write(Event.RESTORED)
    journal.write(Event.ACTION, phase="prepare")
    journal.write(Event.HOOK, phase="prepare")
    snapshot = await scrape(exporter)
    assert value_of(snapshot, metrics.BACKUP_PROVED) == 0
    assert value_of(snapshot, metrics.MIGRATION_PHASE_STATE, "prepare", PhaseState.ROLLED_BACK)


async def test_another_journal_is_read_from_its_start(
    exporter: Exporter, journal: Journal, database: Database
) -> None:
    journal.open()
    journal.write(Event.PHASE_STARTED, phase="prepare")
    journal.write(Event.GATE_PASSED, phase="prepare")
    passed = await scrape(exporter)
    assert value_of(passed, metrics.MIGRATION_PHASE_STATE, "prepare", PhaseState.PASSED)
    database.execute("TRUNCATE phasegate.journal RESTART IDENTITY")
    journal.write(Event.PHASE_STARTED, phase="prepare")
    journal.write(Event.ACTION, phase="prepare")
    snapshot = await scrape(exporter)
    assert value_of(snapshot, metrics.MIGRATION_PHASE_STATE, "prepare", PhaseState.RUNNING)
    assert not labels_of(snapshot, metrics.MIGRATION_PHASE_FINISHED)


async def test_each_hook_s_last_end_is_told_whatever_changed_after_it(
    exporter: Exporter, journal: Journal, database: Database
) -> None:
    journal.open()
    ended = {}
    for hook in ("deploy_api", "deploy_web", "deploy_api"):
        entry = journal.make(Event.HOOK, phase="application", facts={"hook": hook})
        with psycopg.connect(database.conninfo(), autocommit=True) as connection:
            journal.insert(connection, entry)
        ended[hook] = entry.at
        await scrape(exporter)
    journal.write(Event.ACTION, phase="application")
    snapshot = await scrape(exporter)
    for hook, at in ended.items():
        told = value_of(snapshot, metrics.MIGRATION_HOOK_FINISHED, hook)
        assert told == pytest.approx(at, abs=1e-3)
    database.execute("TRUNCATE phasegate.journal RESTART IDENTITY")
    journal.write(Event.PHASE_STARTED, phase="prepare")
    assert not labels_of(await scrape(exporter), metrics.MIGRATION_HOOK_FINISHED)


async def test_what_was_accepted_is_evidence_until_it_is_rolled_back(
    exporter: Exporter, journal: Journal
) -> None:
    journal.open()
    journal.write(
        Event.OVERRIDE,
        phase="application",
        facts={"criteria": ["cache_hit_rate"], "reason": "cold", "by": "anna"},
    )
    await scrape(exporter)
    [one] = exporter.make_evidence(0.0, time.time()).overrides
    assert (one.criterion, one.phase, one.by) == ("cache_hit_rate", "application", "anna")
    assert one.reason == "cold"
    journal.write(Event.ROLLBACK_FINISHED, facts={"to": "infrastructure"})
    await scrape(exporter)
    assert not exporter.make_evidence(0.0, time.time()).overrides


async def test_a_change_by_a_clock_that_is_behind_cuts_the_evidence_too(
    exporter: Exporter, journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.open()
    journal.write(Event.ACTION, phase="schema")
    await scrape(exporter)
    cuts: list[None] = []
    monkeypatch.setattr(exporter.evidence, "cut", lambda: cuts.append(None))
    await scrape(exporter)
    assert not cuts
    behind = msgspec.structs.replace(journal.make(Event.ACTION, phase="schema"), at=1.0)
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        journal.insert(connection, behind)
    await scrape(exporter)
    assert len(cuts) == 1
