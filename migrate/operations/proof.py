"""Proof, not counts of what was done: catalog and data are asked anew whether all stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action, ChangesNoSchema, Operation, Patience
from phasegate.migrate.ranges import count_left, leaves


@dataclass(frozen=True)
class Proof(ChangesNoSchema):
    """Of one table: each of `stands` has nothing left to do, no row lacks its UUID, none is there
    twice. Reads the whole table under the weakest lock."""

    kind: ClassVar[str] = "proof"
    repeats: ClassVar[bool] = True
    table: TableName
    column: str
    stands: tuple[Operation, ...] = ()

    @property
    def object(self) -> str:
        """The column, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.column)}"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the proof."""
        relation = catalog.get(self.table)
        rows = 0 if relation is None else max(0, relation.rows)
        what = f"prove that {self.object} is whole"
        scans = (qualify(self.table),)
        found = Action(
            what, patience=Patience.SCAN, work=self, scans=scans, rows=rows, changes=False
        )
        return (found,)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed with everything that does not hold."""
        with context.connect(Patience.SCAN) as connection:
            problems = [*self._of_catalog(context.catalog)]
            counts = self._count(connection, context.catalog)
        problems += [f"{count:,} rows {what}" for what, count in counts.items() if count]
        if problems:
            raise StepFailed(context.step, f"{self.object} is not whole: {'; '.join(problems)}")
        return {"proved": [*counts, *(f"{one.kind} {one.object}" for one in self.stands)]}

    def _of_catalog(self, catalog: Catalog) -> Iterator[str]:
        for operation in self.stands:
            for action in operation.plan_remaining(catalog):
                if action.work is None:
                    yield f"is left: {action.what}"

    def _count(self, connection: Connection, catalog: Catalog) -> dict[str, int]:
        column = quote(self.column)
        missing = sum(
            count_left(
                connection, f"SELECT count(*) FROM ONLY {qualify(one)} WHERE {column} IS NULL"
            )
            for one in leaves(catalog, self.table)
        )
        twice = count_left(
            connection,
            f"SELECT count(*) FROM (SELECT FROM {qualify(self.table)} WHERE {column} IS NOT NULL "
            f"GROUP BY {column} HAVING count(*) > 1) AS twice",
        )
        return {"lack their UUID": missing, "share their UUID": twice}
