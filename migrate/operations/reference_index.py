"""An index on a child's UUID where its integer has one, built beside the traffic.

Without it each delete of a parent, and each lookup, would read the whole child.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, Index, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.references import Reference


@dataclass(frozen=True)
class ReferenceIndex:
    """On the one column; unique where the integer is unique by itself. Of a partitioned child each
    partition is indexed by itself, and its index attached."""

    kind: ClassVar[str] = "reference_index"
    loss: ClassVar[str] = ""
    reference: Reference

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return self.reference.object

    def name(self, table: TableName) -> str:
        """Of the index on that table; it stands in the table's schema."""
        return derive(table.table, self.reference.uuid, "idx")

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        found = []
        for relation in self._relations(catalog):
            taken = relation.index(self.name(relation.name))
            if taken is not None and taken.valid and not self._serves(taken, unique=False):
                place = self._place(relation.name)
                what = f"an index of that name is there and is another one: {taken.definition}"
                found.append(Refusal(place, what, "rename it: ALTER INDEX … RENAME TO …"))
        child = catalog.get(self.reference.child)
        if child is not None and child.kind == PARTITIONED:
            found += [
                Refusal(
                    qualify(name),
                    f"it is a partition of {qualify(child.name)}, and partitioned itself",
                    f"let {qualify(self.reference.parent)} stay at keys: alternate",
                )
                for name in child.children
                if catalog.relations[name].kind == PARTITIONED
            ]
        return tuple(found)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        child = catalog.get(self.reference.child)
        if child is None or not self._is_wanted(child):
            return ()
        unique = self._is_unique(child)
        if any(self._serves(one, unique) for one in child.indexes):
            return ()
        if child.kind != PARTITIONED:
            return self._build(child, unique)
        return self._build_partitioned(child, unique, catalog)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: ours by its name, and nobody else's."""
        child = catalog.get(self.reference.child)
        if child is None:
            return ()
        index = child.index(self.name(child.name))
        found: tuple[Action, ...] = ()
        if index is not None and index.columns == (self.reference.uuid,):
            found = (self._drop(child),)
        # Those that were never attached do not go with the whole.
        loose = [one for one in self._relations(catalog) if one.name != child.name]
        if index is None:
            found += tuple(self._drop(one) for one in loose if one.index(self.name(one.name)))
        return found

    def _build(self, relation: Relation, unique: bool) -> tuple[Action, ...]:
        table = qualify(relation.name)
        kind = "UNIQUE INDEX" if unique else "INDEX"
        create = Action(
            f"index {table}.{quote(self.reference.uuid)}",
            (
                f"CREATE {kind} CONCURRENTLY {quote(self.name(relation.name))} ON {table} "
                f"({quote(self.reference.uuid)})",
            ),
            Patience.CONCURRENT,
            transactional=False,
            locks=(Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),),
            scans=(table,),
            rows=max(0, relation.rows),
        )
        if relation.index(self.name(relation.name)) is None:
            return (create,)
        return (self._drop(relation), create)

    def _build_partitioned(
        self, child: Relation, unique: bool, catalog: Catalog
    ) -> tuple[Action, ...]:
        table, uuid = qualify(child.name), quote(self.reference.uuid)
        kind = "UNIQUE INDEX" if unique else "INDEX"
        actions: list[Action] = []
        if child.index(self.name(child.name)) is None:
            create = f"CREATE {kind} {quote(self.name(child.name))} ON ONLY {table} ({uuid})"
            locks = (Lock(LockMode.SHARE, table),)
            actions.append(Action(f"announce an index of {table}.{uuid}", (create,), locks=locks))
        attach = []
        for relation in self._relations(catalog):
            if relation.name == child.name:
                continue
            mine = relation.index(self.name(relation.name))
            if mine is None or not mine.valid:
                actions += self._build(relation, unique)
            attach.append(
                f"ALTER INDEX {self._place(child.name)} "
                f"ATTACH PARTITION {self._place(relation.name)}"
            )
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),)
        actions.append(
            Action(f"attach the indexes of {table}'s partitions", tuple(attach), locks=locks)
        )
        return tuple(actions)

    def _drop(self, relation: Relation) -> Action:
        place = self._place(relation.name)
        whole = relation.kind == PARTITIONED
        mode = LockMode.ACCESS_EXCLUSIVE if whole else LockMode.SHARE_UPDATE_EXCLUSIVE
        return Action(
            f"drop the index {place}",
            (f"DROP INDEX {'' if whole else 'CONCURRENTLY '}{place}",),
            Patience.METADATA if whole else Patience.CONCURRENT,
            transactional=whole,
            locks=(Lock(mode, qualify(relation.name)),),
        )

    def _place(self, table: TableName) -> str:
        return f"{quote(table.schema)}.{quote(self.name(table))}"

    def _relations(self, catalog: Catalog) -> list[Relation]:
        names = dict.fromkeys((self.reference.child, *self.reference.tables(catalog)))
        return [found for name in names if (found := catalog.get(name)) is not None]

    def _is_wanted(self, child: Relation) -> bool:
        column = self.reference.column
        return any(one.columns[:1] == (column,) and one.valid for one in child.indexes)

    def _is_unique(self, child: Relation) -> bool:
        column = self.reference.column
        # In a partitioned table it would have to hold the partition key.
        return child.kind != PARTITIONED and any(
            one.columns == (column,) and one.unique and one.valid and not one.partial
            for one in child.indexes
        )

    def _serves(self, index: Index, unique: bool) -> bool:
        return (
            index.columns == (self.reference.uuid,)
            and index.valid
            and index.ready
            and not index.partial
            and (index.unique or not unique)
        )
