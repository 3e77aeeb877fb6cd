"""One run: phase by phase, step by step, each gate asked before the next phase begins.

Where it stands the run asks the catalog, not its memory: a step's statements are what is left to
do. The journal tells only what no catalog can: which works and hooks have been, and which gates
have opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg

from phasegate.contract.errors import (
    GateClosed,
    Interrupted,
    JournalMismatch,
    PhasegateError,
    StepFailed,
)
from phasegate.contract.migration import (
    PHASES,
    Entry,
    Event,
    PhaseFacts,
    PhaseState,
    find_overrides,
    fold_phases,
    last_change,
)
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import Catalog, fetch_catalog
from phasegate.migrate.checksum import checksum_step, define_step, find_drift
from phasegate.migrate.context import AtFullSpeed, Connection, Context, Throttle
from phasegate.migrate.control import RunControl
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.frameworks import find_refusals
from phasegate.migrate.gate import Decision, Terms, ask_gate, describe_decision
from phasegate.migrate.journal import Journal
from phasegate.migrate.lock_watch import LockWatch
from phasegate.migrate.model import Operation, Patience, Say, Step
from phasegate.migrate.phases import find_others
from phasegate.migrate.plan import make_plan, refuse
from phasegate.migrate.sessions import interrupting, is_lost
from phasegate.validators.wording import describe_override

ROUNDING_SECONDS = 1e-3
MakeSteps = Callable[[Settings, Catalog], tuple[Step, ...]]


@dataclass
class Run:
    """Everything of one run. `connection` is in autocommit and the runner's own; `connect` opens
    more sessions; `make_steps` says what the steps are, given the catalog of the beginning."""

    settings: Settings
    connection: Connection
    connect: Callable[[Patience], Connection]
    journal: Journal
    control: RunControl
    make_steps: MakeSteps
    names: Sequence[TableName]
    say: Say
    terms: Terms = field(default_factory=Terms)
    throttle: Throttle = field(default_factory=AtFullSpeed)
    report: Callable[[str, str, float, float, str], None] = lambda *_: None
    watch: LockWatch = field(default_factory=LockWatch)

    def catalog(self) -> Catalog:
        """The catalog of this moment."""
        return fetch_catalog(self.connection, self.names)

    def go(self, until: str = "", only: str = "") -> None:
        """Every phase that is left, up to and with `until`; or the one named by `only`.

        Raises GateClosed, StepFailed, Interrupted, and what else its parts raise; each stands in
        the journal.
        """
        catalog = self.catalog()
        steps = self.make_steps(self.settings, catalog)
        others = (*find_refusals(self.connection), *find_others(self.settings, catalog))
        refuse(make_plan(steps, catalog, others))
        self._refuse_drift(steps)
        last = PHASES.index(only or until or PHASES[-1])
        with self.recorded({"phases": list(PHASES[: last + 1])}):
            for phase in PHASES[: last + 1]:
                self._go_through(phase, [step for step in steps if step.phase == phase], only)

    @contextmanager
    def recorded(self, facts: Mapping[str, Any]) -> Iterator[None]:
        """The block is what is run: its beginning, its end and what ended it are journalled, and
        what it cost others is said. A session that is lost in it is Interrupted."""
        self.journal.write(Event.RUN_STARTED, facts=facts)
        try:
            with interrupting():
                yield
        except PhasegateError as error:
            # Where the server is gone, the next run finds no end of this one, which says just that.
            with suppress(psycopg.Error):
                self._end({"exit_code": error.exit_code, "why": str(error)})
            raise
        self._end({"exit_code": 0})

    def _end(self, facts: Mapping[str, Any]) -> None:
        if told := self.watch.describe():
            self.say(told)
        self.journal.write(Event.RUN_ENDED, facts={**facts, **self.watch.facts()})

    def _facts(self, phase: str) -> PhaseFacts:
        return fold_phases(self.journal.entries())[phase]

    def _go_through(self, phase: str, steps: Sequence[Step], only: str) -> None:
        told = fold_phases(self.journal.entries())
        facts = told[phase]
        left = [step for step in steps if self._is_left(step, facts)]
        # What opened this gate was measured before an earlier phase was taken up again.
        earlier = [told[one].finished for one in PHASES[: PHASES.index(phase)]]
        outdated = facts.finished < max(earlier, default=0.0)
        if facts.state is PhaseState.PASSED and not left and not outdated:
            self.say(f"phase {phase}: passed")
            return
        if only and only != phase:
            raise GateClosed(phase, 3, f"it is not passed yet; run it first: --until {phase}")
        if facts.state is PhaseState.PASSED and left:
            undone = ", ".join(step.name for step in left)
            self.say(f"phase {phase}: passed before, and yet something is left of {undone}")
        self.say(f"phase {phase}")
        if facts.state is not PhaseState.RUNNING or not facts.started:
            self.journal.write(Event.PHASE_STARTED, phase=phase)
        for step in steps:
            self._take(step, self._facts(phase))
        self._pass_gate(phase)

    def _is_left(self, step: Step, facts: PhaseFacts) -> bool:
        """Whether the catalog says that some of the step is left; of a work, the journal."""
        catalog = self.catalog()
        return any(
            action.work is None or step.name not in facts.steps
            for operation in step.operations
            for action in operation.plan_remaining(catalog)
        )

    def _take(self, step: Step, facts: PhaseFacts) -> None:
        self.control.check()
        begun = time.monotonic()
        finished = step.name in facts.steps
        context = Context(
            settings=self.settings,
            step=step.name,
            connect=self.connect,
            journal=self.journal,
            catalog=self.catalog(),
            say=lambda text: self.say(f"  {text}"),
            control=self.control,
            throttle=self.throttle,
            ask=partial(self._await, step),
            report=partial(self.report, step.name),
        )
        # What a later operation has to do may follow only from an earlier one.
        due = partial(self._is_due, context=context, finished=finished)
        if finished and not any(due(one) for one in step.operations):
            return
        self.say(f"step {step.name}: {step.title}")
        self.journal.write(
            Event.STEP_STARTED,
            phase=step.phase,
            step=step.name,
            checksum=checksum_step(step),
            facts={"definition": define_step(step)},
        )
        done = 0
        try:
            for operation in step.operations:
                context.catalog = self.catalog()
                if due(operation):
                    done += self._apply(operation, context)
        except StepFailed as error:
            self._fail(step, begun, error)
            raise
        except psycopg.Error as error:
            failure = self._lost_or_failed(step, error)
            self._fail(step, begun, failure)
            raise failure from error
        self.journal.write(
            Event.STEP_FINISHED, phase=step.phase, step=step.name,
            seconds=time.monotonic() - begun, checksum=checksum_step(step), facts={"actions": done},
        )  # fmt: skip
        if not done:
            self.say("  nothing to do")

    def _is_due(self, operation: Operation, *, context: Context, finished: bool) -> bool:
        """A work that has been is not done again, unless it is one that has to be anew."""
        left = operation.plan_remaining(context.catalog)
        if finished and not getattr(operation, "repeats", False):
            left = tuple(action for action in left if action.work is None)
        return bool(left)

    def _apply(self, operation: Operation, context: Context) -> int:
        with self.control.watching(self.connection):
            return apply_operation(operation, context, self.connection, self.catalog)

    def _await(self, step: Step, criteria: tuple[str, ...]) -> None:
        """A part of the phase's gate, in the middle of it."""
        since = origin(step.phase, self.journal.entries())
        decision = self.ask(step.phase, since, criteria)
        if decision.exit_code:
            self.conclude(step.phase, decision)
        self._tell_accepted(step.phase, decision)
        self.say(f"  {describe_decision(decision)}")

    def _fail(self, step: Step, begun: float, error: PhasegateError) -> None:
        event = Event.STEP_FAILED if isinstance(error, StepFailed) else None
        if event is None or self.connection.closed:
            return
        self.journal.write(
            event, phase=step.phase, step=step.name, seconds=time.monotonic() - begun,
            facts={"why": str(error)},
        )  # fmt: skip

    def _lost_or_failed(self, step: Step, error: psycopg.Error) -> PhasegateError:
        self.control.check()
        if is_lost(error):
            told = str(error).strip()
            return Interrupted(f"step {step.name}: the server ended our session: {told}")
        return StepFailed(step.name, str(error))

    def _pass_gate(self, phase: str) -> None:
        entries = self.journal.entries()
        decision = self.ask(phase, origin(phase, entries))
        self.conclude(phase, decision)

    def ask(self, phase: str, since: float, criteria: tuple[str, ...] = ()) -> Decision:
        """The gate's decision on evidence since then (Unix seconds)."""
        return ask_gate(
            self.settings,
            phase,
            since,
            self.terms,
            criteria=criteria,
            pause=self.control.sleep,
            say=self.say,
        )

    def conclude(self, phase: str, decision: Decision) -> None:
        """Journal what the gate said; GateClosed where it is not open."""
        report = decision.report
        told = describe_decision(decision)
        facts: dict[str, Any] = {
            "exit_code": decision.exit_code,
            "verdicts": {one.criterion: one.verdict for one in report.judgements},
            "reasons": {one.criterion: one.reason for one in report.judgements if one.reason},
            "loosened": {
                one.criterion: list(loosened)
                for one in report.judgements
                if (loosened := one.facts.get("loosened"))
            },
            "evidence_sha256": report.digests.evidence,
            "since": report.options.since,
        }
        self._tell_accepted(phase, decision)
        for name, loosened in facts["loosened"].items():
            self.say(f"  {name}: {'; '.join(loosened)}")
        # From the journal: another source than the exporter does not know of them.
        for one in find_overrides(self.journal.entries()):
            self.say(f"  {describe_override(one)}")
        if decision.exit_code == 0:
            self.journal.write(Event.GATE_PASSED, phase=phase, what=told, facts=facts)
            self.say(f"gate of {phase}: open: {told}")
            return
        self.journal.write(Event.GATE_CLOSED, phase=phase, what=told, facts=facts)
        reasons = [
            f"  {one.criterion} {one.verdict}: {one.reason}; {one.remedy}"
            for one in report.judgements
            if one.verdict != "passed" and one.criterion not in decision.overridden
        ]
        raise GateClosed(phase, decision.exit_code, "\n".join([told, *reasons]))

    def _tell_accepted(self, phase: str, decision: Decision) -> None:
        """Journal what counted as passed because somebody said so."""
        if not decision.overridden:
            return
        accepted, named = self.terms.accepted, list(decision.overridden)
        facts = {"criteria": named, "reason": accepted.reason, "by": accepted.by}
        self.journal.write(Event.OVERRIDE, phase=phase, facts=facts)
        self.say(f"accepted by {accepted.by}: {', '.join(named)} ({accepted.reason})")

    def _refuse_drift(self, steps: Iterable[Step]) -> None:
        drift = find_drift(steps, self.journal.entries())
        if drift:
            raise JournalMismatch(
                "the plan is another than the one that was begun; go on with the configuration "
                "that it was begun with, or roll back first\n" + "\n".join(drift)
            )


def origin(phase: str, entries: Sequence[Entry]) -> float:
    """Since when evidence counts for the gate: the last change, or the begin of the phase where it
    changed nothing. Of `prepare` it is the preflight, which looks last."""
    started = fold_phases(entries)[phase].started
    if phase == PHASES[0]:
        looked = [one.at for one in entries if one.event is Event.PREFLIGHT]
        # The preflight's own time is what it is true of; the wire cuts microseconds.
        return max([started, *looked[-1:]]) - ROUNDING_SECONDS
    return last_change(entries) or started
