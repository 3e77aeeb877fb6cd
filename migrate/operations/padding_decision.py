"""The guide's reordering of columns: measured, decided and said; no table is rewritten for it.

Another order is a rewrite of the whole table, and most often spares a few percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, ChangesNoSchema, Patience
from phasegate.migrate.operations.reorder import describe_decision, measure_padding


@dataclass(frozen=True)
class PaddingDecision(ChangesNoSchema):
    """Of one table."""

    kind: ClassVar[str] = "padding"
    table: TableName

    @property
    def object(self) -> str:
        """The table, as SQL writes it."""
        return qualify(self.table)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the look, of a table that has rows of its own."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind == PARTITIONED:
            return ()
        return (Action(f"measure the padding of {self.object}", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        with context.connect(Patience.BATCH) as connection:
            facts = measure_padding(connection, self.table)
        decision = describe_decision(self.table, facts)
        context.say(decision)
        return {"decision": decision, "saved": facts.saved}
