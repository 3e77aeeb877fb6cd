"""Partitions of the audit log that are wholly past their retention: detached, and kept as tables.

Nothing is dropped unless somebody asks for it, and then only what was detached here: its comment
says which partition it was, so another's table can never be meant. The comment is written before
the detach, which runs in transactions of its own and may be cut short between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from phasegate.contract.names import TableName
from phasegate.contract.units import Retention
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.execute import with_patience
from phasegate.migrate.identifiers import literal, qualify
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.premake import bounded
from phasegate.migrate.periods import Period, before, parse_bound

CONCURRENTLY_VERSION = 140_000
_STANDS = """
SELECT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)
FROM pg_inherits AS i
WHERE i.inhrelid = to_regclass(%s) AND i.inhparent = to_regclass(%s)
"""


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
            yield self._detach(child, period)
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

    def _detach(self, child: Relation, period: Period) -> Action:
        table = qualify(child.name)
        locks = (
            Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, self.object),
            Lock(LockMode.ACCESS_EXCLUSIVE, table),
        )
        how = "end the detach of" if child.detaching else "detach"
        what = f"{how} {table}, {period.text}; it is kept"
        work = Detach(self.object, table)
        return Action(what, patience=Patience.CONCURRENT, work=work, locks=locks)

    def _drop(self, relation: Relation, period: Period) -> Action:
        table = qualify(relation.name)
        locks = (Lock(LockMode.ACCESS_EXCLUSIVE, table),)
        return Action(f"drop {table}, {period.text}", (f"DROP TABLE {table}",), locks=locks)


@dataclass(frozen=True)
class Detach:
    """A partition leaves its table beside the traffic. Names as SQL writes them."""

    table: str
    child: str

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        action = Action(f"detach {self.child}", patience=Patience.CONCURRENT)
        with context.connect(Patience.CONCURRENT) as connection:
            with_patience(context, connection, action, partial(self._send, connection))
        return {"table": self.table, "detached": self.child}

    def _send(self, connection: Connection) -> None:
        """Whatever is left of it: a try that gave way has begun it."""
        row = connection.execute(_STANDS, (self.child, self.table)).fetchone()
        if row is None:
            return
        concurrently = connection.info.server_version >= CONCURRENTLY_VERSION
        how = "FINALIZE" if row[0] else "CONCURRENTLY" if concurrently else ""
        sql = f"ALTER TABLE {self.table} DETACH PARTITION {self.child} {how}"
        connection.execute(sql.encode())
