"""Whether the audit log's triggers stand on every watched table, and what counters say beside them.

The catalog is read once for each block of evidence, without a lock on any table, and not at each
scrape: that would become longer with every partition. What was seen of it goes into the evidence as
it is; the gauge is by the rule of the judge. The first body that was seen of each audit function is
remembered, over a restart too, so that a later one is told.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from phasegate.contract import metrics
from phasegate.contract.audit_facts import (
    DELETE,
    INSERT,
    TRUNCATE,
    UPDATE,
    AuditFacts,
    CountsReading,
    Relation,
    Trigger,
    TriggerFunction,
    WatchedTable,
)
from phasegate.contract.coverage_gaps import find_gaps, find_log_gaps, is_audit_function
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit
from phasegate.exporter.collectors.identity import identity_of_row
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.tables import table_parameters
from phasegate.exporter.targets import Identity, Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("coverage")
IDENTITY = load_queries("identity")["identity"]

MAX_READINGS = 120
_ROW, _BEFORE, _INSTEAD = 1, 2, 64
_EVENT_BITS = {INSERT: 4, UPDATE: 16, DELETE: 8, TRUNCATE: 32}


class TriggerRow(NamedTuple):
    """One row of the query `triggers`; from `trigger` on None for a relation that has none."""

    schema: str
    table: str
    relation: str
    kind: str
    subscribed: bool
    parents: list[str]
    trigger: str | None
    type: int
    enabled: str
    condition: bool
    columns: bool
    old: bool
    new: bool
    cloned: bool
    function_schema: str
    function: str
    function_name: str
    sha256: str | None
    inserts: bool


class Body(NamedTuple):
    """The first definition that was seen of a function, and when another one was; 0 for never."""

    sha256: str
    seen: float
    changed: float = 0.0


class Counter:
    """Adds up what the counters of each table gain, in one life of the server's statistics."""

    def __init__(self) -> None:
        self._epoch = ""
        self._last: dict[tuple[int, bool], int] = {}
        self._changes = self._logged = 0
        self.readings: list[CountsReading] = []

    def take(self, epoch: str, rows: Sequence[Sequence[Any]], now: float) -> None:
        """One reading. It begins anew where counters restarted, fell, or went with their table.

        What a new partition of the log holds counts from the next reading on: it may have been
        attached full.
        """
        found: dict[tuple[int, bool], int] = {}
        for oid, logs, inserted, updated, deleted, *_ in rows:
            found[oid, logs] = inserted - deleted if logs else inserted + updated + deleted
        watched = {key for key in self._last if not key[1]}
        fell = any(found[key] < self._last[key] for key in watched & found.keys())
        if epoch != self._epoch or fell or watched - found.keys():
            self.readings.clear()
            self._last = found
        self._epoch = epoch
        for key, value in found.items():
            _, logs = key
            if logs:
                self._logged += max(0, value - self._last.get(key, value))
            else:
                self._changes += value - self._last.get(key, 0)
        self._last = found
        rollbacks = rows[0][-1] if rows else 0
        self.readings.append(CountsReading(now, self._changes, self._logged, rollbacks))
        del self.readings[:-MAX_READINGS]


class Coverage(Collector):
    """One look at the catalog and the counters, all in one transaction."""

    name = "coverage"

    def __init__(
        self, target: Target, audit: Audit, evidence: EvidenceStore, interval: float
    ) -> None:
        self.target = self._database = target
        self._audit, self._evidence = audit, evidence
        self._named = table_parameters([watch.table for watch in audit.watch])
        self._counter = Counter()
        self.interval = interval
        self._source = ""
        self._bodies: dict[str, Body] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        began = time.time()
        asked = self._named | self._audit.table._asdict()
        async with self._database.fast.session(self.name, timeout) as session:
            [identified], triggers, counts = await session.batch(
                (IDENTITY.sql, None),
                (
                    QUERIES["triggers"].sql,
                    self._named | {"inserts": insert_pattern(self._audit.table)},
                ),
                (QUERIES["counts"].sql, asked),
            )
        identity = identity_of_row(identified)
        if identity.in_recovery:
            raise CollectError(self.name, "standby", "in recovery, where nothing is counted")
        self._counter.take(identity.epoch, counts, began)
        facts = self._facts(began, identity, [TriggerRow(*row) for row in triggers], counts)
        self._evidence.observe_audit(facts)
        of_log = len(find_log_gaps(facts))
        return [
            metrics.AUDIT_COVERAGE_GAPS(
                len(find_gaps(self._audit, facts, watched)) + of_log,
                *(watched.schema, watched.table),
            )
            for watched, watch in zip(facts.watched, self._audit.watch, strict=True)
            if watch.writer == "trigger"
        ]

    def dump(self) -> Any:
        return {"source": self._source, "bodies": {n: [*b] for n, b in self._bodies.items()}}

    def restore(self, data: Any) -> None:
        self._source = data["source"]
        self._bodies = {name: Body(*body) for name, body in data["bodies"].items()}

    def _facts(
        self,
        now: float,
        identity: Identity,
        rows: Sequence[TriggerRow],
        counts: Sequence[Sequence[Any]],
    ) -> AuditFacts:
        source = f"{identity.system_identifier}/{identity.database}"
        if source != self._source:
            self._source, self._bodies = source, {}
        schema, table = self._audit.table
        return AuditFacts(
            time=now,
            identity=identity.target,
            schema=schema,
            table=table,
            exists=any(logs for _, logs, *_ in counts),
            diversions=tuple(rule for row in counts for rule in row[5]),
            watched=tuple(
                make_watched(watch.table, [row for row in rows if row[:2] == watch.table])
                for watch in self._audit.watch
            ),
            functions=tuple(self._functions(rows, now)),
            readings=tuple(self._counter.readings),
        )

    def _functions(self, rows: Iterable[TriggerRow], now: float) -> Iterable[TriggerFunction]:
        called = {row.function_name: row for row in rows if row.trigger is not None}
        for name, row in called.items():
            found = TriggerFunction(
                *(name, row.function_schema, row.function, row.inserts),
                *(row.sha256 or "", row.sha256 or "", now),
            )
            if is_audit_function(self._audit, found):
                body = self._bodies.setdefault(name, Body(found.sha256, now))
                changed = (body.changed or now) if found.sha256 != body.sha256 else 0.0
                body = self._bodies[name] = body._replace(changed=changed)
                found = TriggerFunction(
                    *(name, row.function_schema, row.function, row.inserts, found.sha256), *body
                )
            yield found


def make_watched(name: TableName, rows: Sequence[TriggerRow]) -> WatchedTable:
    """One watched table from its rows, which are in the order of its relations."""
    found: dict[str, list[TriggerRow]] = {}
    for row in rows:
        found.setdefault(row.relation, []).append(row)
    relations = tuple(
        Relation(
            *(relation, its[0].kind, tuple(its[0].parents)),
            triggers=tuple(_trigger(row) for row in its if row.trigger is not None),
            subscribed=its[0].subscribed,
        )
        for relation, its in found.items()
    )
    return WatchedTable(*name, len(relations), relations)


def _trigger(row: TriggerRow) -> Trigger:
    return Trigger(
        name=row.trigger or "",
        function=row.function_name,
        events=tuple(event for event, bit in _EVENT_BITS.items() if row.type & bit),
        enabled=row.enabled,
        row=bool(row.type & _ROW),
        after=not row.type & (_BEFORE | _INSTEAD),
        condition=row.condition,
        columns=row.columns,
        old=row.old,
        new=row.new,
        cloned=row.cloned,
    )


def insert_pattern(table: TableName) -> str:
    """A regular expression of the server's for SQL that inserts into this table by its name."""
    schema, name = (_spelled(part) for part in table)
    return (
        rf"\m{_any_case('insert')}\s+{_any_case('into')}\s+({schema}\s*\.\s*)?{name}"
        r"(?![[:alnum:]_$.])"
    )


def _spelled(name: str) -> str:
    """The name in quotes, or where it is one without them, in any case."""
    quoted = '"' + re.escape(name.replace('"', '""')) + '"'
    return f"({quoted}|{_any_case(name)})" if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else quoted


def _any_case(word: str) -> str:
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in word)


def build(wiring: Wiring) -> list[Collector]:
    """On the primary, where tables are watched."""
    audit, interval = wiring.settings.audit, wiring.settings.exporter.evidence_block
    if audit is None or not audit.watch:
        return []
    return [Coverage(wiring.database, audit, wiring.evidence, interval)]
