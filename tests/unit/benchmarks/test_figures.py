"""The arithmetic of the benchmarks, and what they read from others."""

from __future__ import annotations

import os
import time
from math import nan

import pytest

from benchmarks.cost import RATE
from benchmarks.figures import Claim, growth, pairwise, percentile, spread
from benchmarks.processes import cpu_seconds, memory_alone_bytes, memory_bytes, pinned
from benchmarks.scrape import collected

EXPOSITION = b"""\
# TYPE phasegate_collector_duration_seconds gauge
phasegate_collector_duration_seconds{collector="audit"} 0.012
phasegate_collector_duration_seconds{collector="audit_counts"} 3.5
phasegate_collector_duration_seconds{collector="cache"} 0.002
phasegate_collector_last_success_timestamp_seconds{collector="audit"} 1.7e+09
phasegate_collector_last_success_timestamp_seconds{collector="audit_counts"} 1.69e+09
"""


@pytest.mark.parametrize(
    ("measured", "at_least", "met"),
    [
        (0.5, False, True),
        (0.51, False, False),
        (0.5, True, True),
        (0.49, True, False),
        (nan, False, False),
        (nan, True, False),
    ],
)
def test_a_claim_holds_up_to_its_limit_and_never_without_a_figure(
    measured: float, at_least: bool, met: bool
) -> None:
    claim = Claim("a ratio", measured, 0.5, at_least)
    assert claim.met is met
    assert claim.describe()["at_least" if at_least else "at_most"] == 0.5


def test_a_spread_is_scaled_and_rounded() -> None:
    assert spread([0.0012, 0.0049, 0.0021], 1000) == {"min": 1.2, "median": 2.1, "max": 4.9}


def test_ratios_are_taken_pair_by_pair() -> None:
    assert pairwise([2.0, 30.0], [1.0, 10.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        pairwise([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_growth_is_seen_and_noise_is_not() -> None:
    assert growth([100.0 + n for n in range(9)]) == 3.0
    assert growth([80.0, 90.0, 95.0, 99.0, 100.0, 100.0, 100.0, 100.0, 104.0]) == 0.0


def test_only_the_collectors_of_this_scrape_are_read() -> None:
    assert collected(EXPOSITION, since=1.7e9) == {"audit": 0.012}
    assert collected(EXPOSITION, since=1.6e9) == {"audit": 0.012, "audit_counts": 3.5}


def test_pgbench_s_rate_is_read() -> None:
    found = RATE.search("latency average = 1.2 ms\ntps = 2371.80 (without initial connection)\n")
    assert found is not None
    assert found[1] == "2371.80"


def test_linux_tells_what_a_process_costs() -> None:
    before = cpu_seconds(os.getpid())
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    assert 0.015 < cpu_seconds(os.getpid()) - before < 10
    sizes = memory_bytes(os.getpid())
    assert 0 < sizes["Pss"] <= sizes["Rss"]
    alone = memory_alone_bytes([os.getpid()])
    assert alone == pytest.approx(sizes["Rss"], rel=0.05)
    assert memory_alone_bytes([os.getpid(), os.getpid()]) < 2 * alone


def test_pinning_ends_with_its_block() -> None:
    before = os.sched_getaffinity(0)
    with pinned({min(before)}):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
