"""Where a migration stands: phases, progress, overrides, and what its preflight and backup proved.

The journal is read from where the last scrape ended, unless it is another one: a restore brings an
older one back. Without a journal there is nothing to tell, and that is no failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.errors import CollectError
from phasegate.contract.gates import PREFLIGHT_CHECKS
from phasegate.contract.migration import (
    CHANGES,
    JOURNAL_VERSION,
    Entry,
    Event,
    PhaseState,
    find_overrides,
    fold_phases,
    is_backup_proved,
    last_change,
    last_preflight,
)
from phasegate.contract.model import Sample
from phasegate.exporter.evidence import EvidenceStore, source_of
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("migration")
_TIMED = (Event.ACTION, Event.HOOK)
"""Of these only the newest time tells anything, and of a hook its name; a restore or a step taken
back tells more."""


class Migration(Collector):
    """The journal in the primary."""

    name = "migration"

    def __init__(self, target: Target, evidence: EvidenceStore) -> None:
        self.target = self._database = target
        self._evidence = evidence
        self._entries: list[Entry] = []
        self._hooks: dict[str, float] = {}
        self._seen = 0
        self._known: str | None = None

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            [[present]] = await session.rows(QUERIES["present"].sql)
            if not present:
                self._forget()
                self._evidence.overrides = ()
                return []
            [[known, newest, wanted]] = await session.rows(
                QUERIES["newest"].sql, {"seen": self._seen}
            )
            if known != self._known:
                self._forget()
                [[_, newest, wanted]] = await session.rows(QUERIES["newest"].sql, {"seen": 0})
            if newest is not None and newest > JOURNAL_VERSION:
                message = f"the journal has format {newest}, {JOURNAL_VERSION} is known"
                raise CollectError(self.name, "newer_journal", message)
            rows = await session.rows(QUERIES["entries"].sql, {"seen": self._seen})
            progress = await session.rows(QUERIES["progress"].sql)
        self._take(rows)
        self._evidence.overrides = find_overrides(self._entries)
        return [*self._of_entries(), *_of_progress(progress), metrics.MIGRATION_PAUSED(
            float(wanted not in (None, "run"))
        )]  # fmt: skip

    def _forget(self) -> None:
        self._entries, self._hooks, self._seen, self._known = [], {}, 0, None

    def _take(self, rows: Sequence[Any]) -> None:
        # Not by their times: another runner's clock may be behind.
        changed = any(Event(event) in CHANGES for _, _, _, _, event, *_ in rows)
        for number, identifier, at, run, event, phase, step, facts, by, identity in rows:
            entry = Entry(
                id=identifier,
                at=at,
                run=run,
                event=Event(event),
                phase=phase,
                step=step,
                facts=facts,
                by=by,
                identity=identity,
            )
            if entry.event is Event.HOOK and "hook" in facts:
                self._hooks[facts["hook"]] = entry.at
            if entry.event in CHANGES and self._entries and self._entries[-1].event in _TIMED:
                self._entries.pop()
            self._entries.append(entry)
            self._seen, self._known = number, identifier
        if changed:
            # What was measured before the change must not share a block with what comes after.
            self._evidence.cut()

    def _of_entries(self) -> Iterator[Sample]:
        entries = self._entries
        for phase, facts in fold_phases(entries).items():
            for state in PhaseState:
                yield metrics.MIGRATION_PHASE_STATE(float(facts.state is state), phase, state)
            if facts.started:
                yield metrics.MIGRATION_PHASE_STARTED(facts.started, phase)
            if facts.finished:
                yield metrics.MIGRATION_PHASE_FINISHED(facts.finished, phase)
            for criterion in facts.overridden:
                yield metrics.MIGRATION_OVERRIDDEN(1.0, phase, criterion)
        if changed := last_change(entries):
            yield metrics.MIGRATION_LAST_CHANGE(changed)
        for hook, ended in self._hooks.items():
            yield metrics.MIGRATION_HOOK_FINISHED(ended, hook)
        identity = source_of(self._database).identity
        yield metrics.BACKUP_PROVED(float(is_backup_proved(entries, identity)))
        if preflight := last_preflight(entries, identity):
            yield metrics.PREFLIGHT_TIME(preflight.at)
            checks = preflight.facts.get("checks", {})
            for check in PREFLIGHT_CHECKS:
                value = checks.get(check, {}).get("value")
                if isinstance(value, int | float):
                    yield metrics.PREFLIGHT_CHECK(float(value), check)


def _of_progress(rows: Sequence[Any]) -> Iterator[Sample]:
    for step, name, unit, done, total, rate, updated in rows:
        yield metrics.MIGRATION_PROGRESS(done / total if total else 1.0, step, name)
        yield metrics.MIGRATION_RATE(rate, step, name, unit)
        yield metrics.MIGRATION_PROGRESS_UPDATED(updated, step, name)


def build(wiring: Wiring) -> list[Collector]:
    """The one collector."""
    return [Migration(wiring.database, wiring.evidence)]
