"""Whether what a migration needs is there: looked at once, journalled, judged by its criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.findings import evaluate_version, render_findings
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, Patience, Refusal
from phasegate.migrate.preflight import fetch_findings


@dataclass(frozen=True)
class Preflight:
    """Every check, printed; what fails closes the gate by the criterion `preflight`. After the
    backup, whose age it looks at."""

    kind: ClassVar[str] = "preflight"
    loss: ClassVar[str] = ""
    repeats: ClassVar[bool] = True
    tables: tuple[TableName, ...] = ()

    @property
    def object(self) -> str:
        """What it looks at."""
        return "servers and tables"

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """A version that would do harm, and tables that we have no right to change."""
        found = []
        version = evaluate_version(catalog.version)
        if version.value != 1.0:
            found.append(Refusal("the server", version.found, version.remedy))
        for name in self.tables:
            relation = catalog.get(name)
            if relation is None or catalog.superuser:
                continue
            if relation.owner != catalog.role and relation.owner not in catalog.member_of:
                remedy = f"GRANT the role {relation.owner} to {catalog.role}"
                found.append(Refusal(qualify(name), f"its owner is {relation.owner}", remedy))
        return tuple(found)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the look."""
        return (Action("look whether all is there", work=self, changes=False),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """There is nothing to take back."""
        return ()

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
