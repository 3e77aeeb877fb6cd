"""Spans from looks at locks: always bounds from above, never shorter than what was."""

from __future__ import annotations

from typing import Any

import pytest

from phasegate.migrate.lock_watch import LockWatch, Longest, Seen, find_waits

A, B = Seen(1, "public.a"), Seen(2, "public.b")


def test_a_lock_lasts_from_the_look_before_it_to_the_look_after_it() -> None:
    longest = Longest()
    for at, seen in ((0, []), (1, [A]), (2, [A, B]), (3, [B]), (4, [])):
        longest.look(at, at + 0.5, seen)
    # Before 1 it was not there at 0, and at 3.5 it was no more.
    assert (longest.seconds, longest.object) == (3.5, "public.a")


def test_the_age_that_the_server_tells_is_taken() -> None:
    longest = Longest()
    longest.look(0, 0.1, [])
    longest.look(9, 9.1, [A._replace(age=1.0)])
    longest.look(10, 10.1, [A._replace(age=2.0)])
    longest.look(11, 11.1, [])
    assert longest.seconds == pytest.approx(3.1)


def test_what_is_there_at_the_end_lasted_until_then() -> None:
    longest = Longest()
    longest.look(5, 5.1, [A])
    longest.end(7)
    assert longest.seconds == 2
    longest.look(100, 100.1, [A])
    longest.end(101)
    assert longest.seconds == 2


OURS: tuple[Any, ...] = ("ours", 10, "", None, [])


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([(1, [10])], [1]),
        ([(1, [99])], []),
        # The second stands in the queue behind the first, who waits for us.
        ([(2, [1]), (1, [10, 99])], [1, 2]),
        ([(1, [2]), (2, [1])], []),
        ([(1, [0])], []),
    ],
)
def test_who_waits_for_us(waits: list[tuple[int, list[int]]], expected: list[int]) -> None:
    rows: list[Any] = [OURS, *(("wait", pid, "public.t", 0.1, behind) for pid, behind in waits)]
    assert sorted(one.pid for one in find_waits(rows)) == expected


def test_it_says_what_it_saw_and_how_closely_it_looked() -> None:
    watch = LockWatch()
    assert (watch.describe(), watch.facts()) == ("", {})
    watch.looks, watch.gap = 3, 0.03
    assert watch.describe().endswith("none was seen; longest hold of ACCESS EXCLUSIVE: under 30 ms")
    watch.waits.seconds, watch.waits.object, watch.blind = 1.5, "a row", 2.0
    assert "at most 1.50 s (for a row)" in watch.describe()
    assert watch.describe().endswith("not watched for 2.0 s")
