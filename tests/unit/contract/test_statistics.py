"""Our own exact tests against scipy, and the figures that the rule was chosen by."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from phasegate.contract import statistics
from phasegate.contract.statistics import FAILING, PASSING, Count

CASES = [(bad, total) for total in (1, 20, 59, 181, 3_000) for bad in (0, 1, 4, 20) if bad <= total]


@pytest.mark.parametrize("share", [0.001, 0.05, 0.1, 0.5, 0.97])
@pytest.mark.parametrize(("bad", "total"), CASES)
def test_binomial_tails(bad: int, total: int, share: float) -> None:
    count = Count(bad, total)
    assert statistics.passing_chance(count, share) == pytest.approx(
        stats.binom.cdf(bad, total, share), rel=1e-8, abs=1e-12
    )
    assert statistics.failing_chance(count, share) == pytest.approx(
        stats.binom.sf(bad - 1, total, share), rel=1e-6, abs=1e-12
    )


@pytest.mark.parametrize("share", [0.02, 0.1])
@pytest.mark.parametrize(("bad", "total"), [(0.4, 61.3), (3.7, 150.2), (11.5, 99.9)])
def test_fractions_go_by_the_incomplete_beta_function(
    bad: float, total: float, share: float
) -> None:
    expected = stats.beta.sf(share, bad + 1, total - bad)
    assert statistics.binomial_cdf(bad, total, share) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("bad", "total"), CASES)
def test_intervals(bad: int, total: int, confidence: float) -> None:
    low, high = statistics.interval(Count(bad, total), confidence)
    expected = stats.binomtest(bad, total).proportion_ci(confidence, method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("limit", "alpha", "bad", "smallest"),
    [
        *((0.05, 0.05, x, n) for x, n in ((0, 59), (1, 93), (4, 181), (5, 208))),
        *((0.05, 0.01, x, n) for x, n in ((0, 90), (1, 130), (4, 229), (5, 259))),
        *((0.10, a, 0, n) for a, n in ((0.05, 29), (0.01, 44))),
    ],
)
def test_fewest_tries_that_pass(limit: float, alpha: float, bad: int, smallest: int) -> None:
    assert statistics.passing_chance(Count(bad, smallest), limit) <= alpha
    assert statistics.passing_chance(Count(bad, smallest - 1), limit) > alpha


@pytest.mark.parametrize("alternatives", [PASSING, FAILING])
@pytest.mark.parametrize("limit", [0.05, 0.1])
def test_the_expected_e_value_at_the_limit_is_at_most_one(
    alternatives: tuple[tuple[float, float], ...], limit: float
) -> None:
    total = 200
    expected = sum(
        stats.binom.pmf(bad, total, limit)
        * math.exp(statistics.log_evidence(Count(bad, total), limit, alternatives))
        for bad in range(total + 1)
    )
    assert expected <= 1 + 1e-9


def test_peeking_at_the_limit_passes_no_oftener_than_alpha() -> None:
    source = random.Random(4)  # noqa: S311
    gates, passed = 400, 0
    for _ in range(gates):
        bad = 0
        for total in range(1, 1_001):
            bad += source.random() < 0.05
            if total % 5 == 0:
                evidence = statistics.log_evidence(Count(bad, total), 0.05, PASSING)
                if evidence >= math.log(20):
                    passed += 1
                    break
    # 5 % is the bound of the rule; two standard errors above it that of this sample.
    assert passed / gates <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / gates)


@pytest.mark.parametrize("freedom", [19, 29, 99, 999])
def test_dispersion_is_an_upper_bound_by_the_chi_square(freedom: int) -> None:
    source = random.Random(freedom)  # noqa: S311
    blocks = [Count(source.choice((2, 5, 8, 13)), 100) for _ in range(freedom + 1)]
    share = sum(b.bad for b in blocks) / sum(b.total for b in blocks)
    pearson = sum((b.bad - 100 * share) ** 2 / (100 * share * (1 - share)) for b in blocks)
    expected = max(1.0, pearson / stats.chi2.ppf(0.1, freedom))
    assert statistics.dispersion(blocks) == pytest.approx(expected, rel=1e-9)


def test_too_few_blocks_measure_no_dispersion() -> None:
    assert statistics.dispersion([Count(1, 50)] * 19) is None
    assert statistics.dispersion([Count(1, 50)] * 19 + [Count(0, 0)] * 9) is None
    assert statistics.dispersion([Count(1, 50)] * 20) == 1.0


def test_tries_to_decide_are_the_fewest_or_none() -> None:
    def decides(count: Count) -> bool:
        return statistics.passing_chance(count, 0.05) <= 0.05

    assert statistics.tries_to_decide(Count(0, 20), decides, 6_000) == 39
    assert statistics.tries_to_decide(Count(5, 100), decides, 6_000) is None


def test_extremes_stay_within_bounds() -> None:
    assert statistics.interval(Count(0, 0), 0.95) == (0.0, 1.0)
    assert statistics.interval(Count(7, 7), 0.95)[1] == 1.0
    assert statistics.binomial_cdf(3, 10, 0.0) == 1.0
    assert statistics.binomial_cdf(3, 10, 1.0) == 0.0
    assert statistics.log_evidence(Count(0, 1e7), 0.05, PASSING) > 1e5


def test_few_blocks_are_assumed_to_vary_and_more_where_they_do() -> None:
    even = [Count(2, 50)] * 8
    assert statistics.assumed_dispersion(even, 2.0) == 2.0
    assert statistics.assumed_dispersion(even, 0.5) == 1.0
    assert statistics.assumed_dispersion(even[:1], 2.0) == 2.0
    assert statistics.assumed_dispersion([], 2.0) == 2.0
    burst = [*even[:7], Count(30, 50)]
    counts = [block.bad for block in burst]
    share = sum(counts) / 400
    pearson = sum((bad - 50 * share) ** 2 / (50 * share * (1 - share)) for bad in counts)
    assert statistics.assumed_dispersion(burst, 2.0) == pytest.approx(pearson / 7)
    assert statistics.dispersion(burst) is None
