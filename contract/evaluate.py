"""Judges the exact criteria: a measured value against a limit. Pure.

Only whole, fresh, finite and uncontradicted evidence passes. One value on the bad side fails the
criterion whatever else is missing; anything short of both is inconclusive.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from phasegate.contract.criteria import CRITERIA, Direction, Limit
from phasegate.contract.errors import ContractError
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.model import Judgement, Observation, Verdict
from phasegate.contract.quantities import Unit, format_value

SHOWN = 5
WAIT = "let the exporter measure it (collectors on its page tell why one fails), then judge again"


def evaluate_exact(
    criterion: str,
    observations: Iterable[Observation],
    now: float,
    limits: Limit,
    max_age: float,
    *,
    expected: frozenset[str] = frozenset(),
) -> Judgement:
    """The verdict of `criterion` at `now` (Unix seconds).

    Observations of other criteria are ignored; one older than `max_age` seconds is stale.
    `expected` names subjects that must have been measured; without any, one at least must be.
    """
    if not math.isfinite(limits.value):
        raise ContractError(criterion, f"limit {limits.value} decides nothing")
    by_subject: dict[tuple[str, str], list[Observation]] = defaultdict(list)
    for one in observations:
        if one.criterion == criterion:
            by_subject[one.target, one.subject].append(one)
    decided: list[Observation] = []
    doubts = [f"{s}: not measured" for s in sorted(expected - {s for _, s in by_subject})]
    for (_, subject), found in sorted(by_subject.items()):
        doubt = _doubt(found, now, limits, max_age)
        if doubt:
            doubts.append(f"{subject}: {doubt}")
        else:
            decided.append(max(found, key=lambda one: one.time))
    if not by_subject and not doubts:
        doubts.append("nothing was measured")
    return _judge(criterion, decided, doubts, limits, now)


def _doubt(found: Sequence[Observation], now: float, limits: Limit, max_age: float) -> str:
    """Why these observations of one subject decide nothing; empty where they do."""
    newest = max(found, key=lambda one: one.time)
    if not all(math.isfinite(one.value) and math.isfinite(one.time) for one in found):
        return "no finite value"
    age = now - newest.time
    if not age <= max_age:
        return f"measured {age:.0f} s ago, older than {max_age:.0f} s"
    if not age >= -CLOCK_SKEW_SECONDS:
        return f"measured {-age:.0f} s in the future; compare the clocks"
    fresh = [one for one in found if now - one.time <= max_age]
    at_once = {one.value for one in fresh if one.time == newest.time}
    if len(at_once) > 1 or len({limits.admits(one.value) for one in fresh}) > 1:
        values = ", ".join(format_value(one.value, limits.unit) for one in fresh)
        return f"contradictory values {values}"
    return ""


def _judge(
    criterion: str,
    decided: Sequence[Observation],
    doubts: Sequence[str],
    limits: Limit,
    now: float,
) -> Judgement:
    bad = [one for one in decided if not limits.admits(one.value)]
    side = max if limits.direction is Direction.ABOVE else min
    worst = side(decided, key=lambda one: one.value, default=None)
    limit, remedy = format_value(limits.value, limits.unit), CRITERIA[criterion].remedy
    if bad:
        verdict = Verdict.FAILED
        told = [f"{one.subject}: {format_value(one.value, limits.unit)}" for one in bad]
        # Of a check that passed or did not there is no limit to tell.
        reason = list_first(told) + ("" if limits.unit == Unit.CHECK else f"; limit {limit}")
    elif doubts or worst is None:
        verdict, reason, remedy = Verdict.INCONCLUSIVE, list_first(doubts), WAIT
    else:
        verdict, remedy = Verdict.PASSED, ""
        measured = format_value(worst.value, limits.unit)
        reason = f"{len(decided)} measured, the worst {measured}, limit {limit}"
    facts = {
        "subjects": len(decided),
        "bad": len(bad),
        "undecided": len(doubts),
        "worst": worst.subject if worst else "",
        "oldest_seconds": max((now - one.time for one in decided), default=None),
    }
    value = worst.value if worst else None
    return Judgement(criterion, verdict, reason, remedy, value, limits.value, facts)


def list_first(parts: Sequence[str], count: int | None = None) -> str:
    """The first parts, and how many more there are of `count`, which may be more than `parts`."""
    rest = (len(parts) if count is None else count) - len(parts[:SHOWN])
    return "; ".join(parts[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
