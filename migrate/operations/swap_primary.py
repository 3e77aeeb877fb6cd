"""The UUID becomes the primary key; the integer stays, unique, for whatever still refers to it.

One transaction, under the locks of the table and of all that refer to it. A second unique index on
the integer stands before: the old key's goes with the key, and without another one duplicate
integers would get in and ON CONFLICT on it would fail. The way back is the mirror.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, Constraint, Index, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.not_null import NOT_VALID_VERSION, NotNull

KEY_USER = "user of the primary key"
"""Kind of a dependent that is there only as long as the primary key is."""


@dataclass(frozen=True)
class SwapPrimary:
    """`unread` is the evidence that nobody reads by the integer any more (`integer_unread`);
    without it the swap is refused, and the way back never is."""

    kind: ClassVar[str] = "swap_primary"
    loss: ClassVar[str] = ""
    table: TableName
    key: str
    uuid: str
    unread: bool = False

    @property
    def object(self) -> str:
        """The table, as SQL writes it."""
        return qualify(self.table)

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        if relation is None or relation.primary_key == (self.uuid,):
            return ()
        return tuple(self._refusals(relation, catalog))

    def _refusals(self, relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
        if relation.kind == PARTITIONED:
            found = "it is partitioned: an index cannot be made its primary key"
            yield Refusal(self.object, found, "let it stay at keys: references")
        if relation.primary_key != (self.key,):
            found = f"its primary key is ({', '.join(relation.primary_key)}), not {self.key}"
            yield Refusal(self.object, found, "let it stay at keys: alternate")
        if not self.unread:
            yield Refusal(
                f"{self.object}.{quote(self.key)}",
                "there is no evidence that nobody reads by the integer any more",
                "deploy what reads by the UUID, and watch phasegate_key_index_scans_total minus "
                "phasegate_key_own_scans_total stand still",
            )
        yield from self._of_dependents(relation)
        yield from self._of_constraints(relation, catalog)

    def _of_dependents(self, relation: Relation) -> Iterator[Refusal]:
        if relation.replica_identity == "i":
            yield Refusal(
                self.object,
                "its replica identity is an index, which may be the key's",
                f"ALTER TABLE {self.object} REPLICA IDENTITY FULL until the swap is done",
            )
        for one in relation.dependents:
            if one.kind == KEY_USER:
                yield Refusal(
                    one.name,
                    "it depends on the primary key: it groups by the integer alone",
                    f"CREATE OR REPLACE it with every column that it shows in GROUP BY: "
                    f"{one.definition}",
                )
            listed = one.kind == "publication" and one.definition
            if listed and self.uuid not in split_columns(one.definition):
                yield Refusal(
                    f"publication {quote(one.name)}",
                    f"its column list lacks {quote(self.uuid)}: every UPDATE would fail",
                    f"ALTER PUBLICATION {quote(one.name)} SET TABLE … with {quote(self.uuid)}",
                )

    def _of_constraints(self, relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
        for column in (self.key, self.uuid):
            taken = relation.index(self._spare_name(column))
            if taken is not None and taken.valid and taken.columns != (column,):
                yield Refusal(
                    f"{quote(self.table.schema)}.{quote(taken.name.table)}",
                    f"an index of that name is there and is another one: {taken.definition}",
                    "rename it: ALTER INDEX … RENAME TO …",
                )
        for one in relation.constraints:
            if one.type == "p" and one.deferrable:
                found = "it is deferrable: foreign keys and ON CONFLICT cannot use one like it"
                yield Refusal(f"{self.object}, {quote(one.name)}", found, "make it not deferrable")
            if one.type == "u" and one.columns == (self.uuid,):
                yield Refusal(
                    f"{self.object}, {quote(one.name)}",
                    "the UUID's index belongs to a UNIQUE constraint: it cannot become the key",
                    f"index {quote(self.uuid)} by CREATE UNIQUE INDEX CONCURRENTLY, then drop the "
                    "constraint",
                )
        for child, key in self._referring(catalog, self.key):
            name = f"{qualify(child.name)}, {quote(key.name)}"
            if not key.validated:
                yield Refusal(
                    name,
                    "the foreign key is not proved",
                    f"ALTER TABLE {qualify(child.name)} VALIDATE CONSTRAINT {quote(key.name)}",
                )
            if child.kind == PARTITIONED and catalog.version < NOT_VALID_VERSION:
                yield Refusal(
                    name,
                    "before PostgreSQL 18 the foreign key of a partitioned table is proved under "
                    "a lock, and the swap makes it anew",
                    "update the server to 18, or let the table stay at keys: references",
                )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        return self._plan(relation, catalog, self.key, self.uuid)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: the integer becomes the key again, and the UUID keeps a
        unique index. A second index on the integer that no swap has used yet is dropped."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        if relation.primary_key == (self.uuid,) or self._unproved(catalog, self.uuid):
            return self._plan(relation, catalog, self.uuid, self.key)
        spare = relation.index(self._spare_name(self.key))
        if spare is None or spare.constraint or spare.columns != (self.key,):
            return ()
        place = f"{quote(self.table.schema)}.{quote(spare.name.table)}"
        return (self._concurrently(f"drop the index {place}", f"DROP INDEX CONCURRENTLY {place}"),)

    def _plan(self, relation: Relation, catalog: Catalog, old: str, new: str) -> tuple[Action, ...]:
        """From the key `old` to the key `new`; both ways are the same."""
        unproved = tuple(
            self._validate(child, key)
            for child, key in self._referring(catalog, old)
            if not key.validated
        )
        if relation.primary_key == (new,):
            return unproved
        if relation.primary_key != (old,) or relation.column(new) is None:
            return ()
        actions = [*self._plan_index(relation, old, old), *self._plan_index(relation, new, old)]
        actions += NotNull(self.table, new).plan_remaining(catalog)
        serving = self._standing(relation, new)
        index = self._spare_name(new) if serving is None else serving.name.table
        actions.append(self._swap(relation, catalog, (old, new), index))
        return (*actions, *(self._validate(*one) for one in self._referring(catalog, old)))

    def _plan_index(self, relation: Relation, column: str, old: str) -> tuple[Action, ...]:
        found = self._serving(relation, column)
        # A foreign key may refer to a UNIQUE constraint's index; the new key needs a bare one.
        if any(column == old or not one.constraint for one in found):
            return ()
        name = self._spare_name(column)
        place = f"{quote(self.table.schema)}.{quote(name)}"
        create = (
            f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {self.object} ({quote(column)})"
        )
        actions = []
        if relation.index(name) is not None:
            what = f"drop the invalid index {place} that an earlier try left"
            actions.append(self._concurrently(what, f"DROP INDEX CONCURRENTLY {place}"))
        what = f"index {self.object}.{quote(column)}, unique, beside the key"
        return (*actions, self._concurrently(what, create))

    def _swap(
        self, relation: Relation, catalog: Catalog, columns: tuple[str, str], index: str
    ) -> Action:
        old, new = columns
        referring = self._referring(catalog, old)
        names = list(dict.fromkeys([self.table, *(child.name for child, _ in referring)]))
        [key] = [one.name for one in relation.constraints if one.type == "p"]
        statements = [f"LOCK TABLE {', '.join(map(qualify, names))} IN ACCESS EXCLUSIVE MODE"]
        statements += [
            f"ALTER TABLE {qualify(child.name)} DROP CONSTRAINT {quote(one.name)}"
            for child, one in referring
        ]
        statements += [
            f"ALTER TABLE {self.object} DROP CONSTRAINT {quote(key)}",
            f"ALTER TABLE {self.object} ADD CONSTRAINT {quote(key)} "
            f"PRIMARY KEY USING INDEX {quote(index)}",
        ]
        statements += [
            f"ALTER TABLE {qualify(child.name)} ADD CONSTRAINT {quote(one.name)} "
            f"{one.definition.removesuffix(' NOT VALID')} NOT VALID"
            for child, one in referring
        ]
        return Action(
            f"make {quote(new)} the primary key of {self.object} instead of {quote(old)}",
            tuple(statements),
            locks=tuple(Lock(LockMode.ACCESS_EXCLUSIVE, qualify(name)) for name in names),
        )

    def _validate(self, child: Relation, key: Constraint) -> Action:
        table = qualify(child.name)
        return Action(
            f"prove the foreign key {quote(key.name)} of {table} again",
            (f"ALTER TABLE {table} VALIDATE CONSTRAINT {quote(key.name)}",),
            Patience.SCAN,
            locks=(Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),),
            scans=(table, self.object),
            rows=max(0, child.rows),
        )

    def _concurrently(self, what: str, statement: str) -> Action:
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, self.object),)
        scans = () if statement.startswith("DROP") else (self.object,)
        return Action(
            what, (statement,), Patience.CONCURRENT, transactional=False, locks=locks, scans=scans
        )

    def _referring(self, catalog: Catalog, column: str) -> tuple[tuple[Relation, Constraint], ...]:
        """The foreign keys that need the key's index, or another one, on that column."""
        return tuple(
            one for one in catalog.references_to(self.table) if one[1].referenced == (column,)
        )

    def _unproved(self, catalog: Catalog, column: str) -> bool:
        return any(not key.validated for _, key in self._referring(catalog, column))

    def _standing(self, relation: Relation, column: str) -> Index | None:
        """A unique index that is no primary key's, and could become one's."""
        found = self._serving(relation, column)
        return next((one for one in found if not one.constraint), None)

    def _serving(self, relation: Relation, column: str) -> Iterator[Index]:
        """Unique indexes that stay when the primary key goes."""
        return (
            one
            for one in relation.indexes
            if one.columns == (column,)
            and one.unique
            and one.valid
            and one.ready
            and one.immediate
            and not one.partial
            and not one.primary
            and one.method == "btree"
        )

    def _spare_name(self, column: str) -> str:
        return derive(self.table.table, column, "key")


def find_integer_key(catalog: Catalog, table: TableName, uuid: str) -> str:
    """The integer that is the primary key, or was before the swap; empty for none."""
    relation = catalog.get(table)
    if relation is None:
        return ""
    if relation.primary_key != (uuid,):
        return relation.primary_key[0] if len(relation.primary_key) == 1 else ""
    spare = (
        one.columns[0] or ""
        for one in relation.indexes
        if one.unique and len(one.columns) == 1 and one.columns != (uuid,)
        if one.name.table == derive(table.table, one.columns[0] or "", "key")
    )
    return next(spare, "")


def integer_unread(raw: float | None, own: float | None, explained: float = 0.0) -> bool:
    """Whether nobody read by the integer in the window that was watched.

    `raw` is the increase of phasegate_key_index_scans_total in it, `own` that of
    phasegate_key_own_scans_total, `explained` that of phasegate_key_foreign_key_scans_bound_total,
    where checks of the integers' foreign keys are to be forgiven. Unknown is no evidence.
    """
    if raw is None or own is None:
        return False
    return raw - own - explained <= 0


def split_columns(listed: str) -> list[str]:
    """The names in a list as quote_ident writes them, bare."""
    names, at = [], 0
    while at < len(listed):
        if listed[at] == '"':
            end = at + 1
            while listed[end : end + 1] != '"' or listed[end + 1 : end + 2] == '"':
                end += 2 if listed[end : end + 1] == '"' else 1
            names.append(listed[at + 1 : end].replace('""', '"'))
            at = end + 3
        else:
            name, _, _ = listed[at:].partition(", ")
            names.append(name)
            at += len(name) + 2
    return names
