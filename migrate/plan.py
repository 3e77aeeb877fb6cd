"""What a migration would do, as facts: each statement, its locks, its size, its way back.

Pure: made of the steps and the catalog. What a clone has shown comes in afterwards, by `measured`;
nothing here knows seconds, which only a rehearsal on like data can tell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from phasegate.contract.errors import PlanRefused
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Dependent, Relation
from phasegate.migrate.checksum import checksum_step
from phasegate.migrate.findings import evaluate_version
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Operation, Refusal, Step
from phasegate.migrate.plan_size import Size, estimate_size
from phasegate.migrate.refusals import refuse_unowned

WORK_NOTE = "a program's work, with no statement to measure"
_CHANGES = frozenset(LockMode) - {LockMode.ACCESS_SHARE, LockMode.ROW_SHARE, LockMode.ROW_EXCLUSIVE}


@dataclass(frozen=True)
class MeasuredLocks:
    """What a clone has shown of one action. `locks`: the strongest on each relation that was there
    before; `rewrites`, `scans` and `builds` are what the server said that it rewrites, verifies
    row by row, and builds; `server` says on what it was measured."""

    locks: tuple[Lock, ...]
    rewrites: tuple[str, ...]
    scans: tuple[str, ...]
    builds: tuple[str, ...]
    server: str


@dataclass(frozen=True)
class PlannedAction:
    """One action that is left. Without `measured` its locks are by table, and `note` says why."""

    action: Action
    size: Size
    measured: MeasuredLocks | None = None
    note: str = ""

    @property
    def locks(self) -> tuple[Lock, ...]:
        """As measured, else by table."""
        return self.action.locks if self.measured is None else self.measured.locks

    @property
    def rewrites(self) -> tuple[str, ...]:
        """Tables that are written anew, as measured, else by table."""
        return self.action.rewrites if self.measured is None else self.measured.rewrites

    @property
    def scans(self) -> tuple[str, ...]:
        """Tables that are read whole: an empty clone says so for checks of rows alone."""
        found = () if self.measured is None else self.measured.scans
        return tuple(dict.fromkeys([*self.action.scans, *found]))


@dataclass(frozen=True)
class PlannedOperation:
    """What is left of one operation, what undoing it loses, and the way back once it is done, as
    a clone has gone it: None where no clone could tell, empty where there is none."""

    operation: Operation
    actions: tuple[PlannedAction, ...]
    loss: str
    undo: tuple[PlannedAction, ...] | None = None


@dataclass(frozen=True)
class PlannedStep:
    """One step, with the checksum that the journal will hold. Nothing is left of one without
    actions."""

    step: Step
    checksum: str
    operations: tuple[PlannedOperation, ...]

    @property
    def actions(self) -> tuple[PlannedAction, ...]:
        """All that is left of it, in order."""
        return tuple(action for one in self.operations for action in one.actions)


@dataclass(frozen=True)
class DependentOf:
    """`dependent` names, or stands on, the table `on` that the plan changes."""

    on: str
    dependent: Dependent


@dataclass(frozen=True)
class Plan:
    """`version` is server_version_num; `free_bytes` is needed on the data's file system beside
    what is there. `digest` tells two plans apart: SHA-256 of all that would be sent."""

    version: int
    database: str
    role: str
    steps: tuple[PlannedStep, ...]
    refusals: tuple[Refusal, ...]
    dependents: tuple[DependentOf, ...]
    tables: tuple[Relation, ...]
    event_triggers: tuple[str, ...]
    free_bytes: int
    digest: str
    lacks: tuple[str, ...] = ()

    @property
    def actions(self) -> tuple[PlannedAction, ...]:
        """All that is left, in order."""
        return tuple(action for step in self.steps for action in step.actions)

    @property
    def measured_on(self) -> str:
        """What showed the locks that are measured; empty where none is."""
        found = [one.measured.server for one in self.actions if one.measured is not None]
        return found[0] if found else ""


def make_plan(steps: Sequence[Step], catalog: Catalog, others: Sequence[Refusal] = ()) -> Plan:
    """What is left of these steps, and all that speaks against them. Never raises for a refusal.

    `others` are refusals of what no catalog tells.
    """
    planned = tuple(_plan_step(step, catalog) for step in steps)
    changed = _find_changed(planned, catalog)
    return Plan(
        version=catalog.version,
        database=catalog.database,
        role=catalog.role,
        steps=planned,
        refusals=(*others, *find_refusals(steps, catalog)),
        dependents=tuple(_find_dependents(changed, catalog)),
        tables=changed,
        event_triggers=catalog.event_triggers,
        free_bytes=_sum_free(planned),
        digest=_digest(planned, catalog),
    )


@dataclass(frozen=True)
class Shown:
    """What a clone has shown of one operation: its actions with their locks, and its way back."""

    actions: tuple[PlannedAction, ...]
    undo: tuple[PlannedAction, ...] | None = None


def with_measurements(plan: Plan, shown: Sequence[Shown], lacks: tuple[str, ...] = ()) -> Plan:
    """The plan with what a clone has shown of each operation in turn."""
    found = iter(shown)

    def of(planned: PlannedOperation) -> PlannedOperation:
        seen = next(found)
        return dataclasses.replace(planned, actions=seen.actions, undo=seen.undo)

    steps = tuple(
        dataclasses.replace(step, operations=tuple(map(of, step.operations))) for step in plan.steps
    )
    return dataclasses.replace(plan, steps=steps, lacks=lacks)


def plan_action(action: Action, table: TableName | None, catalog: Catalog) -> PlannedAction:
    """One action with its size; its locks are by table."""
    note = "not measured" if action.statements else WORK_NOTE
    return PlannedAction(action, estimate_size(action, table, catalog), note=note)


def with_shown(planned: PlannedAction, shown: MeasuredLocks | str) -> PlannedAction:
    """One action with its locks, or why they are not known."""
    if isinstance(shown, str):
        return dataclasses.replace(planned, measured=None, note=shown)
    return dataclasses.replace(planned, measured=shown, note="")


def find_refusals(steps: Iterable[Step], catalog: Catalog) -> tuple[Refusal, ...]:
    """Everything at once, each once: of the server first, then of each operation."""
    operations = [operation for step in steps for operation in step.operations]
    found = list(_refuse_server(catalog))
    for operation in operations:
        found += operation.find_refusals(catalog)
    for operation in operations:
        table = table_of(operation)
        relation = None if table is None else catalog.get(table)
        if relation is not None:
            found += refuse_unowned(relation, catalog)
    return tuple(dict.fromkeys(found))


def describe_refusal(refusal: Refusal) -> str:
    """One line."""
    return f"{refusal.object}: {refusal.found}; {refusal.remedy}"


def refuse(plan: Plan) -> None:
    """PlanRefused where anything speaks against it."""
    if plan.refusals:
        raise PlanRefused(tuple(describe_refusal(one) for one in plan.refusals))


def _plan_step(step: Step, catalog: Catalog) -> PlannedStep:
    operations = tuple(
        PlannedOperation(
            operation,
            tuple(
                plan_action(action, table_of(operation), catalog)
                for action in operation.plan_remaining(catalog)
            ),
            operation.loss,
        )
        for operation in step.operations
    )
    return PlannedStep(step, checksum_step(step), operations)


def table_of(operation: Operation) -> TableName | None:
    """The table that most operations are about; the protocol does not ask for one."""
    reference = getattr(operation, "reference", None)
    table = getattr(operation, "table", None) or getattr(reference, "child", None)
    return table if isinstance(table, TableName) else None


def _refuse_server(catalog: Catalog) -> Iterator[Refusal]:
    version = evaluate_version(catalog.version)
    if version.value != 1.0:
        found = f"it is {version.found}, and {version.needed} is needed"
        yield Refusal(f"server of {catalog.database}", found, version.remedy)
    if catalog.standby:
        yield Refusal(
            f"server of {catalog.database}",
            "it is a standby, which only replays its primary",
            "name the primary in database.url",
        )


def _find_changed(steps: Iterable[PlannedStep], catalog: Catalog) -> tuple[Relation, ...]:
    named = set()
    for step in steps:
        for one in step.operations:
            if not one.actions:
                continue
            named |= {qualify(table)} if (table := table_of(one.operation)) else set()
            for planned in one.actions:
                named |= {lock.relation for lock in planned.action.locks if lock.mode in _CHANGES}
    return tuple(
        relation for name, relation in sorted(catalog.relations.items()) if qualify(name) in named
    )


def _find_dependents(changed: Iterable[Relation], catalog: Catalog) -> Iterator[DependentOf]:
    for relation in changed:
        name = qualify(relation.name)
        for dependent in relation.dependents:
            yield DependentOf(name, dependent)
        for child, constraint in catalog.references_to(relation.name):
            at = f"{qualify(child.name)}, {quote(constraint.name)}"
            yield DependentOf(name, Dependent("foreign key", at, constraint.definition))
        for trigger in relation.triggers:
            if not trigger.cloned and trigger.function.schema != "phasegate":
                yield DependentOf(name, Dependent("trigger", trigger.name, trigger.definition))


def _sum_free(steps: Iterable[PlannedStep]) -> int:
    """What stays, of all; and of what is only needed meanwhile the largest, since one action comes
    after the other."""
    sizes = [planned.size for step in steps for planned in step.actions]
    stays = sum(size.stays_bytes for size in sizes)
    return stays + max((size.meanwhile_bytes for size in sizes), default=0)


def _digest(steps: Iterable[PlannedStep], catalog: Catalog) -> str:
    told = [
        [step.step.phase, step.step.name, step.checksum]
        + [[planned.action.what, *planned.action.statements] for planned in step.actions]
        for step in steps
    ]
    text = json.dumps([catalog.version, catalog.database, told], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
