"""Judges `audit_coverage`: whether every change of the watched tables reaches the audit log. Pure.

A gap in the triggers fails, and so does a change that a proof saw without its row. Counts fail
nothing, for roll-backs, other writers and triggers of the application blur them; they support a
pass over a window that was closed long enough for every session to have reported, and in which
nothing was rolled back. Of what the application writes itself the catalog says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from phasegate.contract.audit_facts import AuditFacts, CountsReading, WatchedTable
from phasegate.contract.audit_proofs import (
    AuditProofs,
    Disturbance,
    Outcome,
    Proof,
    count_disturbance,
    evaluate_proofs,
)
from phasegate.contract.coverage_gaps import (
    Gap,
    find_gaps,
    find_log_gaps,
    is_audit_function,
    pin,
)
from phasegate.contract.evaluate import WAIT, list_first
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit, Settings
from phasegate.contract.times import format_time
from phasegate.contract.units import format_duration

AUDIT_COVERAGE = "audit_coverage"
CLOSED_SECONDS = 15.0
"""An idle session reports its counts up to 10 s after its commit, a busy server somewhat later."""
DECODE = "let it be proved: criteria.audit_coverage.decoding, where wal_level = logical"
PROVE = f"{DECODE}; or audit.watch[].canary"


class Counts(NamedTuple):
    """Whether the counters support a pass, and the figures or the reason as a sentence."""

    support: bool
    what: str


class Window(NamedTuple):
    """From when on counts and facts matter, and the largest age of the facts; seconds."""

    since: float
    values_since: float
    max_age: float


class _Found(NamedTuple):
    gaps: list[Gap]
    doubts: list[Gap]
    """What decides nothing, with what would."""
    notes: list[str]


def evaluate_coverage(
    settings: Settings,
    facts: AuditFacts | None,
    now: float,
    window: Window,
    made: AuditProofs | None,
) -> Judgement:
    """The verdict at `now` (Unix seconds), on facts of a believed server; `made` are the proofs
    that were asked for, None where none was."""
    audit = settings.audit
    doubt = _doubt(audit, facts, now, window)
    if doubt or facts is None or audit is None:
        return Judgement(AUDIT_COVERAGE, Verdict.INCONCLUSIVE, doubt, WAIT)
    proofs = _believed(audit, facts, now, window, made)
    found = _look(audit, facts, proofs)
    counts = compare_counts(facts.readings, window.since, made)
    proved = {proof.table for proof in proofs if proof.outcome is Outcome.PROVED}
    supported = counts.support or proved == {str(watch.table) for watch in audit.watch}
    told = f"counts: {counts.what}" if counts.support else f"counts: not decided: {counts.what}"
    relations = sum(len(one.relations) for one in facts.watched)
    if found.gaps:
        verdict, parts = Verdict.FAILED, found.gaps
    elif found.doubts:
        verdict, parts = Verdict.INCONCLUSIVE, found.doubts
    elif not supported and not settings.criteria.audit_coverage.catalog_alone:
        reason = f"the triggers stand, and nothing supports them; {told}"
        verdict, parts = Verdict.INCONCLUSIVE, [Gap(reason, f"judge again, or {PROVE}")]
    else:
        names = list_first([str(watch.table) for watch in audit.watch])
        reason = f"covered: {names} (relations: {relations}); {told}"
        verdict, parts = Verdict.PASSED, [Gap(reason, "")]
    facts_told = {
        "subjects": relations,
        "bad": len(found.gaps),
        "oldest_seconds": now - facts.time,
        "counts": {"support": counts.support, "what": counts.what},
        "notes": (*found.notes, told, *(proof.reason for proof in proofs)),
        "proofs": [proof._asdict() for proof in proofs],
    }
    measured = None if found.doubts and not found.gaps else float(len(found.gaps))
    if verdict is Verdict.INCONCLUSIVE and all(one.remedy == DECODE for one in parts):
        facts_told["hopeless"] = True  # what nobody proves now, no wait will
    reasons, remedies = (list(dict.fromkeys(texts)) for texts in zip(*parts, strict=True))
    # Statements of SQL bring a semicolon along.
    remedy = list_first([text.removesuffix(";") for text in remedies])
    return Judgement(
        *(AUDIT_COVERAGE, verdict, list_first(reasons), remedy),
        *(measured, 0.0, facts_told),
    )


def _doubt(audit: Audit | None, facts: AuditFacts | None, now: float, window: Window) -> str:
    """Why the facts as a whole decide nothing; empty where they can be looked at."""
    if facts is None or audit is None or not audit.watch:
        return "nothing was measured"
    times = [facts.time, *(one.time for one in facts.readings)]
    times += [moment for one in facts.functions for moment in (one.first_seen, one.changed)]
    if not all(math.isfinite(moment) and moment >= 0 for moment in times):
        return "it holds a time that is none"
    if not max(times) <= now + CLOCK_SKEW_SECONDS:
        return f"measured {max(times) - now:.0f} s in the future; compare the clocks"
    if not facts.time >= window.values_since:
        return f"measured {window.values_since - facts.time:.0f} s before what is asked about"
    if not now - facts.time <= window.max_age:
        return f"measured {now - facts.time:.0f} s ago, older than {window.max_age:.0f} s"
    if (facts.schema, facts.table) != audit.table:
        measured = TableName(facts.schema, facts.table)
        return f"the exporter measures the audit log {measured}, not {audit.table}"
    return ""


def _believed(
    audit: Audit, facts: AuditFacts, now: float, window: Window, made: AuditProofs | None
) -> tuple[Proof, ...]:
    if made is None:
        return ()
    return evaluate_proofs(
        *(made, audit.watch), identity=facts.identity, judged=now, since=window.values_since
    )


def _look(audit: Audit, facts: AuditFacts, proofs: Sequence[Proof]) -> _Found:
    found = _Found(find_log_gaps(facts), [], _unpinned(audit, facts))
    for watch in audit.watch:
        of_table = {one.outcome: one for one in proofs if one.table == str(watch.table)}
        if refuted := of_table.get(Outcome.REFUTED):
            found.gaps.append(Gap(refuted.reason, refuted.remedy))
        if untried := of_table.get(Outcome.NOTHING):
            # Whoever asks for a proof does not take the catalog's word instead.
            remedy = untried.remedy or "judge again, or ask for no proof of it"
            found.doubts.append(Gap(untried.reason, remedy))
        tables = [one for one in facts.watched if (one.schema, one.table) == watch.table]
        if len(tables) != 1 or not _is_whole(tables[0]):
            doubt = {0: "not measured", 1: "measured in part"}.get(len(tables), "measured twice")
            found.doubts.append(Gap(f"{watch.table}: {doubt}", WAIT))
        elif watch.writer == "trigger" or not tables[0].relations:
            found.gaps.extend(find_gaps(audit, facts, tables[0]))
        elif quiet := of_table.get(Outcome.QUIET):
            found.doubts.append(Gap(quiet.reason, quiet.remedy))
        elif not {Outcome.PROVED, Outcome.NOTHING} & of_table.keys():
            what = f"{watch.table}: written by the application, of which no trigger tells"
            found.doubts.append(Gap(what, DECODE))
    return found


def _unpinned(audit: Audit, facts: AuditFacts) -> list[str]:
    """Of which audit functions the body is only known to be that of an earlier look."""
    if audit.function is not None and audit.function.sha256 is not None:
        return []
    return [
        f"the body of {one.name} is compared only with that of {format_time(one.first_seen)}; "
        f"pin it: audit.function: {pin(one)}"
        for one in facts.functions
        if is_audit_function(audit, one)
    ]


def _is_whole(table: WatchedTable) -> bool:
    """Whether every relation is there once, the table itself among them."""
    names = {one.name for one in table.relations}
    without = [one for one in table.relations if not names & set(one.parents)]
    return len(names) == table.count == len(table.relations) and len(without) == bool(names)


def compare_counts(
    readings: Sequence[CountsReading], since: float, made: AuditProofs | None = None
) -> Counts:
    """Changes and audit rows of the readings from `since` (Unix seconds) on, as far as a later
    reading shows that nothing of their time was still to be reported; without what canaries within
    them added."""
    chosen = [one for one in readings if one.time >= since]
    if len(chosen) < 2:
        return Counts(support=False, what="there are too few readings in the window")
    first, last = chosen[0], chosen[-1]
    if not all(_rises(before, after) for before, after in pairwise(chosen)):
        return Counts(support=False, what="the counters fell, or time did")
    closed = [one for one in chosen[1:] if one.time <= last.time - CLOSED_SECONDS]
    if not closed:
        return Counts(support=False, what=f"no window ended {CLOSED_SECONDS:g} s ago")
    end = closed[-1]
    ours = count_disturbance(made, first.time, end.time) if made else Disturbance({}, 0, 0)
    changes = end.changes - first.changes - sum(ours.updates.values())
    logged = end.logged - first.logged - ours.log_rows
    span = format_duration(round(end.time - first.time))
    figures = f"{changes:,} changes and {logged:,} rows of the log in {span}"
    undone = last.rollbacks - first.rollbacks - ours.rollbacks
    if undone:
        return Counts(support=False, what=f"transactions rolled back: {undone:,}; {figures}")
    if changes <= 0:
        return Counts(support=False, what=f"no change in {span}")
    if logged < changes:
        return Counts(support=False, what=f"{figures}, which may not be reported yet")
    return Counts(support=True, what=f"{figures}, none rolled back")


def _rises(before: CountsReading, after: CountsReading) -> bool:
    return after.time > before.time and all(
        later >= earlier
        for earlier, later in (
            (before.changes, after.changes),
            (before.logged, after.logged),
            (before.rollbacks, after.rollbacks),
        )
    )
