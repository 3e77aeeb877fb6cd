"""Blocks of raw counts and the last measured values: what every verdict and gate stands on.

A block holds what was counted within one slot of the wall clock, never across a change of the
target's identity, the source's epoch, or the settings that the measurement depends on. Its own
times are those of what it holds: a judge that wants evidence younger than a change takes the
blocks that start after it.

Nothing here is a ratio: rates hide how much was counted, and cannot be added up again.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from phasegate.contract.audit_facts import AuditFacts
from phasegate.contract.evidence import DATABASE, Override
from phasegate.contract.model import Block, Observation, Series
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_describe import criterion_hash
from phasegate.exporter.targets import Target

MAX_BLOCKS = 50_000
"""Over all series; some 400 bytes each. A day of four tables at the default length is 34,560."""
LATENCY = "uuid_lookup_latency"
JUDGED_LOOKUP = "uuid_lookup"
BUSY = "server_busy"
SETTLE_SECONDS = 1.0


class Source(NamedTuple):
    """Which server was counted, and in which life of its counters; empty before it answered."""

    identity: str
    epoch: str


UNKNOWN = Source("", "")


def source_of(target: Target) -> Source:
    """The source that a target was when it last answered."""
    known = target.identity
    return UNKNOWN if known is None else Source(known.target, known.epoch)


class _Key(NamedTuple):
    criterion: str
    target: str
    scope: str
    schema: str
    table: str
    edges: tuple[float, ...]


class _Stamp(NamedTuple):
    identity: str
    epoch: str
    settings_hash: str


class _Gain(NamedTuple):
    """What is added to a block: `bucket` is the index of one success, -1 for none."""

    total: int
    good: int = 0
    bucket: int = -1
    failed: int = 0
    skipped: int = 0


@dataclass
class _Growing:
    """A block that may still grow."""

    stamp: _Stamp
    slot: int
    start: float
    end: float
    buckets: list[int]
    total: int = 0
    good: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, gain: _Gain, start: float, end: float) -> None:
        self.start, self.end = min(self.start, start), max(self.end, end)
        self.total += gain.total
        self.good += gain.good
        self.failed += gain.failed
        self.skipped += gain.skipped
        if gain.bucket >= 0:
            self.buckets[gain.bucket] += 1

    def block(self, *, grows: bool) -> Block:
        return Block(
            start=self.start,
            end=self.end,
            epoch=self.stamp.epoch,
            identity=self.stamp.identity,
            settings_hash=self.stamp.settings_hash,
            total=self.total,
            # An application's two counters are not read in one instant.
            good=min(self.good, self.total),
            buckets=tuple(self.buckets),
            failed=self.failed,
            skipped=self.skipped,
            open=grows,
        )


@dataclass
class _Observed:
    """The last complete set of values that one collector gave for one criterion."""

    identity: str
    observations: tuple[Observation, ...]


@dataclass
class EvidenceStore:
    """All evidence of one exporter; outlives a reload and, with storage, a restart.

    `started` is when this process began, `complete_since` the time before which blocks may have
    been dropped; Unix seconds. `use` must be called before anything is recorded.
    """

    started: float = field(default_factory=time.time)
    complete_since: float = 0.0

    def __post_init__(self) -> None:
        self.complete_since = self.complete_since or self.started
        self._kept: dict[_Key, deque[Block]] = {}
        self._growing: dict[_Key, _Growing] = {}
        self._counted_at: dict[tuple[str, str, str], float] = {}
        self._observed: dict[tuple[str, str], _Observed] = {}
        self._audit: AuditFacts | None = None
        self.overrides: tuple[Override, ...] = ()
        self._hashes: dict[tuple[str, str, str], str] = {}
        self._blocks = 0

    def use(self, settings: Settings, edges: tuple[float, ...]) -> None:
        """Record under these settings and latency edges (seconds) from now on.

        Measured values are forgotten: what a collector that is no more found must not stand.
        """
        self._settings = settings
        self._edges = edges
        self._length = settings.exporter.evidence_block
        self._retention = settings.exporter.evidence_retention
        self._hashes.clear()
        self._observed.clear()
        self._audit = None
        self.overrides = ()

    def probe(self, target: Target, labels: tuple[str, str, str], event: Mapping[str, Any]) -> None:
        """Take one event of the latency probe; `labels` are query_type, schema and table.

        An answer counts in its bucket, a failure as failed, slots lost to a busy server as
        skipped; `total` is the sum of the three. What says nothing of the server (we were late,
        the row was gone) is no evidence. Before the target's identity is known an answer proves
        nothing of the target that is asked for, while a failure still counts against it.
        """
        query_type, schema, table = labels
        if query_type != JUDGED_LOOKUP:
            return
        moment, source = float(event["t"]), source_of(target)
        began = moment
        if "s" in event:
            if source == UNKNOWN:
                return
            began -= event["s"]
            gain = _Gain(total=1, bucket=bisect_left(self._edges, event["s"]))
        elif "f" in event:
            gain = _Gain(total=1, failed=1)
        elif event["k"] == BUSY:
            began -= event["n"] * self._settings.exporter.probe_interval
            gain = _Gain(total=event["n"], skipped=event["n"])
        else:
            return
        key = _Key(LATENCY, target.name, "", schema, table, self._edges)
        self._add(key, source, gain, began, moment)

    def count(
        self,
        criterion: str,
        target: str,
        scope: str,
        source: Source,
        *,
        total: int,
        good: int,
        now: float | None = None,
    ) -> None:
        """Take what two counters gained since the last call for the same three names.

        The first call is the base line: of what came before, nobody knows since when. Call it at
        every successful reading, also with a gain of 0, so that each gain has its time.
        """
        moment = time.time() if now is None else now
        last = self._counted_at.get((criterion, target, scope))
        self._counted_at[criterion, target, scope] = moment
        if last is not None:
            key = _Key(criterion, target, scope, "", "", ())
            self._add(key, source, _Gain(total=total, good=good), min(last, moment), moment)

    def observe(
        self, criterion: str, collector: str, identity: str, observations: Iterable[Observation]
    ) -> None:
        """Replace what this collector last measured for this criterion by a complete new set."""
        self._observed[criterion, collector] = _Observed(identity, tuple(observations))

    def observe_audit(self, facts: AuditFacts) -> None:
        """Replace what was last seen of the audit log's triggers."""
        self._audit = facts

    def audit(self, since: float, targets: Mapping[str, Target]) -> AuditFacts | None:
        """What was seen of them at `since` or later, of the server that the database is."""
        facts = self._audit
        if facts is None or not facts.time >= since:
            return None
        return facts if facts.identity == _identity(targets, DATABASE) else None

    def series(self, since: float, now: float | None = None) -> tuple[Series, ...]:
        """Every series with the blocks that start at `since` or later, oldest first."""
        self.settle(time.time() if now is None else now)
        found = []
        for key in dict.fromkeys([*self._kept, *self._growing]):
            blocks = list(self._kept.get(key, ()))
            if key in self._growing:
                blocks.append(self._growing[key].block(grows=True))
            chosen = tuple(block for block in blocks if block.start >= since)
            if chosen:
                found.append(Series(*key[:-1], chosen, key.edges))
        return tuple(found)

    def observations(self, since: float, targets: Mapping[str, Target]) -> tuple[Observation, ...]:
        """The last values, measured at `since` or later, of the servers that the targets are."""
        return tuple(
            one
            for observed in self._observed.values()
            for one in observed.observations
            if one.time >= since and observed.identity == _identity(targets, one.target)
        )

    def settle(self, now: float) -> None:
        """Close the blocks whose slot is over, and forget those past the retention."""
        over = [k for k, g in self._growing.items() if self._slot(now - SETTLE_SECONDS) > g.slot]
        for key in over:
            self._close(key)
        for key in list(self._kept):
            while key in self._kept and self._kept[key][0].end < now - self._retention:
                self._forget_first(key)

    def cut(self) -> None:
        """Close every block here: what comes after is of another state of the database."""
        for key in list(self._growing):
            self._close(key)

    def dump(self) -> dict[str, Any]:
        """The whole as plain data; blocks that still grow are cut here."""
        stamps: dict[_Stamp, int] = {}
        rows = []
        for key in dict.fromkeys([*self._kept, *self._growing]):
            blocks = list(self._kept.get(key, ()))
            if key in self._growing:
                blocks.append(self._growing[key].block(grows=False))
            rows.append((*key, [_row(block, stamps) for block in blocks]))
        return {
            "complete_since": self.complete_since,
            "counted_at": [(*names, moment) for names, moment in self._counted_at.items()],
            "stamps": list(stamps),
            "series": rows,
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take back what `dump` gave, before anything is recorded."""
        self.complete_since = data["complete_since"]
        for criterion, target, scope, moment in data["counted_at"]:
            self._counted_at[criterion, target, scope] = moment
        stamps = [_Stamp(*stamp) for stamp in data["stamps"]]
        for criterion, target, scope, schema, table, edges, rows in data["series"]:
            key = _Key(criterion, target, scope, schema, table, tuple(edges))
            for start, end, stamp, total, good, buckets, failed, skipped in rows:
                identity, epoch, settings_hash = stamps[stamp]
                block = Block(
                    *(start, end, epoch, identity, settings_hash),
                    *(total, good, tuple(buckets), failed, skipped),
                )
                self._keep(key, block)

    def _add(self, key: _Key, source: Source, gain: _Gain, start: float, end: float) -> None:
        stamp = _Stamp(*source, self._hash(key))
        slot = self._slot(end)
        growing = self._growing.get(key)
        if growing is not None and (growing.slot, growing.stamp) != (slot, stamp):
            self._close(key)
            growing = None
        if growing is None:
            empty = [0] * (len(key.edges) + 1) if key.edges else []
            growing = self._growing[key] = _Growing(stamp, slot, start, end, empty)
        growing.add(gain, start, end)

    def _slot(self, moment: float) -> int:
        return int(moment // self._length)

    def _close(self, key: _Key) -> None:
        self._keep(key, self._growing.pop(key).block(grows=False))

    def _keep(self, key: _Key, block: Block) -> None:
        self._kept.setdefault(key, deque()).append(block)
        self._blocks += 1
        while self._blocks > MAX_BLOCKS:
            self._forget_first(min(self._kept, key=lambda k: self._kept[k][0].end))

    def _forget_first(self, key: _Key) -> None:
        blocks = self._kept[key]
        self.complete_since = max(self.complete_since, blocks.popleft().end)
        self._blocks -= 1
        if not blocks:
            del self._kept[key]

    def _hash(self, key: _Key) -> str:
        names = (key.criterion, key.schema, key.table)
        if names not in self._hashes:
            table = TableName(key.schema, key.table) if key.table else None
            self._hashes[names] = criterion_hash(self._settings, key.criterion, table)
        return self._hashes[names]


def _row(block: Block, stamps: dict[_Stamp, int]) -> tuple[Any, ...]:
    stamp = _Stamp(block.identity, block.epoch, block.settings_hash)
    number = stamps.setdefault(stamp, len(stamps))
    counts = (block.total, block.good, block.buckets, block.failed, block.skipped)
    return block.start, block.end, number, *counts


def _identity(targets: Mapping[str, Target], name: str) -> str:
    target = targets.get(name)
    return "" if target is None else source_of(target).identity
