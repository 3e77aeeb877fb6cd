"""The bytes of the keys from a sample of them, and how far off that may be."""

from __future__ import annotations

import pytest

from phasegate.exporter.collectors.cache import estimate


@pytest.mark.parametrize(
    ("sizes", "keys", "mean", "error"),
    [
        ([], 0, 0, 0),
        ([], 5, 0, 0),
        ([80], 1, 80, 0),
        ([60, 100], 2, 80, 0),
        ([80] * 10, 1000, 80, 0),
        ([60, 100] * 50, 200, 80, 200 * (161600 / 404 / 100 * 0.5) ** 0.5),
    ],
    ids=["no keys", "all gone", "one", "all asked", "equal", "half asked"],
)
def test_estimate(sizes: list[int], keys: int, mean: float, error: float) -> None:
    found = estimate(sizes, keys)
    assert found == pytest.approx((mean, error), rel=0.01)
