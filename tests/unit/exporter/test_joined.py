"""A source's counters joined across its restarts: no spike, no dip, nothing twice."""

from __future__ import annotations

import pytest

from phasegate.exporter.joined import Joined


@pytest.mark.parametrize(
    ("readings", "gained"),
    [
        ([("a", (10, 5)), ("a", (15, 8))], (5, 3)),
        ([("a", (10, 5)), ("a", (10, 5))], (0, 0)),
        ([("a", (10, 5)), ("b", (4, 1))], (4, 1)),
        ([("a", (10, 5)), ("b", (40, 30))], (40, 30)),
        ([("a", (10, 5)), ("a", (12, 2))], (12, 2)),
        ([("a", (10, 5))], (0, 0)),
    ],
    ids=["grown", "at rest", "restart", "restart hidden by overtaking", "reset", "first look"],
)
def test_gain(readings: list[tuple[str, tuple[int, int]]], gained: tuple[int, int]) -> None:
    joined = Joined()
    found = [joined.advance("server", epoch, values) for epoch, values in readings]
    assert found[-1] == gained


def test_a_restored_join_goes_on_where_it_stood() -> None:
    first, second = Joined(), Joined()
    first.advance("server", "a", (10, 5))
    second.restore(first.dump())
    assert second.advance("server", "a", (11, 5)) == (1, 0)
