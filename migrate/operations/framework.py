"""The framework's own migrations, run by the user's hook, and its status table read afterwards.

A framework's command may end with 0 and leave a migration behind; its table knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.errors import StepFailed
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.frameworks import fetch_states
from phasegate.migrate.model import Action, ChangesNoSchema, Patience
from phasegate.migrate.operations.hook import RunHook

HOOK = "framework_migrate"


@dataclass(frozen=True)
class FrameworkMigrate(ChangesNoSchema):
    """Its command is the hook `framework_migrate`; idempotent, as such commands are."""

    kind: ClassVar[str] = "framework"

    @property
    def object(self) -> str:
        """What it runs."""
        return HOOK

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always: only the framework knows what it has left."""
        return (Action("run the framework's migrations and read its status", work=self),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed where the hook fails or leaves something unfinished."""
        facts = dict(RunHook(HOOK).run(context))
        with context.connect(Patience.BATCH) as connection:
            states = fetch_states(connection)
        unfinished = [str(state) for state in states if state.unfinished]
        if unfinished:
            told = "; ".join(unfinished)
            raise StepFailed(context.step, f"the hook {HOOK} succeeded, and unfinished is {told}")
        return facts | {"frameworks": [state.framework.name for state in states]}
