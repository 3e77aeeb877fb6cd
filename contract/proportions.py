"""Judges the criteria that are shares of counted tries: too slow probes, cache misses. Pure.

A share is never compared with its limit: what is judged is how unlikely the counts would be, were
the true share exactly at the limit. Each target and table is decided for itself and all must pass.
One look is decided by the exact binomial rule; waiting and re-runs from one origin by an e-value,
which stays valid however often one looks. Blocks of time that vary more than independent tries
would are worth fewer tries, by their dispersion. What passes over the whole span must not have
turned bad at its end.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from phasegate.contract import statistics
from phasegate.contract.blocks import (
    Rule,
    Share,
    Tally,
    find_contradiction,
    find_doubt,
    is_of,
    order,
    since_last_change,
    tally,
)
from phasegate.contract.model import Block, Judgement, Series, Verdict
from phasegate.contract.names import TableName
from phasegate.contract.statistics import Count

FAILING_ALPHA = 0.01
"""Of each criterion, so that seven of them seldom fail what is sound."""
AFFORDABLE_TRIES = 6_000.0
AFFORDABLE_SECONDS = 3_600.0
"""What takes more tries than the one, and longer than the other, is told as out of reach."""
SHOWN = 5
WAIT = "let the exporter count on (--wait), from one origin (--since), then judge again"


class Proof(NamedTuple):
    """How independent counts are decided; `limit` is the share that is told.

    `fails_now` is `fails` for one look at the last blocks; `e_value` is None where the exact rule
    decides; `out_of_reach` tells what would help where no affordable number of tries decides.
    """

    limit: float
    passes: Callable[[Count], bool]
    fails: Callable[[Count], bool]
    fails_now: Callable[[Count], bool]
    e_value: Callable[[Count], float] | None
    out_of_reach: str = ""


class _Question(NamedTuple):
    """What every subject of one criterion is asked."""

    rule: Rule
    now: float
    limit: Share
    proof: Proof
    identities: Mapping[str, str]
    doubts: Mapping[str, str]


class Subject(msgspec.Struct, frozen=True):
    """The decision on one target and table, with the numbers that decided."""

    subject: str
    verdict: Verdict
    reason: str
    bad: int = 0
    total: int = 0
    share: float | None = None
    low: float | None = None
    high: float | None = None
    dispersion: float | None = None
    dispersion_assumed: bool = False
    blocks: int = 0
    start: float | None = None
    end: float | None = None
    evidence: float | None = None
    """The e-value for passing; None where the exact rule decided."""
    tries_needed: float | None = None
    notes: tuple[str, ...] = ()


def evaluate_share(
    criterion: str,
    series: Iterable[Series],
    rule: Rule,
    now: float,
    limit: Share,
    *,
    identities: Mapping[str, str],
    expected: frozenset[str],
    doubts: Mapping[str, str] | None = None,
    remedy: str = "",
) -> Judgement:
    """The verdict of `criterion` at `now` (Unix seconds).

    Series of other criteria are ignored. `identities` are those of the targets that are asked
    about: blocks of another server are not evidence, and neither is a target without identity;
    `doubts` says of such a target why. `expected` names what must have been measured, as
    `name_subject` does; what else was measured counts too, unless that was long ago.
    """
    return evaluate_proof(
        *(criterion, series, rule, now, limit),
        proof=_proof_of_share(limit.share, rule),
        identities=identities,
        expected=expected,
        doubts=doubts,
        remedy=remedy,
    )


def evaluate_proof(
    criterion: str,
    series: Iterable[Series],
    rule: Rule,
    now: float,
    limit: Share,
    *,
    proof: Proof,
    identities: Mapping[str, str],
    expected: frozenset[str],
    doubts: Mapping[str, str] | None = None,
    remedy: str = "",
) -> Judgement:
    """As `evaluate_share`, with the counts decided by `proof`."""
    found: dict[str, list[Series]] = defaultdict(list)
    for one in series:
        if one.criterion == criterion:
            found[name_subject(one.target, one.scope, one.schema, one.table)].append(one)
    question = _Question(rule, now, limit, proof, identities, doubts or {})
    asked = {
        subject: parts
        for subject, parts in sorted(found.items())
        if not expected or subject in expected or not _is_over(parts, rule, now)
    }
    subjects = [_judge(subject, parts, question) for subject, parts in asked.items()]
    subjects += [
        Subject(subject, Verdict.INCONCLUSIVE, "nothing was measured")
        for subject in sorted(expected - found.keys())
    ]
    if not subjects:
        subjects.append(Subject("", Verdict.INCONCLUSIVE, "nothing was measured"))
    return _together(criterion, subjects, rule, limit, remedy)


def _proof_of_share(share: float, rule: Rule) -> Proof:
    look = msgspec.structs.replace(rule, anytime=False)
    return Proof(
        share,
        passes=lambda count: decide_pass(count, share, rule),
        fails=lambda count: decide_fail(count, share, rule),
        fails_now=lambda count: decide_fail(count, share, look),
        e_value=(lambda count: e_value(count, share)) if rule.anytime else None,
    )


def name_subject(target: str, scope: str, schema: str, table: str) -> str:
    """`database public.users`, `cache server`: how verdicts name what was counted."""
    return " ".join(
        part for part in (target, scope, str(TableName(schema, table)) if table else "") if part
    )


def _is_over(parts: Sequence[Series], rule: Rule, now: float) -> bool:
    """Whether nobody measures it any more, as a table that is no longer configured."""
    ends = [block.end for part in parts for block in part.blocks]
    return all(math.isfinite(end) and now - end > rule.max_age for end in ends)


def _judge(subject: str, parts: Sequence[Series], question: _Question) -> Subject:
    rule, now, limit, proof, identities, doubts = question

    def undecided(reason: str) -> Subject:
        return Subject(subject, Verdict.INCONCLUSIVE, reason)

    target = parts[0].target
    identity = identities.get(target, "")
    if not identity:
        return undecided(doubts.get(target) or "of which server these counts are is not known")
    if len({part.edges for part in parts}) < len(parts):
        return undecided("the same series twice")
    if not 0 < limit.share < 1:
        return undecided(f"a limit of {limit.share:.2%} decides nothing")
    counted: list[tuple[Block, Tally]] = []
    others = 0
    for part in parts:
        for block in part.blocks:
            doubt = find_contradiction(block, part.edges, limit, now)
            if doubt:
                return undecided(doubt)
            if is_of(block, identity):
                counted.append((block, tally(block, part.edges, limit)))
            else:
                others += 1
    counted.sort(key=order)
    kept = since_last_change(counted)
    notes = _notes(kept, others, len(counted) - len(kept))
    doubt = find_doubt([block for block, _ in kept], rule, now)
    if doubt:
        return undecided(doubt)
    filled = [pair for pair in kept if pair[0].total]
    return _decide(subject, filled, rule, proof, notes)


def _notes(kept: Sequence[tuple[Block, Tally]], others: int, dropped: int) -> tuple[str, ...]:
    notes = []
    if others:
        notes.append(f"{others} blocks of another server left out")
    if dropped:
        notes.append(f"{dropped} blocks from before the settings changed left out")
    epochs = sum(before.epoch != after.epoch for (before, _), (after, _) in pairwise(kept))
    if epochs:
        notes.append(f"the source's own counters restarted {epochs} times within the span")
    return tuple(notes)


def _decide(
    subject: str,
    counted: Sequence[tuple[Block, Tally]],
    rule: Rule,
    proof: Proof,
    notes: tuple[str, ...],
) -> Subject:
    tallies = [found for _, found in counted]
    low = Count(sum(found.low for found in tallies), sum(found.total for found in tallies))
    high = Count(sum(found.high for found in tallies), low.total)
    start, end = counted[0][0].start, max(block.end for block, _ in counted)
    each = [Count(found.high, found.total) for found in tallies]
    measured = statistics.dispersion(each)
    spread = measured or statistics.assumed_dispersion(each, rule.assumed_dispersion)
    bounds = statistics.interval(high.thinned(spread), rule.confidence)

    def passes(count: Count) -> bool:
        return proof.passes(count.thinned(spread))

    def fails(count: Count) -> bool:
        # What breaks down within a few blocks is no burst to be waited for.
        most = spread if measured else min(spread, statistics.MOST_DISPERSION)
        return proof.fails(count.thinned(most))

    needed = None
    if fails(low):
        verdict, reason = Verdict.FAILED, f"{low.bad / low.total:.2%} of {low.total:,} are bad"
    elif spread > statistics.MOST_DISPERSION:
        verdict, reason = Verdict.INCONCLUSIVE, "what is bad comes in bursts, which prove nothing"
    elif not passes(high):
        verdict = Verdict.INCONCLUSIVE
        needed = _needed(high, low, passes, fails, end - start)
        reason = _explain(needed, high, proof, end - start)
    elif end - start < rule.min_span:
        verdict = Verdict.INCONCLUSIVE
        reason = f"a span of {end - start:.0f} s, shorter than {rule.min_span:.0f} s"
    elif worse := _turned_bad(tallies, proof, rule):
        verdict = Verdict.INCONCLUSIVE
        reason = f"bad at the end: {worse.bad:.0f} of the last {worse.total:,.0f}"
    else:
        verdict, reason = Verdict.PASSED, ""
    return Subject(
        subject=subject,
        verdict=verdict,
        reason=reason,
        bad=int(high.bad),
        total=int(high.total),
        share=high.bad / high.total,
        low=bounds[0],
        high=bounds[1],
        dispersion=spread,
        dispersion_assumed=measured is None,
        blocks=len(counted),
        start=start,
        end=end,
        evidence=proof.e_value(high.thinned(spread)) if proof.e_value else None,
        tries_needed=needed,
        notes=notes,
    )


def _turned_bad(tallies: Sequence[Tally], proof: Proof, rule: Rule) -> Count | None:
    """The last half, quarter, … of the blocks that fails by itself; None where none does.

    A service that was good for long must not pass while it is bad now.
    """
    length = len(tallies) // 2
    while length:
        last = [Count(found.low, found.total) for found in tallies[-length:]]
        spread = statistics.dispersion(last) or max(1.0, rule.assumed_dispersion)
        count = Count(sum(c.bad for c in last), sum(c.total for c in last))
        if proof.fails_now(count.thinned(spread)):
            return count
        length //= 2
    return None


def decide_pass(count: Count, share: float, rule: Rule) -> bool:
    """Whether independent counts prove a share below the limit."""
    alpha = 1 - rule.confidence
    if rule.anytime:
        evidence = statistics.log_evidence(count, share, statistics.PASSING)
        return evidence >= -math.log(alpha)
    return statistics.passing_chance(count, share) <= alpha


def decide_fail(count: Count, share: float, rule: Rule) -> bool:
    """Whether independent counts prove a share above the limit."""
    if count.total < statistics.LEAST_TO_FAIL:
        return False
    if rule.anytime:
        evidence = statistics.log_evidence(count, share, statistics.FAILING)
        return evidence >= -math.log(FAILING_ALPHA)
    return statistics.failing_chance(count, share) <= FAILING_ALPHA


def _needed(
    high: Count,
    low: Count,
    passes: Callable[[Count], bool],
    fails: Callable[[Count], bool],
    span: float,
) -> float | None:
    """How many more tries like these would decide, either way; None where no affordable number."""
    rate = high.total / span if span > 0 else 0.0
    most = max(AFFORDABLE_TRIES, AFFORDABLE_SECONDS * rate)
    ways = (
        statistics.tries_to_decide(high, passes, most),
        statistics.tries_to_decide(low, fails, most),
    )
    return min((way for way in ways if way is not None), default=None)


def _explain(needed: float | None, count: Count, proof: Proof, span: float) -> str:
    if needed is None:
        text = (
            f"{count.bad / count.total:.2%} bad is too near the limit of {proof.limit:.2%}: "
            "no affordable number of samples decides"
        )
        return f"{text}; {proof.out_of_reach}" if proof.out_of_reach else text
    text = f"about {needed:,.0f} more samples like these are needed"
    rate = count.total / span if span > 0 else 0.0
    return f"{text}, {needed / rate:,.0f} s at the present rate" if rate else text


def e_value(count: Count, share: float) -> float:
    """The e-value for a share below the limit, as a number that JSON can hold."""
    return math.exp(min(statistics.log_evidence(count, share, statistics.PASSING), 700.0))


def _together(
    criterion: str, subjects: Sequence[Subject], rule: Rule, limit: Share, remedy: str
) -> Judgement:
    worst = Verdict.PASSED
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        if any(subject.verdict is verdict for subject in subjects):
            worst = verdict
            break
    told = [s for s in subjects if s.verdict is worst]
    reasons = [": ".join(part for part in (s.subject, s.reason) if part) for s in told[:SHOWN]]
    if len(told) > SHOWN:
        reasons.append(f"and {len(told) - SHOWN} more")
    measured = [s.share for s in subjects if s.share is not None]
    facts: dict[str, Any] = {
        "subjects": [msgspec.to_builtins(subject) for subject in subjects],
        "rule": msgspec.to_builtins(rule),
        "edge": limit.edge,
    }
    return Judgement(
        criterion,
        worst,
        f"{len(subjects)} passed" if worst is Verdict.PASSED else "; ".join(reasons),
        {Verdict.FAILED: remedy, Verdict.INCONCLUSIVE: WAIT}.get(worst, ""),
        max(measured, default=None),
        limit.share,
        facts,
    )
