"""The parent's UUID for every row that refers to it, by ranges of pages; and the proof of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.errors import StepFailed
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import (
    Action,
    ChangesNoSchema,
    Operation,
    Patience,
    Refusal,
)
from phasegate.migrate.operations.backfill import populate, refuse_rows
from phasegate.migrate.ranges import Populate, RangeUpdate
from phasegate.migrate.references import Reference, only

SHOWN = 20
"""Unequal rows that a failure lists."""


@dataclass(frozen=True)
class ReferenceBackfill:
    """`accepted` names triggers of others that may fire for every row. The parent has its UUIDs
    and the triggers stand: what is written meanwhile is right by itself."""

    kind: ClassVar[str] = "reference_backfill"
    loss: ClassVar[str] = ""
    reference: Reference
    accepted: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return self.reference.object

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        if not self.plan_remaining(catalog):
            return ()
        return tuple(refuse_rows(self.reference.tables(catalog), catalog, self.accepted))

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`: nothing once the foreign key of the UUIDs, which
        comes after, is proved; from there on the triggers keep all equal."""
        relation, key = (
            catalog.get(self.reference.child),
            self.reference.find_uuid_key(catalog),
        )
        if relation is None or (key is not None and key.validated):
            return ()
        what = f"give every row of {qualify(relation.name)} its {quote(self.reference.uuid)}"
        names = self.reference.tables(catalog)
        return (populate(what, names, catalog, Populate(self.make_work)),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """The column goes with what added it."""
        return ()

    def make_work(self, catalog: Catalog) -> RangeUpdate:
        """The loop: the UUID is looked up row by row, which costs the same on every range; a join
        would read the whole parent for each."""
        one = self.reference
        column, uuid = quote(one.column), quote(one.uuid)
        key, parent_uuid, parent = quote(one.key), quote(one.parent_uuid), only(one.parent, catalog)
        found = f"(SELECT p.{parent_uuid} FROM {parent} AS p WHERE p.{key} = t.{column})"
        return RangeUpdate(
            step_object=f"{self.kind} {one.uuid}",
            tables=one.tables(catalog),
            update=lambda table, pages: (
                f"UPDATE ONLY {table} AS t SET {uuid} = {found} WHERE {pages} "
                f"AND t.{column} IS NOT NULL AND t.{uuid} IS DISTINCT FROM {found}"
            ),
            left=lambda table: (
                f"SELECT count(*) FROM ONLY {table} AS t JOIN {parent} AS p "
                f"ON p.{key} = t.{column} WHERE t.{uuid} IS DISTINCT FROM p.{parent_uuid}"
            ),
        )


@dataclass(frozen=True)
class ReferenceProof(ChangesNoSchema):
    """Each of `stands` has nothing left to do, and in every row of the child both values name the
    same row of the parent. Reads both tables under the weakest lock."""

    kind: ClassVar[str] = "reference_proof"
    repeats: ClassVar[bool] = True
    reference: Reference
    stands: tuple[Operation, ...] = ()

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return self.reference.object

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the proof."""
        relation = catalog.get(self.reference.child)
        rows = 0 if relation is None else max(0, relation.rows)
        what = f"prove that {self.object} names the same rows as the integers do"
        scans = (qualify(self.reference.child), qualify(self.reference.parent))
        return (Action(what, patience=Patience.SCAN, work=self, scans=scans, rows=rows),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed with everything that does not hold."""
        problems = [
            f"is left: {action.what}"
            for operation in self.stands
            for action in operation.plan_remaining(context.catalog)
            if action.work is None
        ]
        with context.connect(Patience.SCAN) as connection:
            unequal = find_unequal(connection, self.reference, context.catalog)
        problems += [
            f"{column} = {integer} has {uuid or 'no UUID'}, its parent "
            f"{'is missing' if not there else expected or 'has none'}"
            for column, integer, uuid, expected, there in unequal
        ]
        if problems:
            raise StepFailed(context.step, f"{self.object} is not whole: {'; '.join(problems)}")
        return {"proved": [self.object, *(f"{one.kind} {one.object}" for one in self.stands)]}


def find_unequal(
    connection: Connection, reference: Reference, catalog: Catalog, limit: int = SHOWN
) -> list[tuple[str, str, str, str, bool]]:
    """Rows whose two values do not name the same row of the parent, at most `limit`.

    Each is the integer's column, its value, the UUID, the UUID that it should be (all as text,
    empty for NULL) and whether the parent is there at all. Under row_security = off, so an error
    and never an empty list where rows are hidden. Raises psycopg.Error.
    """
    one = reference
    column, uuid = f"t.{quote(one.column)}", f"t.{quote(one.uuid)}"
    key, expected = f"p.{quote(one.key)}", f"p.{quote(one.parent_uuid)}"
    query = (
        f"SELECT COALESCE({column}::text, ''), COALESCE({uuid}::text, ''),"
        f" COALESCE({expected}::text, ''), {key} IS NOT NULL"
        f" FROM {only(one.child, catalog)} AS t"
        f" LEFT JOIN {only(one.parent, catalog)} AS p ON {key} = {column}"
        f" WHERE {uuid} IS DISTINCT FROM {expected}"
        f" OR {column} IS NOT NULL AND {key} IS NULL LIMIT {limit}"
    )
    return [(quote(one.column), *row) for row in connection.execute(query.encode()).fetchall()]
