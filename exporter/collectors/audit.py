"""The growth of the audit log: rows that reached it, and the events of the last hour.

Statistics are read at each scrape; what they leave open is settled by counting rows on a slow
schedule and on the connection kept for that. The accounting itself is in `audit_ledger`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit as AuditSettings
from phasegate.exporter.audit_ledger import (
    Count,
    Figures,
    Join,
    Ledger,
    Mark,
    Member,
    Reading,
    Source,
)
from phasegate.exporter.backends import Backends, Session
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("audit")

EVENTS_INTERVAL_SECONDS = 60.0
SHORTEST_BUDGET_SECONDS = 30.0
LOOK_SECONDS = 5.0
BATCH_MEMBERS = 200
TRIES = 3
Row = tuple[Any, ...]
XIDS = 2**32


@dataclass(frozen=True)
class Place:
    """Where a member's rows are, and about how many."""

    schema: str
    table: str
    estimate: int


@dataclass
class Log:
    """One audit log: its ledger and what the last look at the server found."""

    table: TableName
    ledger: Ledger = field(default_factory=Ledger)
    root: int | None = None
    identity: str = ""
    # The rows of the last look: thousands of partitions, of which few have changed.
    seen: frozenset[Row] = frozenset()
    # Two looks must reach the ledger in the order in which the server answered them.
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def labels(self) -> tuple[str, str]:
        """The values of `schema` and `table`."""
        return self.table.schema, self.table.table

    async def look(self, session: Session) -> None:
        """Read the statistics into the ledger; raises on a standby, which counts nothing, and
        where the log is no table."""
        async with self.looking:
            now = time.time()
            [(identity, in_recovery, *life)], rows = await session.batch(
                (QUERIES["source"].sql, None), (QUERIES["members"].sql, self._asked())
            )
            if in_recovery:
                raise CollectError("audit", "standby", "in recovery, where nothing is counted")
            if not rows and self.root is None:
                raise self._absent()
            source = Source(identity, *life)
            last = self.seen if source.identity == self.identity else frozenset()
            seen = frozenset(row for row in rows if row[1])
            unchanged = {row[0] for row in seen & last}
            readings = await self._arrivals(session, [*(seen - last)])
            readings += await self._departures(session, {row[0] for row in seen})
            self.ledger.observe(source, readings, now, unchanged=unchanged)
            self.root = next((row[0] for row in rows if row[2]), self.root)
            self.identity, self.seen = source.identity, seen
            if not rows:  # it was there, and what it held when it went is booked
                raise self._absent()

    def _absent(self) -> CollectError:
        return CollectError(
            "audit", "undefined_object", f"{self.table}: there is no table of this name"
        )

    def _asked(self) -> dict[str, Any]:
        return {"schema": self.table.schema, "table": self.table.table, "root": self.root}

    async def _arrivals(self, session: Session, rows: Sequence[Row]) -> list[Reading]:
        """Readings of members that changed, and of new ones."""
        new = [row[0] for row in rows if row[0] not in self.ledger.members]
        births = dict(await session.rows(QUERIES["births"].sql, {"oids": new})) if new else {}
        readings = []
        for oid, _, _, xid, command, *figures in rows:
            join = None if xid is None else Join(xid, command)
            born = xid is not None and births.get(oid) == xid
            readings.append(Reading(oid, True, join, born, Figures(*figures)))
        return readings

    async def _departures(self, session: Session, inside: set[int]) -> list[Reading]:
        gone = [oid for oid in self.ledger.members if oid not in inside]
        if not gone:
            return []
        rows = await session.rows(QUERIES["departed"].sql, {"oids": gone})
        return [Reading(oid, False, None, False, Figures(*figures)) for oid, *figures in rows]


class Growth(Collector):
    """Reads the statistics at each scrape, and exposes the counter."""

    name = "audit"

    def __init__(self, target: Target, log: Log) -> None:
        self.target = self._database = target
        self._log = log

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            await self._log.look(session)
        return [metrics.AUDIT_UNPROVED(self._log.ledger.debt, *self._log.labels)]

    def kept(self) -> Sequence[Sample]:
        total = self._log.ledger.total
        return [] if total is None else [metrics.AUDIT_CREATED(total, *self._log.labels)]

    def dump(self) -> Any:
        return {
            "table": list(self._log.labels),
            "root": self._log.root,
            "ledger": self._log.ledger.dump(),
        }

    def restore(self, data: Any) -> None:
        if tuple(data["table"]) == self._log.labels:
            self._log.root = data["root"]
            self._log.ledger.restore(data["ledger"])


class Reconciliation(Collector):
    """Counts the rows of what changed, and lets the ledger settle what statistics left open."""

    name = "audit/reconcile"

    def __init__(
        self, target: Target, slow: Backends, log: Log, interval: float, rate: int
    ) -> None:
        self.target = target
        self._slow, self._log, self._rate = slow, log, rate
        self.interval = interval
        self.budget = max(interval, SHORTEST_BUDGET_SECONDS)

    async def collect(self, timeout: float) -> Sequence[Sample]:
        try:
            await self._reconcile(time.monotonic() + timeout)
        finally:
            self._log.ledger.admit_restored()
        return ()

    def kept(self) -> Sequence[Sample]:
        reconciled = self._log.ledger.reconciled
        if not reconciled or self.target is None or not self.target.up:
            return ()
        age = max(0.0, time.time() - reconciled)
        return [metrics.AUDIT_RECONCILE_AGE(age, *self._log.labels)]

    async def _reconcile(self, deadline: float) -> None:
        began = time.time()
        done: set[int] = set()
        pause = 0.0
        while True:
            if time.monotonic() + pause >= deadline:
                raise CollectError(self.name, "timeout", "not every partition could be counted")
            await asyncio.sleep(pause)
            started = time.monotonic()
            counted = await self._count_some(deadline, done)
            if counted is None:
                break
            pause = max(0.0, counted / self._rate - (time.monotonic() - started))
        left = [member.oid for member in self._log.ledger.pending() if member.oid not in done]
        if left:
            raise CollectError(self.name, "lock_timeout", f"{len(left)} partitions are locked")
        self._log.ledger.finish(began)

    async def _count_some(self, deadline: float, done: set[int]) -> int | None:
        """Counts about one second's worth of rows in one snapshot; None when nothing is left."""
        for attempt in range(TRIES):
            # Short, since a scrape's look waits for this one.
            limit = min(LOOK_SECONDS, deadline - time.monotonic())
            async with self._slow.session(self.name, limit) as session:
                await self._log.look(session)
                pending = [m for m in self._log.ledger.pending() if m.oid not in done]
                places = await _find_places(session, [member.oid for member in pending])
            batch = list(self._batch([m for m in pending if m.oid in places], places))
            if not batch:
                return None
            try:
                counted = await self._count(batch, places, deadline)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
                # Locked, renamed or dropped since the look: look again.
                if attempt == TRIES - 1:
                    raise
            else:
                done.update(member.oid for member in batch)
                return counted
        return None

    async def _count(
        self, batch: Sequence[Member], places: Mapping[int, Place], deadline: float
    ) -> int:
        before = {member.oid: member.figures for member in batch}
        query = sql.SQL(" UNION ALL ").join(
            self._count_query(member, places[member.oid]) for member in batch
        )
        async with self._slow.session(self.name, deadline - time.monotonic()) as session:
            rows = await session.rows(query)
        now, counted = time.time(), 0
        for oid, found, fresh, following, running in rows:
            mark = Mark(_xid(following), [_xid(xid) for xid in running])
            self._log.ledger.settle(Count(oid, found, fresh, mark), before[oid], now)
            counted += found
        return counted

    def _batch(self, pending: Sequence[Member], places: Mapping[int, Place]) -> Iterator[Member]:
        rows = members = 0
        for member in pending:
            yield member
            rows, members = rows + places[member.oid].estimate, members + 1
            if rows >= self._rate or members >= BATCH_MEMBERS:
                return

    def _count_query(self, member: Member, place: Place) -> sql.Composed:
        fresh: sql.Composable = sql.SQL("NULL")
        if self._log.ledger.needs_fresh(member):
            fresh = _fresh(member)
        return sql.SQL(QUERIES["count"].sql).format(
            oid=sql.Literal(member.oid),
            fresh=fresh,
            table=sql.Identifier(place.schema, place.table),
        )


class Events(Collector):
    """Events of the last hour by category, and the latest of each."""

    name = "audit/events"
    interval = EVENTS_INTERVAL_SECONDS
    budget = EVENTS_INTERVAL_SECONDS / 2

    def __init__(self, target: Target, slow: Backends, audit: AuditSettings) -> None:
        self.target = target
        self._slow = slow
        category: sql.Composable = sql.Literal("")
        if audit.category_column is not None:
            column = sql.Identifier(audit.category_column)
            category = sql.SQL("COALESCE({}::text, '')").format(column)
        self._query = sql.SQL(QUERIES["events"].sql).format(
            category=category,
            time=sql.Identifier(audit.time_column),
            table=sql.Identifier(audit.table.schema, audit.table.table),
        )

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._slow.session(self.name, timeout) as session:
            rows = await session.rows(self._query)
        samples = []
        for category, events, latest in rows:
            samples.append(metrics.AUDIT_EVENTS(events, category))
            samples.append(metrics.AUDIT_LAST_EVENT(latest, category))
        return samples


async def _find_places(session: Session, oids: Sequence[int]) -> dict[int, Place]:
    """Of those that nobody locks, and that still stand."""
    if not oids:
        return {}
    rows = await session.rows(QUERIES["places"].sql, {"oids": list(oids)})
    return {oid: Place(*place) for oid, *place in rows}


def _fresh(member: Member) -> sql.Composed:
    """Counts the rows since the member was last counted, or since it joined the log."""
    if member.rows is None and member.join is not None:
        return sql.SQL(
            "count(*) FILTER (WHERE age(xmin) < age({xid}::xid)"
            " OR (xmin = {xid}::xid AND cmin::text::int8 > {command}))"
        ).format(xid=sql.Literal(member.join.xid), command=sql.Literal(member.join.command))
    assert member.mark is not None
    return sql.SQL(
        "count(*) FILTER (WHERE age(xmin) <= age({xid}::xid) OR xmin = ANY ({running}::xid[]))"
    ).format(xid=sql.Literal(member.mark.following), running=sql.Literal(list(member.mark.running)))


def _xid(xid8: str) -> str:
    """The 32 bits of a transaction's number that a row carries."""
    return str(int(xid8) % XIDS)


def build(wiring: Wiring) -> list[Collector]:
    """On the primary, where an audit log is configured."""
    audit, target = wiring.settings.audit, wiring.database
    if audit is None or target.slow is None:
        return []
    log, exporter = Log(audit.table), wiring.settings.exporter
    interval, rate = exporter.reconcile_interval, exporter.reconcile_rate
    return [
        Growth(target, log),
        Reconciliation(target, target.slow, log, interval, rate),
        Events(target, target.slow, audit),
    ]
