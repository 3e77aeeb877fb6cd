"""The exact criteria: below, at, above, missing, stale, contradictory; and nothing else passes."""

from __future__ import annotations

import math

import pytest

from phasegate.contract.criteria import CRITERIA, Decision, Direction, Limit
from phasegate.contract.errors import ContractError
from phasegate.contract.evaluate import evaluate_exact
from phasegate.contract.model import Judgement, Observation, Verdict

NOW = 1_000_000.0
MAX_AGE = 60.0
SIZE = "audit_partition_size"
ABOVE = Limit(Direction.ABOVE, 10.0)
BELOW = Limit(Direction.BELOW, 10.0)
PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def seen(value: float, age: float = 1.0, subject: str = "public.a") -> Observation:
    return Observation(SIZE, "database", subject, value, NOW - age)


def judge(
    *observations: Observation, limit: Limit = ABOVE, expected: frozenset[str] = frozenset()
) -> Judgement:
    return evaluate_exact(SIZE, observations, NOW, limit, MAX_AGE, expected=expected)


BOUNDARIES = [
    pytest.param([seen(9)], PASSED, id="below"),
    pytest.param([seen(10)], PASSED, id="at"),
    pytest.param([seen(math.nextafter(10, 11))], FAILED, id="above"),
    pytest.param([], INCONCLUSIVE, id="missing"),
    pytest.param([seen(9, age=MAX_AGE)], PASSED, id="just fresh"),
    pytest.param([seen(9, age=MAX_AGE + 0.1)], INCONCLUSIVE, id="stale"),
    pytest.param([seen(11, age=MAX_AGE + 0.1)], INCONCLUSIVE, id="stale and bad"),
    pytest.param([seen(9, age=-60)], INCONCLUSIVE, id="from the future"),
    pytest.param([seen(9, age=2), seen(11, age=1)], INCONCLUSIVE, id="contradictory"),
    pytest.param([seen(8, age=1), seen(9, age=1)], INCONCLUSIVE, id="two values at one time"),
    pytest.param([seen(11, age=90), seen(9, age=1)], PASSED, id="bad long ago"),
    pytest.param([seen(math.nan)], INCONCLUSIVE, id="nan"),
    pytest.param([seen(-math.inf)], INCONCLUSIVE, id="-inf"),
    pytest.param([seen(math.inf)], INCONCLUSIVE, id="+inf"),
    pytest.param([seen(9, age=math.nan)], INCONCLUSIVE, id="no time"),
    pytest.param([seen(9), seen(11, subject="public.b")], FAILED, id="one of two bad"),
    pytest.param([seen(9), seen(9, 90, "public.b")], INCONCLUSIVE, id="one of two stale"),
    pytest.param([seen(11), seen(9, 90, "public.b")], FAILED, id="a bad one beside a stale one"),
]


@pytest.mark.parametrize(("observations", "verdict"), BOUNDARIES)
def test_boundaries(observations: list[Observation], verdict: Verdict) -> None:
    judgement = judge(*observations)
    assert judgement.verdict is verdict
    assert judgement.reason
    assert bool(judgement.remedy) is (verdict is not PASSED)


@pytest.mark.parametrize(
    ("value", "verdict"), [(9.9, FAILED), (10, PASSED), (10.1, PASSED), (math.inf, INCONCLUSIVE)]
)
def test_a_limit_that_must_not_be_undercut(value: float, verdict: Verdict) -> None:
    assert judge(seen(value), limit=BELOW).verdict is verdict


def test_what_was_expected_must_have_been_measured() -> None:
    expected = frozenset({"public.a", "public.b"})
    judgement = judge(seen(1), expected=expected)
    assert judgement.verdict is INCONCLUSIVE
    assert "public.b" in judgement.reason
    assert judge(seen(1), seen(2, subject="public.b"), expected=expected).verdict is PASSED
    assert judge(seen(11), expected=expected).verdict is FAILED


def test_other_criteria_prove_nothing() -> None:
    other = Observation("health", "database", "public.a", 1, NOW)
    assert judge(other).verdict is INCONCLUSIVE


def test_the_worst_is_named() -> None:
    judgement = judge(seen(3), seen(12, subject="public.b"), seen(11, subject="public.c"))
    assert (judgement.measured, judgement.limit) == (12, 10)
    assert judgement.facts["worst"] == "public.b"
    assert "public.b: 12" in judgement.reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_limit_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ContractError):
        judge(seen(1), limit=Limit(Direction.ABOVE, value))


@pytest.mark.parametrize("now", [math.nan, math.inf])
def test_an_impossible_clock_never_passes(now: float) -> None:
    judgement = evaluate_exact(SIZE, [seen(1)], now, ABOVE, MAX_AGE)
    assert judgement.verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    "criterion", [name for name, c in CRITERIA.items() if c.decision is Decision.EXACT]
)
def test_every_exact_criterion_fails_beyond_its_limit_and_says_what_to_do(criterion: str) -> None:
    entry = CRITERIA[criterion]
    limit = Limit(entry.direction, entry.warning, entry.unit)
    worse = entry.warning + (1 if entry.direction is Direction.ABOVE else -1)
    judged = [
        evaluate_exact(
            criterion, [Observation(criterion, "database", "x", value, NOW)], NOW, limit, MAX_AGE
        )
        for value in (entry.warning, worse)
    ]
    assert [one.verdict for one in judged] == [PASSED, FAILED]
    assert judged[1].remedy == entry.remedy


def test_values_are_told_in_their_unit() -> None:
    limit = Limit(Direction.ABOVE, 10 * 2**30, "bytes")
    assert "public.a: 12 GiB; limit 10 GiB" in judge(seen(12 * 2**30), limit=limit).reason
