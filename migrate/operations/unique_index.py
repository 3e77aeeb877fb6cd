"""A unique index, built beside the traffic; what a broken try left behind is cleared first.

CREATE INDEX CONCURRENTLY that fails or is cancelled leaves an invalid index, which still rejects
duplicates and which IF NOT EXISTS takes for a good one: so the catalog is asked whether it is
valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, TABLE, Catalog, Index, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal


@dataclass(frozen=True)
class UniqueIndex:
    """On one column. One that is there under another name does as well. Never a UNIQUE constraint:
    the index of one could not become the primary key."""

    kind: ClassVar[str] = "unique_index"
    loss: ClassVar[str] = ""
    table: TableName
    column: str

    @property
    def object(self) -> str:
        """The column that is indexed, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.column)}"

    @property
    def name(self) -> str:
        """Of the index; it stands in the table's schema."""
        return derive(self.table.table, self.column, "key")

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        return () if relation is None else tuple(self._refusals(relation, catalog))

    def _refusals(self, relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
        if relation.kind == PARTITIONED and self._standing(relation) is None:
            yield Refusal(
                qualify(self.table),
                f"it is partitioned {relation.partition_key}, and a unique index of it must hold "
                "the partition key",
                "give it a unique index that holds both, and look up by both",
            )
        if relation.kind == TABLE and relation.children:
            heirs = ", ".join(qualify(child) for child in relation.children)
            yield Refusal(
                qualify(self.table),
                f"{heirs} inherit from it, and a unique index of it does not hold their rows",
                "make it a partitioned table first",
            )
        if not relation.may_create and self._standing(relation) is None:
            schema, role = quote(self.table.schema), quote(catalog.role)
            found = f"{role} may not make an index in schema {schema}"
            yield Refusal(qualify(self.table), found, f"GRANT CREATE ON SCHEMA {schema} TO {role}")
        taken = relation.index(self.name)
        if taken is not None and taken.valid and not self._serves(taken):
            yield Refusal(
                f"{quote(self.table.schema)}.{quote(self.name)}",
                f"an index of that name is there and is another one: {taken.definition}",
                "rename it: ALTER INDEX … RENAME TO …",
            )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        relation = catalog.get(self.table)
        if relation is None or self._standing(relation) is not None:
            return ()
        place = f"{quote(self.table.schema)}.{quote(self.name)}"
        clear = f"DROP INDEX CONCURRENTLY {place}"
        create = (
            f"CREATE UNIQUE INDEX CONCURRENTLY {quote(self.name)} ON {qualify(self.table)} "
            f"({quote(self.column)})"
        )
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, qualify(self.table)),)
        actions = []
        debris = relation.index(self.name)
        if debris is not None and not debris.valid:
            what = f"drop the invalid index {place} that an earlier try left"
            actions.append(
                Action(
                    what,
                    (clear,),
                    Patience.CONCURRENT,
                    transactional=False,
                    locks=locks,
                    clears=True,
                )
            )
        actions.append(
            Action(
                f"index {self.object}, unique",
                (create,),
                Patience.CONCURRENT,
                transactional=False,
                locks=locks,
                scans=(qualify(self.table),),
                rows=max(0, relation.rows),
                remedy=f"all that are there twice: SELECT {quote(self.column)}, count(*) FROM "
                f"{qualify(self.table)} WHERE {quote(self.column)} IS NOT NULL GROUP BY 1 "
                "HAVING count(*) > 1; give all but one of each another value, and start again",
            )
        )
        return tuple(actions)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: ours by its name, and by nobody else's."""
        relation = catalog.get(self.table)
        index = None if relation is None else relation.index(self.name)
        if index is None or index.constraint or index.columns != (self.column,):
            return ()
        place = f"{quote(self.table.schema)}.{quote(self.name)}"
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, qualify(self.table)),)
        drop = (f"DROP INDEX CONCURRENTLY {place}",)
        what = f"drop the index {place}"
        return (Action(what, drop, Patience.CONCURRENT, transactional=False, locks=locks),)

    def _standing(self, relation: Relation) -> Index | None:
        return next((one for one in relation.indexes if self._serves(one)), None)

    def _serves(self, index: Index) -> bool:
        return (
            index.columns == (self.column,)
            and index.unique
            and index.valid
            and index.ready
            and index.immediate
            and not index.partial
            and index.method == "btree"
        )
