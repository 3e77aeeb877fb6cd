"""A source's counters joined across its restarts: no spike, no dip, nothing twice."""

from __future__ import annotations

import msgspec
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


@pytest.mark.parametrize(
    ("began", "gained"),
    [(995.0, (40, 30)), (1000.5, (40, 30)), (993.5, (0, 0)), (10.0, (0, 0))],
    ids=["after the reading", "well after", "before the reading", "long before"],
)
def test_a_server_that_ran_before_the_last_reading_took_over(
    began: float, gained: tuple[int, int]
) -> None:
    joined = Joined()
    joined.advance("server", "a", (10, 5), time=995.0, began=0)
    assert joined.advance("server", "b", (40, 30), time=1001.0, began=began) == gained
    assert joined.advance("server", "b", (41, 30), time=1002.0, began=began) == (1, 0)


def test_restarts_are_counted_within_an_epoch() -> None:
    joined = Joined()
    for epoch, values, restarts in [
        ("a", (10, 5), 0),
        ("a", (3, 1), 1),
        ("a", (2, 1), 2),
        ("a", (4, 2), 2),
        ("b", (1, 0), 0),
    ]:
        joined.advance("server", epoch, values)
        assert joined.restarts("server") == restarts


def test_a_restored_join_goes_on_where_it_stood() -> None:
    first, second = Joined(), Joined()
    first.advance("server", "a", (10, 5))
    second.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(first.dump())))
    assert second.advance("server", "a", (11, 5)) == (1, 0)
