"""Errors against a baseline: the exact test, its bounds, and what never may pass."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from phasegate.contract.baseline import Counted
from phasegate.contract.blocks import Rule
from phasegate.contract.increase import (
    FLOOR_PART,
    Margin,
    evaluate_increase,
    fails_once,
    passes_once,
)
from phasegate.contract.model import Block, Judgement, Series, Verdict
from phasegate.contract.proportions import FAILING_ALPHA, e_value
from phasegate.contract.statistics import Count
from tests.fixtures.dossiers import NOW, ends, make_block

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE
ADDRESS = "http://127.0.0.1:8080/metrics"
MARGIN = Margin(1.5, 0.001)
ONE_LOOK = Rule()
ALPHA = 0.05
SIZES = st.integers(20, 5_000)


def before(errors: int, requests: int, dispersion: float | None = 1.0) -> Counted:
    return Counted(
        *("error_rate", "application", "", "", "", ADDRESS, "h", NOW - 90_000, NOW - 3_600),
        blocks=8_640,
        total=requests,
        good=requests - errors,
        dispersion=dispersion,
    )


def spread(errors: int, requests: int, blocks: int = 30) -> list[Block]:
    """The same counts in even blocks, the rest in the first ones."""
    found = []
    for i, end in enumerate(ends(blocks)):
        bad = errors // blocks + (i < errors % blocks)
        total = requests // blocks + (i < requests % blocks)
        found.append(make_block(end, total=total, good=total - bad, identity=ADDRESS))
    return found


def judge(
    baseline: Counted,
    blocks: list[Block],
    rule: Rule = ONE_LOOK,
    margin: Margin = MARGIN,
    address: str = ADDRESS,
) -> Judgement:
    return evaluate_increase(
        *("error_rate", baseline, [Series("error_rate", "application", "", "", "", tuple(blocks))]),
        *(rule, NOW),
        margin=margin,
        identities={"application": address},
        expected=frozenset({"application"}),
        remedy="see the log",
    )


@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize(("errors", "verdict"), [(1_000, PASSED), (1_050, PASSED), (2_000, FAILED)])
def test_the_same_and_a_little_more_pass_twice_as_many_fail(
    errors: int, verdict: Verdict, *, anytime: bool
) -> None:
    found = judge(before(1_000, 100_000), spread(errors, 100_000), rule=Rule(anytime=anytime))
    assert found.verdict is verdict, found


@pytest.mark.parametrize("anytime", [False, True])
@pytest.mark.parametrize("errors", [5, 10])
def test_five_events_decide_nothing(errors: int, *, anytime: bool) -> None:
    found = judge(before(5, 500), spread(errors, 500), rule=Rule(anytime=anytime))
    assert found.verdict is INCONCLUSIVE
    assert "baseline 5 of 500 (1.000%), margin 1.5, floor 0.100%" in found.reason


def test_what_is_needed_is_told() -> None:
    found = judge(before(2_000, 200_000), spread(12, 1_200))
    [subject] = found.facts["subjects"]
    assert found.verdict is INCONCLUSIVE
    assert (
        f"about {subject['tries_needed']:,.0f} more samples like these are needed" in found.reason
    )
    enough = 1_200 + int(subject["tries_needed"])
    assert judge(before(2_000, 200_000), spread(enough // 100, enough)).verdict is PASSED


def test_a_baseline_that_is_too_small_for_any_sample_is_told() -> None:
    found = judge(before(5, 500), spread(100, 10_000))
    assert found.verdict is INCONCLUSIVE
    assert "a baseline of more requests decides sooner" in found.reason


def test_without_an_error_before_the_floor_decides() -> None:
    assert judge(before(0, 50_000), spread(0, 10_000)).verdict is PASSED
    assert judge(before(0, 50_000), spread(0, 1_000)).verdict is INCONCLUSIVE
    assert judge(before(0, 50_000), spread(100, 10_000)).verdict is FAILED


def test_a_rate_below_the_floor_passes_though_it_has_doubled() -> None:
    assert judge(before(20, 100_000), spread(40, 100_000)).verdict is PASSED
    tight = judge(before(20, 100_000), spread(60, 100_000), margin=Margin(1.5, 0.0))
    assert tight.verdict is FAILED


@pytest.mark.parametrize("anytime", [False, True])
def test_a_rate_below_the_floor_never_fails_however_much_it_rose(*, anytime: bool) -> None:
    rule, few, rose = Rule(anytime=anytime), before(200, 1_000_000), spread(600, 1_000_000)
    assert judge(few, rose, rule, margin=Margin(1.5, 0.0)).verdict is FAILED
    found = judge(few, rose, rule)
    assert found.verdict is PASSED, found


def test_half_of_the_chance_of_a_wrong_pass_is_left_to_the_bound_of_the_baseline() -> None:
    tries = range(1_000, 20_000)
    whole = next(n for n in tries if e_value(Count(0, n), MARGIN.floor) >= 1 / ALPHA)
    half = next(n for n in tries if e_value(Count(0, n), MARGIN.floor) >= 2 / ALPHA)
    assert half > whole
    for requests, verdict in ((whole, INCONCLUSIVE), (half - 1, INCONCLUSIVE), (half, PASSED)):
        found = judge(before(0, 50_000), spread(0, requests), rule=Rule(anytime=True))
        assert found.verdict is verdict, requests


def test_no_limit_below_one_decides_nothing() -> None:
    found = judge(before(900, 1_000), spread(100, 10_000))
    assert found.verdict is INCONCLUSIVE
    assert "decides nothing" in found.reason


def test_facts_hold_the_counts_of_both() -> None:
    found = judge(before(1_000, 100_000), spread(1_000, 100_000))
    [subject] = found.facts["subjects"]
    assert (subject["bad"], subject["total"]) == (1_000, 100_000)
    assert subject["low"] < subject["share"] == 0.01 < subject["high"]
    base = found.facts["baseline"]
    assert (base["bad"], base["total"], base["factor"], base["floor"]) == (
        1_000,
        100_000,
        1.5,
        0.001,
    )
    assert base["low"] < base["share"] == 0.01 < base["high"]
    assert found.limit == pytest.approx(0.015)


def test_bursts_in_either_period_are_worth_less() -> None:
    assert judge(before(100, 10_000), spread(100, 10_000)).verdict is PASSED
    bursts = before(100, 10_000, dispersion=6.0)
    assert judge(bursts, spread(100, 10_000)).verdict is INCONCLUSIVE
    burst = spread(0, 20_000)
    for i in range(0, 30, 6):
        burst[i] = make_block(ends()[i], total=666, good=626, identity=ADDRESS)
    assert judge(before(200, 20_000), burst).verdict is INCONCLUSIVE
    few = judge(before(200, 20_000, dispersion=None), spread(200, 20_000))
    assert few.facts["baseline"]["dispersion"] == 2.0
    assert few.facts["baseline"]["dispersion_assumed"]


def test_what_turned_bad_at_the_end_does_not_pass() -> None:
    blocks = spread(100, 30_000, blocks=300)
    blocks[-3:] = [make_block(end, total=100, good=91, identity=ADDRESS) for end in ends(300)[-3:]]
    found = judge(before(1_000, 100_000), blocks)
    assert found.verdict is INCONCLUSIVE
    assert "bad at the end" in found.reason


def test_of_another_application_nothing_is_evidence() -> None:
    blocks = spread(0, 100_000)
    assert judge(before(9, 10_000), blocks, address="x").verdict is INCONCLUSIVE
    assert judge(before(9, 10_000), blocks, address="").verdict is INCONCLUSIVE
    assert judge(before(9, 10_000), []).verdict is INCONCLUSIVE


@given(st.data(), SIZES, SIZES, st.floats(1.0, 4.0), st.floats(0.0, 0.1))
def test_the_exact_test_is_scipys(
    data: st.DataObject, n1: int, n2: int, factor: float, floor: float
) -> None:
    x1, x2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    part = factor * n2 / (n1 + factor * n2)
    chances = (binom.cdf(x2, x1 + x2, part), binom.cdf(x2, n2, floor) if floor else 1.0)
    limits = (ALPHA * (1 - FLOOR_PART), ALPHA * FLOOR_PART)
    tails = (binom.sf(x2 - 1, x1 + x2, part), binom.sf(x2 - 1, n2, floor))
    near = [abs(chance - limit) < 1e-9 for chance, limit in zip(chances, limits, strict=True)]
    if any(near) or any(abs(tail - FAILING_ALPHA) < 1e-9 for tail in tails):
        return
    old, new, margin = Count(x1, n1), Count(x2, n2), Margin(factor, floor)
    expected = any(chance <= limit for chance, limit in zip(chances, limits, strict=True))
    assert passes_once(old, new, margin, ALPHA) is expected
    assert fails_once(old, new, margin) is all(tail <= FAILING_ALPHA for tail in tails)


@settings(max_examples=40, deadline=None)
@given(st.data(), SIZES, SIZES, st.booleans())
def test_more_errors_never_help(data: st.DataObject, n1: int, n2: int, anytime: bool) -> None:
    x1 = data.draw(st.integers(0, n1 // 3))
    fewer = data.draw(st.integers(0, n2))
    more = data.draw(st.integers(fewer, n2))
    rule = Rule(anytime=anytime)
    # One block, so that both are worth the same.
    less, worse = (
        judge(before(x1, n1), [make_block(NOW - 1, 60.0, total=n2, good=n2 - x, identity=ADDRESS)],
              rule=rule).verdict
        for x in (fewer, more)
    )  # fmt: skip
    if less is FAILED:
        assert worse is FAILED
    if worse is PASSED:
        assert less is PASSED


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=25, max_size=40),
    st.integers(0, 24),
    st.integers(1, 400),
    st.booleans(),
)
def test_an_added_error_never_turns_a_failure_into_a_pass(
    counts: list[tuple[int, int]], place: int, added: int, anytime: bool
) -> None:
    def blocks(extra: int) -> list[Block]:
        return [
            make_block(end, total=good + bad + (i == place) * extra, good=good, identity=ADDRESS)
            for i, (end, (good, bad)) in enumerate(zip(ends(len(counts)), counts, strict=True))
        ]

    rule = Rule(anytime=anytime)
    was = judge(before(300, 10_000), blocks(0), rule=rule).verdict
    now = judge(before(300, 10_000), blocks(added), rule=rule).verdict
    assert (was, now) != (FAILED, PASSED)


@pytest.mark.parametrize(
    ("n1", "n2", "rate"),
    [
        (5_000, 100_000, 0.001),
        (20_000, 20_000, 0.001),
        (100_000, 20_000, 0.001),
        # With so many errors 5 % for the margin and 1 % for the floor would be too much.
        (20_000, 200_000, 0.01),
    ],
)
def test_exactly_at_both_limits_no_more_than_alpha_pass(n1: int, n2: int, rate: float) -> None:
    """The sum over all outcomes at a rate that is the floor and the margin at once."""
    margin = Margin(MARGIN.factor, rate)
    chance = 0.0
    for x1 in range(int(n1 * rate * 3) + 20):
        weight = float(binom.pmf(x1, n1, rate / margin.factor))
        if weight < 1e-7:
            continue
        # The largest count that passes; more never pass where fewer fail.
        low, high = -1, n2
        while high - low > 1:
            middle = (low + high) // 2
            passes = passes_once(Count(x1, n1), Count(middle, n2), margin, ALPHA)
            low, high = (middle, high) if passes else (low, middle)
        chance += weight * float(binom.cdf(low, n2, rate))
    assert 0.01 < chance <= ALPHA
