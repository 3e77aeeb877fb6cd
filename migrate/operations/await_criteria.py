"""A part of a gate in the middle of a phase: what follows must not begin before it has passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.model import Action, ChangesNoSchema


@dataclass(frozen=True)
class AwaitCriteria(ChangesNoSchema):
    """Wait for these criteria of the phase's gate, on evidence since the last change."""

    kind: ClassVar[str] = "await_criteria"
    criteria: tuple[str, ...]

    @property
    def object(self) -> str:
        """The criteria."""
        return ", ".join(self.criteria)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the waiting; that it has been, the journal knows."""
        return (Action(f"wait until {self.object} pass", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; GateClosed where they do not pass."""
        context.ask(self.criteria)
        return {"criteria": list(self.criteria)}
