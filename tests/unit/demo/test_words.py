"""What the summary says, and above all: what it may not call measured."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from phasegate.demo.figures import Partition, Scrape, Window
from phasegate.demo.words import (
    INTEGER,
    PERMISSION,
    UUID,
    Tally,
    describe,
    describe_partitions,
    explain,
    find_unmeasured,
)

NAMES = ("audit_logs_legacy", "audit_logs_2030_01", "audit_logs_2030_02", "x", "y")
START = Scrape(
    time=0,
    absent={UUID: "column_missing"},
    cache_requests={"application": 0, "server": 0},
    cache_hits={"application": 0, "server": 0},
    audit_rows=0,
    partitions=(Partition("audit_logs", "", 5 * 2**20),),
    up={"database": True, "cache": True},
    health={"api": True},
    warnings={"uuid_lookup_latency": 0.01, "cache_hit_rate": 0.9},
)
LEGACY_END = replace(
    START,
    time=10,
    buckets={INTEGER: {0.001: 40, 0.01: 40, inf: 40}},
    cache_requests={"application": 100, "server": 110},
    cache_hits={"application": 91, "server": 100},
    audit_rows=15,
)
EXPANDED_END = replace(
    LEGACY_END,
    absent={},
    buckets={key: {0.001: 38, 0.01: 39, inf: 40} for key in (UUID, INTEGER, PERMISSION)},
    partitions=tuple(Partition(name, "audit_logs", 2**20) for name in NAMES),
)
PROMISED = {
    "audit_logs_created_total",
    "cache_requests_total",
    "db_query_duration_seconds",
    "pg_table_size_bytes",
    "phasegate_health_up",
    "phasegate_probe_absent",
    "phasegate_up",
}
BEFORE = Window(START, LEGACY_END)
AFTER = Window(START, EXPANDED_END)


def test_whole_measurement_misses_nothing() -> None:
    assert find_unmeasured(BEFORE, AFTER, PROMISED) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"up": {"database": True}}, "target cache up"),
        ({"up": {"database": True, "cache": False}}, "target cache up"),
        ({"health": {}}, "health of the application"),
        ({"health": {"api": False}}, "health of api"),
        ({"buckets": {UUID: {inf: 5}, PERMISSION: {inf: 5}}}, "id lookup P95 (nothing yet)"),
        ({"cache_requests": {"server": 9}}, "cache hit rate, application (not exposed)"),
        (
            {"cache_requests": {"server": 0, "application": 9}},
            "cache hit rate, server (no requests yet)",
        ),
        ({"audit_rows": None}, "audit rows (not counted)"),
        ({"audit_rows": 0}, "audit rows (+0, 0.0/s)"),
    ],
)
def test_missing_measure_is_named_in_both_windows(change: dict[str, object], expected: str) -> None:
    before = Window(START, replace(LEGACY_END, **change))  # type: ignore[arg-type]
    assert find_unmeasured(before, AFTER, PROMISED) == [f"before: {expected}"]
    after = Window(START, replace(EXPANDED_END, **change))  # type: ignore[arg-type]
    assert find_unmeasured(BEFORE, after, PROMISED) == [f"after: {expected}"]


def test_absence_without_a_reason_is_not_enough() -> None:
    before = Window(START, replace(LEGACY_END, absent={}))
    assert find_unmeasured(before, AFTER, PROMISED) == ["before: why there is no UUID lookup"]


def test_lookups_and_partitions_must_appear_after_the_expansion() -> None:
    end = replace(EXPANDED_END, buckets=LEGACY_END.buckets, partitions=START.partitions)
    assert find_unmeasured(BEFORE, Window(START, end), PROMISED) == [
        "after: UUID lookup P95 (nothing yet)",
        "after: permission check P95 (nothing yet)",
        "after: 3 partitions of the audit log (found 0)",
    ]


@pytest.mark.parametrize("kept", sorted(PROMISED))
def test_only_what_is_promised_must_be_measured(kept: str) -> None:
    nothing = Window(Scrape(0), Scrape(10))
    all_missing = find_unmeasured(nothing, nothing, PROMISED)
    missing = find_unmeasured(nothing, nothing, {kept})
    assert 0 < len(missing) < len(all_missing)
    assert set(missing) < set(all_missing)


def test_short_words() -> None:
    assert describe(BEFORE) == {
        "UUID lookup P95": "absent: column missing",
        "id lookup P95": "0.95 ms of 40 probes",
        "permission check P95": "nothing yet",
        "cache hit rate, application": "91.0 % of 100",
        "cache hit rate, server": "90.9 % of 110",
        "audit rows": "+15, 1.5/s",
        "audit log": "one table, 5.0 MiB",
        "targets": "up: api, cache, database",
    }
    assert describe(AFTER)["audit log"] == "5 partitions, 5.0 MiB"
    down = Window(START, replace(LEGACY_END, up={"database": False}))
    assert describe(down)["targets"] == "DOWN: database"
    small = replace(START, partitions=(Partition("a", "", 8192),))
    assert describe_partitions(small) == {"a": "8 KiB"}


def test_sentences_carry_counts_and_limits() -> None:
    users = {"v1": Tally(1200, 0), "v2": Tally(600, 3)}
    text = "\n".join(explain(BEFORE, AFTER, users))
    assert "absent (column missing) before" in text
    assert "1 took longer than the limit of 10 ms" in text
    assert "more than 90 %" in text
    assert "v1 sent 1,200 requests, none failed" in text
    assert "v2 sent 600 requests, 3 FAILED" in text


def test_sentences_invent_no_limit() -> None:
    after = Window(START, replace(EXPANDED_END, warnings={}))
    text = "\n".join(explain(BEFORE, after, {}))
    assert "limit" not in text
    assert "wants" not in text
