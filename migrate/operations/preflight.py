"""Whether what a migration needs is there: looked at once, journalled, judged by its criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.findings import render_findings
from phasegate.migrate.model import Action, ChangesNoSchema, Patience
from phasegate.migrate.preflight import fetch_findings


@dataclass(frozen=True)
class Preflight(ChangesNoSchema):
    """Every check, printed; what fails closes the gate by the criterion `preflight`. After the
    backup, whose age it looks at."""

    kind: ClassVar[str] = "preflight"
    repeats: ClassVar[bool] = True
    tables: tuple[TableName, ...] = ()

    @property
    def object(self) -> str:
        """What it looks at."""
        return "servers and tables"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the look."""
        return (Action("look whether all is there", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; a check that fails raises nothing here."""
        identity = context.journal.identity
        with context.connect(Patience.BATCH) as connection:
            findings = fetch_findings(connection, context.settings, self.tables, identity)
        for line in render_findings(findings):
            context.say(line)
        checks = {one.name: one.facts() for one in findings}
        context.journal.write(Event.PREFLIGHT, step=context.step, facts={"checks": checks})
        return {"checks": {one.name: one.value for one in findings}}
