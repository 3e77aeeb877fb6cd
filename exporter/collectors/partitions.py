"""Sizes and bounds of the audit log's partitions, without ever waiting for a lock.

Asking for all of 3,000 sizes costs the server 70 ms, so only those are asked that may have
changed: unknown ones, the one that holds now, those that somebody writes to or wrote to within
the last 15 s, those whose counters or files moved; the rest in rotation, so that none is older
than `partition_max_age`. Counters alone prove nothing while a writer's transaction is open, on a
standby, without `track_counts` and across a change of epoch: there all are asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import psycopg
from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.errors import CollectError
from phasegate.contract.model import Sample
from phasegate.contract.names import TableName
from phasegate.exporter.backends import Session
from phasegate.exporter.bounds import Bound, Calendar, parse_bound
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("partitions")

SETTLE_SECONDS = 15.0
LOCK_TRIES = 3
DEFAULTS_INTERVAL_SECONDS = 60.0


@dataclass
class Partition:
    """What is known of one partition. Times are monotonic seconds, 0 where it never happened."""

    oid: int
    version: int
    parent: int | None
    activity: int | None = None
    schema: str = ""
    name: str = ""
    kind: str = ""
    bound: Bound | None = None
    described: bool = False
    exclusive: bool = False
    pending: bool = False
    written: float = 0.0
    asked: float = 0.0
    size: int | None = None
    sample: Sample | None = None


class Partitions(Collector):
    """The audit log's partitions on the primary."""

    name = "partitions"

    def __init__(self, target: Target, schema: str, table: str, max_age: float) -> None:
        self.target = self._database = target
        self._schema, self._table, self._max_age = schema, table, max_age
        self._known: dict[int, Partition] = {}
        self._calendar: tuple[list[Bound], Calendar] = ([], Calendar([]))
        self._epoch = ""
        self._last_run = 0.0

    async def collect(self, timeout: float) -> Sequence[Sample]:
        now = time.monotonic()
        async with self._database.fast.session(self.name, timeout) as session:
            for _ in range(LOCK_TRIES):
                await self._observe(session, now)
                try:
                    await self._describe(session)
                    await self._measure(session, self._plan(now), now)
                    break
                except psycopg.errors.LockNotAvailable:
                    continue  # a lock was requested since the look at pg_locks: look again
            [(missing_index, by_time)] = await session.rows(QUERIES["shape"].sql, self._root())
        self._last_run = now
        return [
            *self._sizes(now),
            *(self._bounds(time.time()) if by_time else ()),
            *self._shape(missing_index),
        ]

    def _root(self) -> dict[str, str]:
        return {"schema": self._schema, "table": self._table}

    async def _observe(self, session: Session, now: float) -> None:
        """One look at catalog, statistics and locks: who is there, and who may have changed."""
        seen = {}
        for row in await session.rows(QUERIES["activity"].sql, self._root()):
            oid, parent, pending, version, activity, busy, exclusive = row
            partition = self._known.get(oid)
            if partition is None or partition.version != version or partition.parent != parent:
                partition = Partition(oid, version, parent)
            if busy or partition.activity != activity:
                partition.activity = activity
                partition.written = now
            partition.pending, partition.exclusive = pending, exclusive
            seen[oid] = partition
        self._known = seen
        if all(partition.parent is not None for partition in seen.values()):
            reason = f"{TableName(self._schema, self._table)}: there is no table of this name"
            raise CollectError(self.name, "undefined_object", reason)

    async def _describe(self, session: Session) -> None:
        unknown = [p.oid for p in self._known.values() if not p.described and not p.exclusive]
        if not unknown:
            return
        for oid, schema, name, kind, _, bound in await session.rows(
            QUERIES["describe"].sql, {"oids": unknown}
        ):
            partition = self._known[oid]
            partition.schema, partition.name, partition.kind = schema, name, kind
            partition.bound, partition.described = parse_bound(bound), True
        for partition in self._known.values():
            partition.sample = None  # it may name a parent that has another name now

    def _plan(self, now: float) -> list[int]:
        """The oids to ask now."""
        leaves = [p for p in self._leaves() if not p.exclusive]
        identity = self._database.identity
        epoch = identity.epoch if identity else ""
        if (
            not identity
            or identity.in_recovery
            or not identity.track_counts
            or epoch != self._epoch
        ):
            self._epoch = epoch
            return [p.oid for p in leaves]
        wall = time.time()
        due = {
            p.oid
            for p in leaves
            if p.size is None
            or p.asked <= p.written + SETTLE_SECONDS
            or (p.bound is not None and p.bound.holds(wall))
        }
        return [*due, *self._rotation([p for p in leaves if p.oid not in due], now)]

    def _rotation(self, resting: list[Partition], now: float) -> list[int]:
        """Of the partitions at rest the longest unasked: as many as keep the pace, and all that
        have reached the limit, so that nothing older is ever shown."""
        share = int(len(resting) * (now - self._last_run) / self._max_age) + 1
        resting.sort(key=attrgetter("asked"))
        return [p.oid for i, p in enumerate(resting) if i < share or now - p.asked >= self._max_age]

    async def _measure(self, session: Session, oids: list[int], now: float) -> None:
        for oid, size in await session.rows(QUERIES["sizes"].sql, {"oids": oids}):
            partition = self._known[oid]
            partition.asked = now
            if partition.size != size:
                partition.size, partition.sample = size, None

    def _leaves(self) -> Iterable[Partition]:
        """Everything that stores rows; what is not described yet may be one."""
        return (p for p in self._known.values() if p.kind != "p")

    def _sizes(self, now: float) -> list[Sample]:
        samples, oldest, locked, unread = [], 0.0, 0, 0
        for p in self._leaves():
            age = now - p.asked
            if p.size is None or age > self._max_age:
                locked, unread = locked + p.exclusive, unread + (not p.exclusive)
                continue
            if p.sample is None:  # kept, since most of thousands stay as they are
                parent = self._known.get(p.parent) if p.parent else None
                name = parent.name if parent else ""
                p.sample = metrics.TABLE_SIZE(p.size, p.schema, p.name, name)
            samples.append(p.sample)
            oldest = max(oldest, age)
            locked += p.exclusive
        return [
            *samples,
            metrics.PARTITION_MAX_AGE(oldest),
            metrics.PARTITIONS_SKIPPED(locked, "locked"),
            metrics.PARTITIONS_SKIPPED(unread, "unread"),
        ]

    def _bounds(self, wall: float) -> list[Sample]:
        """What the calendar says, of a log that is partitioned by range over a time."""
        top = next(p.oid for p in self._known.values() if p.parent is None)
        found = (p.bound for p in self._known.values() if p.parent == top)
        bounds = [bound for bound in found if bound is not None]
        if bounds != self._calendar[0]:
            self._calendar = bounds, Calendar(bounds)
        calendar = self._calendar[1]
        ahead, runway = calendar.look_ahead(wall)
        labels = (self._schema, self._table)
        return [
            metrics.PARTITIONS_AHEAD(ahead, *labels),
            metrics.PARTITION_RUNWAY(runway, *labels),
            metrics.PARTITION_GAPS(calendar.gaps, *labels),
            metrics.PARTITION_OVERLAPS(calendar.overlaps, *labels),
        ]

    def _shape(self, missing_index: int) -> list[Sample]:
        labels = (self._schema, self._table)
        samples = [metrics.PARTITIONS_MISSING_INDEX(missing_index, *labels)]
        if any(p.parent is None and p.kind != "r" for p in self._known.values()):
            pending = sum(p.pending for p in self._known.values())
            samples.append(metrics.PARTITIONS_DETACH_PENDING(pending, *labels))
        return samples


class DefaultPartitions(Collector):
    """Whether rows lie in a default partition: where they do, their own partition cannot be made.

    The server's statistics would tell without a lock, but a crash sets them to 0.
    """

    name = "partitions/default"
    interval = DEFAULTS_INTERVAL_SECONDS

    def __init__(self, target: Target, schema: str, table: str) -> None:
        self.target = self._database = target
        self._asked = {"schema": schema, "table": table}

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            found = await session.rows(QUERIES["defaults"].sql, self._asked)
            if not found:
                return []
            parts = [_used(schema, name) for schema, name in found]
            rows = await session.rows(sql.SQL(" UNION ALL ").join(parts))
        return [
            metrics.DEFAULT_PARTITION_USED(float(used), schema, name) for schema, name, used in rows
        ]


def _used(schema: str, name: str) -> sql.Composed:
    return sql.SQL(QUERIES["used"].sql).format(
        schema=sql.Literal(schema), name=sql.Literal(name), table=sql.Identifier(schema, name)
    )


def build(wiring: Wiring) -> list[Collector]:
    """Both, where an audit log is configured."""
    audit = wiring.settings.audit
    if audit is None:
        return []
    max_age = wiring.settings.exporter.partition_max_age
    names = audit.table.schema, audit.table.table
    return [
        Partitions(wiring.database, *names, max_age),
        DefaultPartitions(wiring.database, *names),
    ]
