"""For a person who has to answer for it: each statement, what it locks, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from phasegate.contract.quantities import Unit, format_value
from phasegate.migrate.model import Action
from phasegate.migrate.plan import (
    Plan,
    PlannedAction,
    PlannedOperation,
    PlannedStep,
    describe_refusal,
)
from phasegate.migrate.plan_size import Size
from phasegate.migrate.plan_words import (
    CONTRACT,
    CONTRACT_EVIDENCE,
    describe_patience,
    describe_seconds,
    describe_source,
)

_LABEL = 10


def render(plan: Plan, seconds: Mapping[str, float] | None = None) -> str:
    """Lines for a terminal. `seconds` is what a rehearsal took, by step."""
    lines = [*_head(plan)]
    for phase, steps in groupby(plan.steps, key=lambda one: one.step.phase):
        lines += ["", f"phase {phase}"]
        for step in steps:
            lines += ["", *_indent(_step(step, (seconds or {}).get(step.step.name)))]
    lines += ["", *_dependents(plan), "", *_contract()]
    return "\n".join(lines).rstrip() + "\n"


def _head(plan: Plan) -> Iterator[str]:
    actions = plan.actions
    measured = sum(one.measured is not None for one in actions)
    yield f"plan for database {plan.database}, PostgreSQL {_version(plan.version)}"
    yield f"role {plan.role}; digest {plan.digest[:16]}"
    yield (
        f"{len(actions)} actions are left; the locks of {measured} are measured, of "
        f"{len(actions) - measured} told by table, as the documentation has them"
    )
    if plan.measured_on:
        yield f"measured: seen on {plan.measured_on}; its time is no prediction, so none is given"
    elif actions:
        yield "no clone: what only shows once an earlier step is done is missing here"
    yield from (f"the clone lacks, so that locks on it are not seen: {one}" for one in plan.lacks)
    yield f"free disk needed: {_bytes(plan.free_bytes)}, at most"
    yield (
        "each action is done when the catalog says so; it is asked before each, so a second run "
        "sends nothing"
    )
    if plan.event_triggers:
        yield f"event triggers fire for what is sent: {', '.join(plan.event_triggers)}"
    if plan.tables:
        yield ""
        yield "tables that change"
        for one in plan.tables:
            rows = f"about {one.rows:,} rows" if one.rows >= 0 else "rows unknown: never analyzed"
            yield f"  {one.name}: {rows}, {_bytes(one.bytes)} with indexes, owner {one.owner}"
    if plan.refusals:
        yield ""
        yield "refused: nothing can begin before this is put right"
        yield from (f"  {describe_refusal(one)}" for one in plan.refusals)


def _bytes(count: int) -> str:
    return format_value(count, Unit.BYTES)


def _version(number: int) -> str:
    return f"{number // 10_000}.{number % 10_000}"


def _step(step: PlannedStep, seconds: float | None) -> Iterator[str]:
    yield f"{step.step.name}: {step.step.title}"
    if not step.actions:
        yield "  nothing is left to do"
        return
    yield f"  {'seconds':{_LABEL}}{describe_seconds(seconds)}"
    for operation in step.operations:
        if operation.actions:
            yield from _indent(_operation(operation))


def _operation(operation: PlannedOperation) -> Iterator[str]:
    yield f"{operation.operation.kind} {operation.operation.object}"
    for planned in operation.actions:
        yield from _indent(_action(planned))
    yield from _indent(_undo(operation))


def _action(planned: PlannedAction) -> Iterator[str]:
    action = planned.action
    yield f"- {action.what}"
    yield from _statements(action)
    yield _locks(planned)
    if planned.measured is not None and set(action.locks) - set(planned.locks):
        told = ", ".join(f"{lock.mode} on {lock.relation}" for lock in action.locks)
        yield _fact("", f"{told} (by table)")
    size = planned.size
    rows = f", about {size.rows:,} rows" if size.rows else ""
    scans = f"{', '.join(planned.scans)} whole{rows}" if planned.scans else "no table whole"
    yield _fact("reads", scans)
    yield _fact("rewrites", ", ".join(planned.rewrites) or "no table")
    if planned.measured is not None and planned.measured.builds:
        yield _fact("builds", ", ".join(planned.measured.builds))
    if size.stays_bytes or size.meanwhile_bytes or size.wal_bytes:
        yield _fact("writes", _describe_size(size))
    yield _fact("waits", describe_patience(action.patience))


def _locks(planned: PlannedAction) -> str:
    locks = ", ".join(f"{lock.mode} on {lock.relation}" for lock in planned.locks) or "none"
    return _fact("locks", f"{locks} ({describe_source(planned)})")


def _describe_size(size: Size) -> str:
    parts = [f"at most {_bytes(size.stays_bytes)} more on disk"]
    if size.meanwhile_bytes:
        parts.append(f"{_bytes(size.meanwhile_bytes)} more meanwhile")
    parts.append(f"{_bytes(size.wal_bytes)} of WAL")
    unknown = "" if size.known else " (a table was never analyzed: more is possible)"
    return ", ".join(parts) + unknown


def _undo(operation: PlannedOperation) -> Iterator[str]:
    lost = f"loses {operation.loss}" if operation.loss else "loses nothing"
    if operation.undo is None:
        yield f"undo: asked of the catalog once it is done; {lost}"
    elif not operation.undo:
        yield "undo: nothing to take back"
    else:
        yield f"undo: {'; '.join(one.action.what for one in operation.undo)}; {lost}"
        for planned in operation.undo:
            yield from _statements(planned.action)
            yield _locks(planned)


def _statements(action: Action) -> Iterator[str]:
    bounds = ("BEGIN;", "COMMIT;") if action.transactional and len(action.statements) > 1 else ()
    lines = [*bounds[:1], *(f"{one};" for one in action.statements), *bounds[1:]]
    for statement in lines:
        yield from (f"    {line}".rstrip() for line in statement.splitlines())


def _fact(label: str, text: str) -> str:
    return f"  {label:{_LABEL}}{text}"


def _dependents(plan: Plan) -> Iterator[str]:
    yield "what names or stands on the tables that change"
    if not plan.dependents:
        yield "  nothing that the catalog knows of"
    for table, found in groupby(plan.dependents, key=lambda one: one.on):
        yield f"  {table}"
        for one in found:
            definition = " ".join(one.dependent.definition.split())
            shown = f": {definition}" if definition else ""
            yield f"    {one.dependent.kind} {one.dependent.name}{shown}"


def _contract() -> Iterator[str]:
    yield CONTRACT
    yield from (f"  {line}" for line in CONTRACT_EVIDENCE)


def _indent(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" if line else "" for line in lines)
