"""The way back: what it would lose is said first, and it begins only where that is accepted.

Gradual keeps the data and lets the previous application write again; `--to` a phase takes back what
later phases added. Immediate restores the proved backup beside the database (`restore.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from phasegate.contract.connection import database_conninfo
from phasegate.contract.errors import PlanRefused
from phasegate.contract.migration import PHASES, Event
from phasegate.contract.settings import Settings
from phasegate.migrate.backup import count_lost, find_backup
from phasegate.migrate.cache_keys import clear_keys, open_cache
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context, NothingStops
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.gate import Terms
from phasegate.migrate.model import Action, Operation, Patience, Step
from phasegate.migrate.opening import connector, fetch_identity, open_run
from phasegate.migrate.operations.drain import await_drained
from phasegate.migrate.operations.hook import RunHook
from phasegate.migrate.programs import find_programs
from phasegate.migrate.restore import find_restore_refusals, restore_beside
from phasegate.migrate.runner import Run

Ask = Callable[[list[str], int | None], bool]
"""Given what goes and how many writes are lost (None: not known): whether to go on."""
RELAXED = "06-add-constraints"
"""The step that a gradual roll-back takes back: what refuses the previous application's writes."""
KEPT_BY_GRADUAL = "infrastructure"
"""The last phase that stays passed after a gradual roll-back."""


@dataclass(frozen=True)
class Undoing:
    """One step's part of a roll-back: `actions` are what would be sent now."""

    step: Step
    operation: Operation
    actions: tuple[Action, ...]


def plan_gradual(steps: Sequence[Step], catalog: Catalog) -> tuple[Undoing, ...]:
    """Relax what the previous application cannot write; nothing is lost."""
    return _undo([step for step in steps if step.name == RELAXED], catalog)


def plan_removal(steps: Sequence[Step], catalog: Catalog, to: str) -> tuple[Undoing, ...]:
    """Take back what the phases after `to` added, the last first."""
    if to not in PHASES:
        raise PlanRefused((f"--to {to}: no phase; one of {', '.join(PHASES)}",))
    later = PHASES[PHASES.index(to) + 1 :]
    return _undo([step for step in steps if step.phase in later], catalog)


def _undo(steps: Sequence[Step], catalog: Catalog) -> tuple[Undoing, ...]:
    return tuple(
        Undoing(step, operation, actions)
        for step in reversed(steps)
        for operation in reversed(step.operations)
        if (actions := operation.plan_undo(catalog))
    )


def describe(undoing: Sequence[Undoing]) -> list[str]:
    """What goes, with what is lost by it, line by line."""
    lines = []
    for one in undoing:
        lines.append(f"step {one.step.name}: {one.operation.kind} {one.operation.object}")
        lines += [f"  {action.what}" for action in one.actions]
        if one.operation.loss:
            lines.append(f"  lost: {one.operation.loss}")
    return lines or ["nothing of it is there"]


def find_staying(steps: Sequence[Step], catalog: Catalog, to: str) -> list[str]:
    """What the phases after `to` made and no roll-back takes away, line by line."""
    later = PHASES[PHASES.index(to) + 1 :]
    operations = (one for step in steps if step.phase in later for one in step.operations)
    told = (getattr(one, "describe_staying", lambda _: "")(catalog) for one in operations)
    return [f"stays: {text}" for text in told if text]


def go_back(settings: Settings, to: str, ask: Ask, by: str) -> None:
    """Gradual, or as far as phase `to`. Raises as `Run.go`, and what `ask` raises."""
    with open_run(settings, Terms(), by=by) as run:
        catalog = run.catalog()
        steps = run.make_steps(settings, catalog)
        undoing = plan_removal(steps, catalog, to) if to else plan_gradual(steps, catalog)
        # What a dropped column held cannot be counted as writes.
        lost = None if any(one.operation.loss for one in undoing) else 0
        staying = find_staying(steps, catalog, to) if to else []
        if ask([*describe(undoing), *staying], lost):
            apply_rollback(run, undoing, to)


def restore(settings: Settings, ask: Ask, by: str) -> None:
    """The proved backup beside the database, then in its place; the old one is kept.

    Raises PlanRefused where there is none, or what would stay with the old database; and as
    `restore_beside`.
    """
    folder = settings.migrate.backup.directory
    with connector(settings)(Patience.BATCH) as connection:
        backup = find_backup(folder, fetch_identity(connection))
        if backup is None:
            raise PlanRefused((f"{folder} holds no backup of this database that was proved",))
        refusals = find_restore_refusals(connection, backup, find_programs())
        if refusals:
            raise PlanRefused(refusals)
        lost = count_lost(connection, backup, NothingStops())
    told = "an unknown number of writes" if lost is None else f"{lost:,} writes"
    age = time.time() - backup.at
    lines = [
        f"restore {folder / backup.file}, {age / 60:.0f} minutes old, beside the database",
        f"lost: {told} since its snapshot, which stay in the database that is kept",
    ]
    if not ask(lines, lost):
        return
    maintenance = settings.migrate.mode == "maintenance"
    with open_run(settings, Terms(), by=by) as run:
        run.journal.write(Event.ROLLBACK_STARTED, facts={"strategy": "immediate", "lost": lost})
        if maintenance:
            run_hook_of(run, "maintenance_on")
        run_hook_of(run, "drain")
        say = run.say
    # Online nobody stops the application: its sessions are ended, whatever they are at.
    drains = maintenance or settings.migrate.hooks.drain is not None
    done = restore_beside(
        database_conninfo(settings.database),
        backup,
        folder,
        say=say,
        drained=partial(_drain, settings) if drains else lambda: None,
        lost=lost,
        by=by,
    )
    say(f"restored in {done.seconds:.0f} s; the database of before is {done.kept}")
    with open_run(settings, Terms(), by=by) as run:
        deploy_before(run)
        if maintenance:
            run_hook_of(run, "maintenance_off")


def _drain(settings: Settings) -> None:
    await_drained(connector(settings))


def apply_rollback(run: Run, undoing: Sequence[Undoing], to: str) -> None:
    """Take it all back; started again, it goes on. Raises as `Run.go`.

    The schema first allows what the previous application does, which is then deployed: the new
    one must be gone before its columns are.
    """
    run.journal.write(
        Event.ROLLBACK_STARTED, facts={"to": to or KEPT_BY_GRADUAL, "steps": describe(undoing)}
    )
    maintenance = run.settings.migrate.mode == "maintenance"
    if maintenance:
        run_hook_of(run, "maintenance_on")
    if not to:
        undo_steps(run, undoing)
    deploy_before(run)
    if to:
        undo_steps(run, undoing)
    if maintenance:
        run_hook_of(run, "maintenance_off")
    if told := run.watch.describe():
        run.say(told)
    facts = {"to": to or KEPT_BY_GRADUAL, **run.watch.facts()}
    run.journal.write(Event.ROLLBACK_FINISHED, facts=facts)


def deploy_before(run: Run) -> None:
    """The previous frontend and API, the last deployed first; and a cache without the new one's
    entries."""
    for name in ("rollback_web", "rollback_api"):
        run_hook_of(run, name)
    cache = run.settings.cache
    if cache is not None:
        with open_cache(cache) as client:
            count = clear_keys(client, cache.key_pattern)
        run.say(f"cache: {count:,} keys {cache.key_pattern} removed")


def run_hook_of(run: Run, name: str) -> None:
    """One hook, where it is configured. Raises StepFailed."""
    if getattr(run.settings.migrate.hooks, name) is not None:
        run.say(f"hook {name}")
        RunHook(name).run(make_context(run, f"rollback: {name}"))


def undo_steps(run: Run, undoing: Sequence[Undoing]) -> None:
    """What the steps did, the last first; each is journalled as undone."""
    done: dict[str, Step] = {}
    for one in undoing:
        run.control.check()
        run.say(f"step {one.step.name}: take back {one.operation.kind} {one.operation.object}")
        context = make_context(run, one.step.name)
        with run.control.watching(run.connection):
            apply_operation(one.operation, context, run.connection, run.catalog, undo=True)
        done[one.step.name] = one.step
    for step in done.values():
        run.journal.write(Event.UNDONE, phase=step.phase, step=step.name)


def make_context(run: Run, step: str) -> Context:
    """For a work of the roll-back."""
    return Context(
        settings=run.settings,
        step=step,
        connect=run.connect,
        journal=run.journal,
        catalog=run.catalog(),
        say=lambda text: run.say(f"  {text}"),
        control=run.control,
        throttle=run.throttle,
        report=partial(run.report, step),
    )
