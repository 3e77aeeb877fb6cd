"""The gate of a phase: the same judgement as `validate --phase`, on evidence since the last change.

A gate that is not passed stays closed, whatever the reason; only a criterion that somebody accepted
by name, with a reason, counts as passed, and two never do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from phasegate.contract.dossier import EXPORTER, Dossier
from phasegate.contract.gates import GATES, min_span
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.settings import Settings
from phasegate.validators.call import TESTS, Flags, plan_call
from phasegate.validators.gate import assess
from phasegate.validators.sources import Request, gather
from phasegate.validators.verdict import Report, combine, exit_code
from phasegate.validators.wait import is_decided

NEVER_ACCEPTED = frozenset({"uuid_missing", "backup_restored"})
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, GROWTH = 1.0, 10.0, 1.3


class Accepted(NamedTuple):
    """Criteria that count as passed whatever their verdict; by whom, and why."""

    criteria: tuple[str, ...] = ()
    reason: str = ""
    by: str = ""


class Terms(NamedTuple):
    """How gates are asked: how long they are waited for (seconds), what loosens them, and what is
    given beside the exporter's evidence. `min_span` None: as the gate itself demands."""

    wait: float = 3_600.0
    min_span: float | None = None
    junit: tuple[str, ...] = ()
    baseline: Path | None = None
    source: str = EXPORTER
    accepted: Accepted = Accepted()


class Question(NamedTuple):
    """`since` is the origin of the evidence in Unix seconds."""

    settings: Settings
    phase: str
    since: float
    criteria: tuple[str, ...]
    terms: Terms


class Decision(NamedTuple):
    """What the gate said. `report` holds every judgement as it was; `exit_code` is 0 where all
    that did not pass was accepted; `overridden` names those."""

    report: Report
    exit_code: int
    overridden: tuple[str, ...]


def ask_gate(
    settings: Settings,
    phase: str,
    since: float,
    terms: Terms,
    *,
    criteria: tuple[str, ...] = (),
    pause: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = print,
) -> Decision:
    """Judge until it is decided, or the time is over. `since` is the origin in Unix seconds.

    `criteria` are a part of the phase's own; all of them where none is named. `pause` waits, and
    may raise; `say` tells what is still missing.
    """
    chosen = criteria or criteria_of(phase, terms)
    look = partial(_look, Question(settings, phase, since, chosen, terms))
    began, length = time.monotonic(), FIRST_PAUSE_SECONDS
    dossier, report = look(None)
    while True:
        decision, left = _decide(report, terms.accepted)
        passed = time.monotonic() - began
        # What is accepted decides nothing, either way.
        if decision.exit_code == 0 or is_decided(left) or passed >= terms.wait:
            return decision
        say(_describe(left, passed, terms.wait))
        pause(min(length, max(0.05, terms.wait - passed)))
        length = min(LONGEST_PAUSE_SECONDS, length * GROWTH)
        dossier, report = look(dossier)


def criteria_of(phase: str, terms: Terms) -> tuple[str, ...]:
    """What must pass for the phase to end; `prepare` takes results of tests where any are given."""
    found = GATES[phase]
    return (*found, TESTS) if terms.junit and TESTS not in found else found


def describe_decision(decision: Decision) -> str:
    """One line: the verdict of each criterion, the worst first."""
    order = [Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED]
    judged = sorted(decision.report.judgements, key=lambda one: order.index(one.verdict))
    return ", ".join(
        f"{one.criterion} {one.verdict}"
        + (" (accepted)" if one.criterion in decision.overridden else "")
        for one in judged
    )


def _look(question: Question, earlier: Dossier | None) -> tuple[Dossier, Report]:
    settings, phase, since, criteria, terms = question
    flags = Flags(
        criteria=criteria,
        since=since,
        min_span=min_span(phase) if terms.min_span is None else terms.min_span,
        junit=terms.junit if TESTS in criteria else (),
        baseline=terms.baseline,
    )
    call = plan_call(flags, settings, time.time())
    # Shown with the verdict where it is looser than what the gate demands by itself.
    options = replace(call.options, phase=phase, min_span=terms.min_span)
    request = Request(
        *(settings, call.criteria, call.fetched_since, terms.source, flags.junit, flags.baseline),
        earlier=earlier,
    )
    dossier = gather(request, time.time)
    return dossier, assess(call.criteria, dossier, settings, options)


def _decide(report: Report, accepted: Accepted) -> tuple[Decision, Report]:
    """The decision, and the report of what is not accepted."""
    overridden = tuple(
        one.criterion
        for one in report.judgements
        if one.verdict is not Verdict.PASSED
        and one.criterion in accepted.criteria
        and one.criterion not in NEVER_ACCEPTED
    )
    judgements = tuple(one for one in report.judgements if one.criterion not in overridden)
    # Of nothing at all it is inconclusive; of nothing left, all was accepted.
    verdict = combine(judgements) if judgements or not overridden else Verdict.PASSED
    left = replace(report, judgements=judgements, verdict=verdict)
    return Decision(report, exit_code(verdict), overridden), left


def _describe(report: Report, passed: float, within: float) -> str:
    left = [one for one in report.judgements if one.verdict is not Verdict.PASSED]
    told = "; ".join(_reason(one) for one in left)
    return f"gate: waiting {passed:.0f} s of {within:.0f} s: {told}"


def _reason(one: Judgement) -> str:
    reason = one.reason.partition("\n")[0]
    return f"{one.criterion} {one.verdict}" + (f" ({reason[:100]})" if reason else "")
