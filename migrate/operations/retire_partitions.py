"""Partitions of the audit log that are wholly past their retention: detached, and kept as tables.

Nothing is dropped unless somebody asks for it, and then only what was detached here: its comment
says which partition it was, so another's table can never be meant. The comment is written before
the detach, which runs in transactions of its own and may be cut short between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.contract.units import Retention
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation
from phasegate.migrate.identifiers import literal, qualify
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.premake import bounded
from phasegate.migrate.periods import Period, before, parse_bound

CONCURRENTLY_VERSION = 140_000
"""From here on a partition can leave beside the traffic; before, under a lock on the whole log."""


@dataclass(frozen=True)
class RetirePartitions:
    """Those that ended `kept` ago or earlier; `drop`: what was detached is dropped as well."""

    kind: ClassVar[str] = "retire_partitions"
    loss: ClassVar[str] = "the rows of what was dropped"
    table: TableName
    kept: Retention
    drop: bool = False

    @property
    def object(self) -> str:
        """The audit log, as SQL writes it."""
        return qualify(self.table)

    @property
    def mark(self) -> str:
        """How the comment of what was detached begins; its bound follows."""
        return f"phasegate: was the partition of {self.object} "

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`: none of its own, `Premake` has them."""
        del catalog
        return ()

    def cutoff(self, catalog: Catalog) -> datetime:
        """What ends by then is past its retention."""
        return before(datetime.fromtimestamp(catalog.now, UTC), self.kept)

    def past(self, catalog: Catalog) -> list[tuple[Relation, Period]]:
        """The partitions that would be detached, the oldest first; one that is half detached
        before all others, since it is in their way."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind != PARTITIONED:
            return []
        cutoff = self.cutoff(catalog)
        found = [
            (child, period)
            for child, period in bounded(relation, catalog)
            if child.detaching or period.end <= cutoff
        ]
        return sorted(found, key=lambda one: not one[0].detaching)

    def detached(self, catalog: Catalog) -> list[tuple[Relation, Period]]:
        """Tables that were detached here and are past their retention, the oldest first."""
        cutoff = self.cutoff(catalog)
        found = [
            (relation, period)
            for relation in catalog.relations.values()
            if not relation.parents
            and (period := self._marked(relation)) is not None
            and period.end <= cutoff
        ]
        return sorted(found, key=lambda one: one[1])

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        return tuple(self._plan(catalog))

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """Nothing is taken back: whoever wants a detached table in the log again attaches it."""
        del catalog
        return ()

    def _plan(self, catalog: Catalog) -> Iterator[Action]:
        cutoff = self.cutoff(catalog)
        for child, period in self.past(catalog):
            if not child.comment.startswith(self.mark) and period.end <= cutoff:
                yield self._mark(child)
            yield self._detach(child, period, catalog.version)
            if self.drop and period.end <= cutoff:
                yield self._drop(child, period)
        if self.drop:
            for relation, period in self.detached(catalog):
                yield self._drop(relation, period)

    def _marked(self, relation: Relation) -> Period | None:
        first, _, _ = relation.comment.partition("\n")
        return parse_bound(first[len(self.mark) :]) if first.startswith(self.mark) else None

    def _mark(self, child: Relation) -> Action:
        table = qualify(child.name)
        own = f"\n{child.comment}" if child.comment else ""
        text = literal(f"{self.mark}{child.bound}{own}")
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),)
        what = f"mark {table} as past its retention"
        return Action(what, (f"COMMENT ON TABLE {table} IS {text}",), locks=locks)

    def _detach(self, child: Relation, period: Period, version: int) -> Action:
        table = qualify(child.name)
        beside = version >= CONCURRENTLY_VERSION
        mode = LockMode.SHARE_UPDATE_EXCLUSIVE if beside else LockMode.ACCESS_EXCLUSIVE
        word = "FINALIZE" if child.detaching else "CONCURRENTLY"
        sql = f"ALTER TABLE {self.object} DETACH PARTITION {table}"
        how = "end the detach of" if child.detaching else "detach"
        return Action(
            f"{how} {table}, {period.text}; it is kept",
            (f"{sql} {word}" if beside else sql,),
            Patience.CONCURRENT if beside else Patience.METADATA,
            transactional=not beside,
            locks=(Lock(mode, self.object), Lock(LockMode.ACCESS_EXCLUSIVE, table)),
        )

    def _drop(self, relation: Relation, period: Period) -> Action:
        table = qualify(relation.name)
        locks = (Lock(LockMode.ACCESS_EXCLUSIVE, table),)
        return Action(f"drop {table}, {period.text}", (f"DROP TABLE {table}",), locks=locks)
