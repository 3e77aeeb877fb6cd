"""A foreign key from a child's UUID to its parent's: announced first, proved beside the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.references import Reference, mirror_actions

NOT_VALID_VERSION = 180_000
"""From here on a partitioned table can have a foreign key that is not proved yet."""


@dataclass(frozen=True)
class ReferenceKey:
    """It deletes and defers as the integer's does, and carries a changed UUID on."""

    kind: ClassVar[str] = "reference_key"
    loss: ClassVar[str] = ""
    reference: Reference

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return self.reference.object

    def name(self, table: TableName) -> str:
        """Of the constraint."""
        return derive(table.table, self.reference.uuid, "fkey")

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        child = catalog.get(self.reference.child)
        return () if child is None else tuple(self._refusals(child, catalog))

    def _refusals(self, child: Relation, catalog: Catalog) -> Iterator[Refusal]:
        table = qualify(child.name)
        taken = child.constraint(self.name(child.name))
        if taken is not None and taken.columns != (self.reference.uuid,):
            found = f"a constraint of that name is there and is another one: {taken.definition}"
            remedy = f"ALTER TABLE {table} RENAME CONSTRAINT {quote(taken.name)} TO …"
            yield Refusal(f"{table}, {quote(taken.name)}", found, remedy)
        key = self.reference.find_key(catalog)
        if key is not None and not key.validated:
            yield Refusal(
                f"{table}, {quote(key.name)}",
                "the integers' foreign key is not proved: there may be rows without a parent",
                f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(key.name)}",
            )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        child, integer = catalog.get(self.reference.child), self.reference.find_key(catalog)
        if child is None:
            return ()
        key = self.reference.find_uuid_key(catalog)
        if key is not None and key.validated:
            return ()
        if key is not None:
            return (self._validate(child, key.name),)
        if integer is None:
            return ()
        clause = self._clause(mirror_actions(integer))
        if child.kind != PARTITIONED or catalog.version >= NOT_VALID_VERSION:
            name = self.name(child.name)
            return (self._add(child, f"{clause} NOT VALID"), self._validate(child, name))
        return self._plan_partitions(child, clause, catalog)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`."""
        child = catalog.get(self.reference.child)
        if child is None:
            return ()
        found = []
        names = dict.fromkeys((child.name, *self.reference.tables(catalog)))
        for relation in (catalog.relations[name] for name in names):
            one = relation.constraint(self.name(relation.name))
            if one is None or one.columns != (self.reference.uuid,) or one.inherited:
                continue
            drop = f"ALTER TABLE {qualify(relation.name)} DROP CONSTRAINT {quote(one.name)}"
            what = f"drop the foreign key of {qualify(relation.name)}.{quote(one.columns[0])}"
            locks = self._locks(relation, LockMode.ACCESS_EXCLUSIVE)
            lock = self._lock(relation, LockMode.ACCESS_EXCLUSIVE)
            found.append(Action(what, (lock, drop), locks=locks))
        return tuple(found)

    def _plan_partitions(
        self, child: Relation, clause: str, catalog: Catalog
    ) -> tuple[Action, ...]:
        """Each by itself; the whole takes over what is proved, and scans nothing."""
        actions: list[Action] = []
        for name in self.reference.tables(catalog):
            relation = catalog.relations[name]
            one = relation.constraint(self.name(name))
            if one is None:
                actions.append(self._add(relation, f"{clause} NOT VALID"))
            if one is None or not one.validated:
                actions.append(self._validate(relation, self.name(name)))
        return (*actions, self._add(child, clause))

    def _clause(self, behaviour: str) -> str:
        one = self.reference
        return (
            f"FOREIGN KEY ({quote(one.uuid)}) REFERENCES {qualify(one.parent)} "
            f"({quote(one.parent_uuid)}) {behaviour}"
        )

    def _add(self, relation: Relation, clause: str) -> Action:
        table = qualify(relation.name)
        add = f"ALTER TABLE {table} ADD CONSTRAINT {quote(self.name(relation.name))} {clause}"
        locks = self._locks(relation, LockMode.SHARE_ROW_EXCLUSIVE)
        what = f"let {table}.{quote(self.reference.uuid)} refer to {self._target()}"
        lock = self._lock(relation, LockMode.SHARE_ROW_EXCLUSIVE)
        return Action(what, (lock, add), locks=locks)

    def _target(self) -> str:
        return f"{qualify(self.reference.parent)}.{quote(self.reference.parent_uuid)}"

    def _validate(self, relation: Relation, name: str) -> Action:
        table, parent = qualify(relation.name), qualify(self.reference.parent)
        return Action(
            f"prove that {table}.{quote(self.reference.uuid)} refers to {self._target()}",
            (f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(name)}",),
            Patience.SCAN,
            locks=(
                Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),
                # To read it while nobody changes what it is.
                Lock(LockMode.SHARE_ROW_EXCLUSIVE, parent)
                if relation.kind == PARTITIONED
                else Lock(LockMode.ACCESS_SHARE, parent),
            ),
            scans=(table, parent),
            rows=max(0, relation.rows),
        )

    def _lock(self, relation: Relation, mode: LockMode) -> str:
        names = dict.fromkeys((self.reference.parent, relation.name))
        return f"LOCK TABLE {', '.join(map(qualify, names))} IN {mode} MODE"

    def _locks(self, relation: Relation, mode: LockMode) -> tuple[Lock, ...]:
        names = dict.fromkeys((self.reference.parent, relation.name))
        return tuple(Lock(mode, qualify(name)) for name in names)
