"""Judges a criterion that must not get worse: errors by requests, against a baseline. Pure.

"Not significantly more" is not "no more": a doubled rate looks insignificant for long. So what is
tried is the increase by more than the margin, and passing means that it is ruled out. Both periods
keep their counts, each worth fewer by its own dispersion.

One look compares the two counts by the exact conditional test. Where one looks again and again the
baseline's rate is replaced by its bound and the present is decided against that by an e-value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from phasegate.contract import statistics
from phasegate.contract.baseline import Counted
from phasegate.contract.blocks import Rule, Share
from phasegate.contract.model import Judgement, Series
from phasegate.contract.proportions import (
    FAILING_ALPHA,
    Proof,
    e_value,
    evaluate_proof,
)
from phasegate.contract.statistics import Count

FLOOR_PART = 0.2
"""Of the chance of a wrong pass, for the floor; the rest is for the margin. There are two ways to
pass, and a rate exactly at both limits must not get twice the chance."""
LONGER = "a baseline of more requests decides sooner"


class Margin(msgspec.Struct, frozen=True):
    """At most `factor` times the baseline's rate, or a rate below `floor` whatever that was."""

    factor: float
    floor: float


def evaluate_increase(
    criterion: str,
    baseline: Counted,
    series: Iterable[Series],
    rule: Rule,
    now: float,
    *,
    margin: Margin,
    identities: Mapping[str, str],
    expected: frozenset[str],
    remedy: str = "",
) -> Judgement:
    """The verdict of `criterion` at `now` (Unix seconds); series are chosen as `evaluate_share`
    does. `baseline` must hold tries; `facts` has its counts, its rate with an interval, the margin.
    """
    measured = baseline.dispersion
    spread = max(1.0, rule.assumed_dispersion) if measured is None else measured
    before = Count(baseline.total - baseline.good, baseline.total)
    limit = max(margin.floor, margin.factor * before.bad / before.total)
    judged = evaluate_proof(
        *(criterion, series, rule, now, Share(limit)),
        proof=_make_proof(before.thinned(spread), rule, margin, limit),
        identities=identities,
        expected=expected,
        remedy=remedy,
    )
    low, high = statistics.interval(before.thinned(spread), rule.confidence)
    facts = {
        "bad": int(before.bad), "total": int(before.total), "share": before.bad / before.total,
        "low": low, "high": high, "dispersion": spread, "dispersion_assumed": measured is None,
        "start": baseline.start, "end": baseline.end, **msgspec.to_builtins(margin),
    }  # fmt: skip
    told = (
        f"{judged.reason}; baseline {before.bad:,.0f} of {before.total:,.0f} "
        f"({before.bad / before.total:.3%}), margin {margin.factor:g}, floor {margin.floor:.3%}"
    )
    return replace(judged, reason=told, facts=judged.facts | {"baseline": facts})


def _make_proof(before: Count, rule: Rule, margin: Margin, limit: float) -> Proof:
    def passes(count: Count) -> bool:
        return passes_once(before, count, margin, 1 - rule.confidence)

    def fails(count: Count) -> bool:
        return fails_once(before, count, margin)

    if not rule.anytime:
        return Proof(limit, passes, fails, fails, None, LONGER)
    # Half of the chance of error is the bound's, half the e-value's.
    lowest = margin.factor * statistics.interval(before, rule.confidence)[0]
    highest = margin.factor * statistics.interval(before, 1 - FAILING_ALPHA)[1]
    passing, failing = max(margin.floor, lowest), max(margin.floor, highest)
    return Proof(
        limit,
        lambda count: evidence(count, passing) >= 1 / (1 - rule.confidence),
        lambda count: _fails_always(count, failing),
        fails,
        lambda count: evidence(count, passing),
        LONGER,
    )


def passes_once(before: Count, count: Count, margin: Margin, alpha: float) -> bool:
    """Whether one look at independent counts rules out an increase, wrongly with `alpha`."""
    chance = statistics.passing_chance(*_conditional(before, count, margin))
    if chance <= alpha * (1 - FLOOR_PART):
        return True
    return statistics.passing_chance(count, margin.floor) <= alpha * FLOOR_PART


def fails_once(before: Count, count: Count, margin: Margin) -> bool:
    """Whether one look at independent counts proves a rate above the floor, and an increase."""
    if count.total < statistics.LEAST_TO_FAIL:
        return False
    if statistics.failing_chance(count, margin.floor) > FAILING_ALPHA:
        return False
    return statistics.failing_chance(*_conditional(before, count, margin)) <= FAILING_ALPHA


def _conditional(before: Count, count: Count, margin: Margin) -> tuple[Count, float]:
    """The present's part of all that was bad, and what it would be exactly at the margin."""
    present = margin.factor * count.total
    return Count(count.bad, before.bad + count.bad), present / (before.total + present)


def evidence(count: Count, limit: float) -> float:
    """The e-value for a rate below a limit that was itself estimated."""
    return e_value(count, limit) / 2 if 0 < limit < 1 else 0.0


def _fails_always(count: Count, limit: float) -> bool:
    if count.total < statistics.LEAST_TO_FAIL or not 0 < limit < 1:
        return False
    found = statistics.log_evidence(count, limit, statistics.FAILING)
    return found >= -math.log(FAILING_ALPHA / 2)
