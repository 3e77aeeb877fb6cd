"""The guide's reordering of columns: measured, decided and said, before anything is rewritten.

Another order is a rewrite of the whole table, and most often spares a few percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation
from phasegate.migrate.context import Context
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, ChangesNoSchema
from phasegate.migrate.operations.reorder import describe_decision, measure_padding


@dataclass(frozen=True)
class PaddingDecision(ChangesNoSchema):
    """Of one table."""

    kind: ClassVar[str] = "padding"
    asked: ClassVar[bool] = False
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
        what = f"measure the padding of {self.object}; now: {self._decide(relation)}"
        return (Action(what, work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        relation = context.catalog.relations[self.table]
        decision = self._decide(relation)
        context.say(decision)
        return {"decision": decision, "saved": measure_padding(relation).saved}

    def _decide(self, relation: Relation) -> str:
        return describe_decision(self.table, measure_padding(relation), asked=self.asked)


@dataclass(frozen=True)
class AskedDecision(PaddingDecision):
    """Of a table for which a rewrite is wanted."""

    asked: ClassVar[bool] = True
