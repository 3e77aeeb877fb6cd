"""Exact and anytime-valid tests on counts of good and bad. Numbers in, numbers out.

A count of `bad` among `total` is tried against the share `limit` that may be bad. Both may be
fractions, after a division by the dispersion. Hand-written, since importing scipy takes longer
than the whole verdict; scipy is the oracle of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

LEAST_BLOCKS = 20
"""Below so many blocks their dispersion cannot be measured."""
MOST_DISPERSION = 10.0
"""Beyond it the counts come in bursts from which nothing can be concluded."""
LEAST_TO_FAIL = 20.0
"""One slow probe of one would be significant at 5 %."""
DISPERSION_CONFIDENCE = 0.90

# Alternatives to the limit, as factors of it, with their weights. Chosen so that few samples
# decide: at a limit of 5 %, 82 where nothing is bad (median), 201 at 2 %, 145 at a true 10 %.
PASSING = ((0.0, 0.1), (0.2, 0.3), (0.4, 0.3), (0.6, 0.2), (0.8, 0.1))
FAILING = ((1.3, 0.2), (1.6, 0.3), (2.0, 0.2), (3.0, 0.2), (6.0, 0.1))

_TINY = 1e-300
_PRECISION = 1e-15
_STEPS = 10_000
_HALVINGS = 44  # leave less than 1e-13 of where they began


class Count(NamedTuple):
    """Of `total` tries `bad` were bad."""

    bad: float
    total: float

    def thinned(self, dispersion: float) -> Count:
        """As many independent tries as these dependent ones are worth."""
        return Count(self.bad / dispersion, self.total / dispersion)


def binomial_cdf(bad: float, total: float, share: float) -> float:
    """P(X <= bad) for X binomial; continued to fractions by the incomplete beta function."""
    if bad >= total or share <= 0:
        return 1.0
    if bad < 0 or share >= 1:
        return 0.0
    return _beta(total - bad, bad + 1, 1 - share)


def passing_chance(count: Count, limit: float) -> float:
    """The chance of no more than these bad, were the true share exactly at the limit."""
    return binomial_cdf(count.bad, count.total, limit)


def failing_chance(count: Count, limit: float) -> float:
    """The chance of at least these bad, were the true share exactly at the limit."""
    return 1 - binomial_cdf(count.bad - 1, count.total, limit) if count.bad > 0 else 1.0


def interval(count: Count, confidence: float) -> tuple[float, float]:
    """Clopper-Pearson: both bounds of the true share, each missed with (1 - confidence) / 2."""
    if count.total <= 0:
        return 0.0, 1.0
    alpha = (1 - confidence) / 2
    low = _bisect(lambda p: failing_chance(count, p) >= alpha) if count.bad > 0 else 0.0
    if count.bad >= count.total:
        return low, 1.0
    return low, _bisect(lambda p: passing_chance(count, p) <= alpha)


def log_evidence(count: Count, limit: float, alternatives: Sequence[tuple[float, float]]) -> float:
    """The log of the e-value: a mixture of likelihood ratios against a share at the limit.

    At least -log(alpha) decides, whenever and however often it is looked at (Ville). Valid while
    the counts are all since one fixed origin.
    """
    good = count.total - count.bad
    logs = []
    for factor, weight in alternatives:
        share = limit * factor
        if share >= 1 or (share == 0 and count.bad > 0):
            continue
        ratio = good * math.log((1 - share) / (1 - limit))
        if count.bad > 0:
            ratio += count.bad * math.log(factor)
        logs.append(math.log(weight) + ratio)
    if not logs:
        return -math.inf
    top = max(logs)
    return top + math.log(sum(math.exp(value - top) for value in logs))


def dispersion(blocks: Sequence[Count]) -> float | None:
    """How much more blocks vary than independent tries would, at least 1; an upper bound.

    None with fewer than `LEAST_BLOCKS` blocks that hold something.
    """
    filled = [block for block in blocks if block.total > 0]
    if len(filled) < LEAST_BLOCKS:
        return None
    least = _chi_square_quantile(1 - DISPERSION_CONFIDENCE, len(filled) - 1)
    return max(1.0, _pearson(filled) / least)


def assumed_dispersion(blocks: Sequence[Count], assumed: float) -> float:
    """The same of blocks too few to bound it: as assumed, or as they vary where that is more.

    Bursts are seen in few blocks where there are any; that none are seen there proves nothing.
    """
    filled = [block for block in blocks if block.total > 0]
    seen = _pearson(filled) / (len(filled) - 1) if len(filled) > 1 else 1.0
    return max(1.0, assumed, seen)


def _pearson(filled: Sequence[Count]) -> float:
    """Pearson's statistic: about as many as there are blocks less one, were tries independent."""
    total = sum(block.total for block in filled)
    share = sum(block.bad for block in filled) / total
    if share in (0, 1):
        return 0.0
    return sum(
        (block.bad - block.total * share) ** 2 / (block.total * share * (1 - share))
        for block in filled
    )


def tries_to_decide(count: Count, decides: Callable[[Count], bool], most: float) -> float | None:
    """How many more tries at the present share would decide; None where `most` do not."""
    share = count.bad / count.total if count.total > 0 else 0.0

    def after(more: float) -> bool:
        return decides(Count(count.bad + more * share, count.total + more))

    if not after(most):
        return None
    low, high = 0.0, most
    while high - low > max(1.0, 1e-3 * high):
        middle = (low + high) / 2
        low, high = (low, middle) if after(middle) else (middle, high)
    return math.ceil(high)


def _bisect(holds: Callable[[float], bool]) -> float:
    """The share from which on `holds` is true."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Lentz's method: numerator and denominator step by step until they stand."""
    upper, lower = 1.0, _invert(1 - (a + b) * x / (a + 1))
    value = lower
    for step in range(1, _STEPS):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for part in (even, odd):
            lower = _invert(1 + part * lower)
            upper = _away_from_zero(1 + part / upper)
            value *= upper * lower
        if abs(upper * lower - 1) < _PRECISION:
            break
    return value


@cache
def _chi_square_quantile(share: float, freedom: float) -> float:
    """The value below which that share of a chi-square distribution lies."""
    low, high = 0.0, 2 * freedom + 20
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _gamma(freedom / 2, middle / 2) < share:
            low = middle
        else:
            high = middle
    return high


def _gamma(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function, by its series (DLMF 8.7.1)."""
    if x <= 0:
        return 0.0
    term = total = 1 / a
    step = a
    while term > total * _PRECISION:
        step += 1
        term *= x / step
        total += term
    return total * math.exp(a * math.log(x) - x - math.lgamma(a))


def _invert(value: float) -> float:
    return 1 / _away_from_zero(value)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
