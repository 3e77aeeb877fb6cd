"""How the server plans the timed lookups, asked now and then: a plan changes before the P95 does.

The generic plan, which needs no key and executes nothing. It is asked on the connection for slow
questions and apart from the probe, whose answers must not wait for it. A lookup that cannot be
planned fails this collector only; the others keep being compared.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.exporter.backends import Backends, Session, failure_reason
from phasegate.exporter.collectors.latency import fetch_catalog
from phasegate.exporter.lookups import Plan, Timed, plan_lookups, wanted_tables
from phasegate.exporter.plan_shapes import PlanLine, PlanShape, read_plan
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("plans")

SHORTEST_BUDGET_SECONDS = 5.0
REMEMBERED = 20

Labels = tuple[str, str, str]  # query_type, schema, table
Setup = list[tuple[str, dict[str, str]]]


@dataclass
class Seen:
    """The plans of one lookup. Times are Unix seconds; `since` goes with each change."""

    shape: PlanShape
    time: float
    since: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def at(self, moment: float) -> str:
        """The plan in words as it was last seen before `moment`; the oldest known before that."""
        found = self.since[0][1]
        for began, text in self.since:
            if began <= moment:
                found = text
        return found


class Plans(Collector):
    """The plans on one server."""

    def __init__(self, target: Target, slow: Backends, wiring: Wiring) -> None:
        self.name = "plans" if target.kind == "database" else f"plans/{target.name}"
        self.target = self.database = target
        self._slow = slow
        self._settings = wiring.settings
        self._counters = wiring.counters
        self.interval = wiring.settings.exporter.explain_interval
        self.budget = max(self.interval, SHORTEST_BUDGET_SECONDS)
        self.seen: dict[Labels, Seen] = {}
        self._known: dict[Labels, str] = {}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        failed: list[tuple[Timed, psycopg.Error]] = []
        async with self._slow.session(self.name, timeout) as session:
            plan = plan_lookups(self._settings, await fetch_catalog(session, self._settings))
            members = await self._fetch_members(session)
            setup = _setup(plan)
            for timed in plan.timed:
                try:
                    root = await fetch_plan(session, timed, setup)
                except psycopg.Error as error:
                    failed.append((timed, error))
                else:
                    self._note(timed, read_plan(root, members[timed.schema, timed.table]))
        lookups = {timed.labels for timed in plan.timed}
        self.seen = {labels: seen for labels, seen in self.seen.items() if labels in lookups}
        if failed:
            raise CollectError(
                self.name,
                failure_reason(failed[0][1]),
                "; ".join(f"{' '.join(t.labels)}: {str(error).strip()}" for t, error in failed),
            )
        return ()

    def kept(self) -> Sequence[Sample]:
        name, changes = self.database.name, metrics.PROBE_PLAN_CHANGES
        return [s for s in self._counters.samples([changes]) if s.labels[0] == name]

    def dump(self) -> Any:
        return [[*labels, text] for labels, text in self._known.items()]

    def restore(self, data: Any) -> None:
        for query_type, schema, table, text in data:
            self._known[query_type, schema, table] = text

    def lines(self) -> list[PlanLine]:
        """The last plan of each lookup."""
        name = self.database.name
        return [PlanLine(name, *labels, s.shape, s.time) for labels, s in self.seen.items()]

    def told(self, probe: Mapping[str, Any]) -> dict[str, str]:
        """The plan by which a probe (an entry of `Latency.probes`) was answered, where known."""
        seen = self.seen.get((probe["query_type"], probe["schema"], probe["table"]))
        return {"plan": seen.at(probe["time"])} if seen else {}

    async def _fetch_members(self, session: Session) -> dict[tuple[str, str], set[tuple[str, str]]]:
        tables = wanted_tables(self._settings)
        found: dict[tuple[str, str], set[tuple[str, str]]] = {table: set() for table in tables}
        parameters = {"schemas": [s for s, _ in tables], "tables": [t for _, t in tables]}
        for schema, table, *member in await session.rows(QUERIES["members"].sql, parameters):
            found[schema, table].add((member[0], member[1]))
        return found

    def _note(self, timed: Timed, shape: PlanShape) -> None:
        """Compare with the last plan that was seen, be it by the exporter before a restart."""
        labels, now = timed.labels, time.time()
        changed = self._known.get(labels, shape.text) != shape.text
        self._counters.add(metrics.PROBE_PLAN_CHANGES, changed, self.database.name, *labels)
        self._known[labels] = shape.text
        seen = self.seen.get(labels)
        if seen is None:
            seen = self.seen[labels] = Seen(shape, now)
        if not seen.since or seen.since[-1][1] != shape.text:
            seen.since.append((now, shape.text))
        seen.shape, seen.time = shape, now


def _setup(plan: Plan) -> Setup:
    settings = {
        **plan.session_settings,
        "plan_cache_mode": "force_generic_plan",
        "enable_partition_pruning": "off",  # at its start it would leave every partition out
        "row_security": "on",  # as the lookups themselves are made
    }
    text = QUERIES["setting"].sql
    return [(text, {"name": name, "value": value}) for name, value in settings.items()]


async def fetch_plan(session: Session, timed: Timed, setup: Setup) -> Mapping[str, Any]:
    """The topmost node of the lookup's generic plan; psycopg.Error where it cannot be planned.

    `setup` sets what the lookup is planned under.
    """
    prepare = sql.SQL(QUERIES["prepare"].sql).format(lookup=sql.SQL(timed.sql))
    explain, deallocate = QUERIES["explain"].sql, QUERIES["deallocate"].sql
    try:
        *_, rows, _ = await session.batch(
            *setup, (prepare, None), (explain, None), (deallocate, None)
        )
    except psycopg.Error:
        # A prepared statement outlives the transaction that failed.
        with suppress(psycopg.Error):
            await session.rows(deallocate)
        raise
    [[[explained]]] = rows
    root: Mapping[str, Any] = explained["Plan"]
    return root


def build(wiring: Wiring) -> list[Collector]:
    """One for each database, where tables or lookups are configured."""
    if not wanted_tables(wiring.settings):
        return []
    return [Plans(t, t.slow, wiring) for t in wiring.databases if t.slow is not None]
