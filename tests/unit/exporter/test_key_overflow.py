"""When a key runs out, from what was seen of it."""

from __future__ import annotations

import math

import pytest

from phasegate.exporter.collectors.key_overflow import WINDOW_SECONDS, Growth


def growth(*looks: tuple[float, int]) -> Growth:
    found = Growth()
    for moment, value in looks:
        found.observe(moment, value)
    return found


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(0, 10)], None),
        ([(0, 10), (10, 20)], None),
        ([(0, 10), (60, 10)], math.inf),
        ([(0, 0), (100, 100)], 900),
        ([(0, 1000)], 0),
        ([(0, 1001), (60, 1002)], 0),
        # Set back: what was before says nothing any more.
        ([(0, 500), (60, 900), (120, 10)], None),
        ([(0, 500), (60, 900), (120, 0), (220, 100)], 900),
        # Only the last day counts.
        ([(0, 0), (100, 700), (100 + WINDOW_SECONDS, 700)], math.inf),
    ],
)
def test_time_until_the_highest_value(
    looks: list[tuple[float, int]], expected: float | None
) -> None:
    assert growth(*looks).seconds_until(1000) == expected
