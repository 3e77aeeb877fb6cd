"""NOT NULL without a scan under a strong lock: announced, proved beside the traffic, then set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Constraint, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.uuid_column import UuidColumn

NOT_VALID_VERSION = 180_000
"""From here on a NOT NULL constraint itself can be added NOT VALID."""


@dataclass(frozen=True)
class NotNull:
    """Of one column."""

    kind: ClassVar[str] = "not_null"
    loss: ClassVar[str] = ""
    table: TableName
    column: str

    @property
    def object(self) -> str:
        """The column, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.column)}"

    @property
    def name(self) -> str:
        """Of the constraint."""
        return derive(self.table.table, self.column, "not_null")

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        taken = None if relation is None else relation.constraint(self.name)
        if taken is None or self._is_ours(taken, catalog):
            return ()
        found = f"a constraint of that name is there and is another one: {taken.definition}"
        remedy = f"ALTER TABLE {qualify(self.table)} RENAME CONSTRAINT {quote(self.name)} TO …"
        return (Refusal(f"{qualify(self.table)}, {quote(self.name)}", found, remedy),)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        if catalog.version >= NOT_VALID_VERSION:
            return self._from_18(relation)
        return self._before_18(relation)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: the guide's gradual roll-back."""
        relation = catalog.get(self.table)
        column = None if relation is None else relation.column(self.column)
        if relation is None or column is None:
            return ()
        statements = []
        table, left = qualify(self.table), self._check(relation)
        if left is not None:
            statements.append(f"ALTER TABLE {table} DROP CONSTRAINT {quote(self.name)}")
        kept = UuidColumn(self.table, self.column).was_not_null(catalog)
        if column.not_null and not kept and self.column not in relation.primary_key:
            name = quote(self.column)
            statements.append(f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")
        return self._send(f"allow NULL in {self.object}", *statements) if statements else ()

    def _from_18(self, relation: Relation) -> tuple[Action, ...]:
        table, name = qualify(self.table), quote(self.name)
        found = next(
            (c for c in relation.constraints if c.type == "n" and c.columns == (self.column,)), None
        )
        if found is not None and found.validated:
            return ()
        actions: tuple[Action, ...] = ()
        if found is None:
            add = f"ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {quote(self.column)}"
            # Where the server was older when this began.
            drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
            old = (drop,) if self._check(relation) is not None else ()
            what = f"announce that {self.object} is not null"
            actions = self._send(what, *old, f"{add} NOT VALID")
        else:
            name = quote(found.name)
        return (*actions, self._validate(name, relation))

    def _before_18(self, relation: Relation) -> tuple[Action, ...]:
        table, name, column = qualify(self.table), quote(self.name), quote(self.column)
        stands, left = relation.column(self.column), self._check(relation)
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
        if stands is not None and stands.not_null:
            if left is None:
                return ()
            return self._send(f"drop the constraint that proved {self.object}", drop)
        actions: tuple[Action, ...] = ()
        if left is None:
            add = f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL)"
            actions = self._send(f"announce that {self.object} is not null", f"{add} NOT VALID")
        if left is None or not left.validated:
            actions += (self._validate(name, relation),)
        set_it = f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"
        # The proved constraint spares it the scan.
        return (*actions, *self._send(f"set {self.object} NOT NULL", set_it, drop))

    def _send(self, what: str, *statements: str) -> tuple[Action, ...]:
        locks = (Lock(LockMode.ACCESS_EXCLUSIVE, qualify(self.table)),)
        return (Action(what, statements, locks=locks),)

    def _validate(self, name: str, relation: Relation) -> Action:
        table = qualify(self.table)
        return Action(
            f"prove that {self.object} is not null",
            (f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}",),
            Patience.SCAN,
            locks=(Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),),
            scans=(table,),
            rows=max(0, relation.rows),
            remedy=f"these are they: SELECT * FROM {table} WHERE {quote(self.column)} IS NULL; "
            "give each its value, and start again",
        )

    def _is_ours(self, taken: Constraint, catalog: Catalog) -> bool:
        if catalog.version >= NOT_VALID_VERSION and taken.type == "n":
            return taken.columns == (self.column,)
        return self._proves(taken)

    def _proves(self, taken: Constraint) -> bool:
        column = re.escape(self.column.replace('"', '""'))
        proof = rf"""CHECK \(\(("?){column}\1 IS NOT NULL\)\)( NOT VALID)?"""
        return taken.type == "c" and re.fullmatch(proof, taken.definition) is not None

    def _check(self, relation: Relation) -> Constraint | None:
        """The CHECK of ours that is there, before 18 or since then."""
        found = relation.constraint(self.name)
        return found if found is not None and self._proves(found) else None
