"""One hook of the user's as an operation: that it has been, only the journal knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.errors import StepFailed
from phasegate.contract.migration import Event
from phasegate.contract.settings_migrate import Hook
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.hooks import run_hook
from phasegate.migrate.model import Action, ChangesNoSchema


@dataclass(frozen=True)
class RunHook(ChangesNoSchema):
    """The hook of that name in `migrate.hooks`; idempotent, as a kill may let it run again."""

    kind: ClassVar[str] = "hook"
    name: str

    @property
    def object(self) -> str:
        """Its name."""
        return self.name

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the hook."""
        return (Action(f"run the hook {self.name}", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed for a failure, or where its time is over."""
        hook: Hook | None = getattr(context.settings.migrate.hooks, self.name)
        if hook is None:
            return {"configured": False}
        result = run_hook(self.name, hook, context.control, context.step)
        facts = {"hook": self.name, **result._asdict()}
        context.journal.write(
            Event.HOOK, step=context.step, what=self.name, seconds=result.seconds, facts=facts
        )
        for line in result.output.splitlines()[-20:]:
            context.say(f"{self.name}: {line}")
        if result.why:
            raise StepFailed(context.step, f"the hook {self.name} {result.why}")
        return facts
