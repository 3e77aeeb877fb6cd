"""What the page says of each criterion: verdicts by the rule of the gates, figures for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from phasegate.contract import metrics
from phasegate.contract.criteria import CRITERIA
from phasegate.contract.model import Block, Observation, Series, Verdict
from phasegate.contract.quantities import WITHOUT_END
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.criteria_now import (
    Held,
    Row,
    count_verdicts,
    describe_criteria,
    make_verdict_samples,
)
from phasegate.exporter.runner import Status
from tests.fixtures.dossiers import CACHE, SERVER, make_held_evidence

NOW = 1_000_000.0
GIVEN = ("integration_tests", "customer_issues")  # to the judge; the exporter measures neither
EDGES = (0.005, 0.01, 0.02)
APPLICATION_URL = "http://127.0.0.1:1/metrics"
CONFIG = """
cache: {url: "redis://127.0.0.1:1"}
tables: [{name: public.users}, {name: public.orders}]
audit: {table: public.audit_logs}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read(tmp_path, CONFIG)


def read(tmp_path: Path, config: str) -> Settings:
    file = tmp_path / "phasegate.yaml"
    file.write_text(config, encoding="utf-8")
    return load_settings(file, {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"})


def describe(
    settings: Settings,
    name: str,
    *,
    observations: Sequence[Observation] = (),
    series: Sequence[Series] = (),
    status: Status | None = None,
) -> Row:
    statuses = {} if status is None else {status.collector: status}
    rows = describe_criteria(
        settings, Held(make_held_evidence(NOW, observations, series), statuses)
    )
    hidden = {*GIVEN, "backup_restored", "preflight"}
    assert [row.criterion for row in rows] == [n for n in CRITERIA if n not in hidden]
    return next(row for row in rows if row.criterion == name)


def missing(table: str, rows: float, age: float = 10) -> Observation:
    return Observation("uuid_missing", "database", f"public.{table}", rows, NOW - age)


def lookups(*counts: int, table: str = "users", failed: int = 0, end: float = NOW - 3) -> Series:
    total = sum(counts) + failed
    block = Block(end - 70, end, "e", SERVER, "h", total, buckets=counts, failed=failed)
    return Series("uuid_lookup_latency", "database", "", "public", table, (block,), EDGES)


def hits(good: int, total: int, scope: str = "server") -> Series:
    identity = CACHE if scope == "server" else APPLICATION_URL
    block = Block(NOW - 70, NOW, "e", identity, "h", total, good)
    return Series("cache_hit_rate", "cache", scope, "", "", (block,))


def test_a_whole_set_of_good_values_passes(settings: Settings) -> None:
    row = describe(
        settings, "uuid_missing", observations=[missing("users", 0), missing("orders", 0, age=20)]
    )
    assert row.verdict is Verdict.PASSED
    assert (row.value, row.limit, row.critical) == ("0 rows", "at most 0 rows", "")
    assert row.age == 20
    assert row.remedy == ""


def test_a_bad_value_fails_with_its_remedy(settings: Settings) -> None:
    row = describe(settings, "uuid_missing", observations=[missing("users", 7)])
    assert row.verdict is Verdict.FAILED
    assert row.value == "7 rows"
    assert "public.users: 7 rows" in row.reason
    assert row.remedy == CRITERIA["uuid_missing"].remedy


def test_a_table_that_nobody_measured_leaves_it_open(settings: Settings) -> None:
    row = describe(settings, "uuid_missing", observations=[missing("users", 0)])
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "public.orders: not measured" in row.reason


def test_old_values_decide_nothing(settings: Settings) -> None:
    old = [missing("users", 0, age=5_000), missing("orders", 0)]
    row = describe(settings, "uuid_missing", observations=old)
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "5000 s ago" in row.reason


def test_without_a_source_the_settings_are_named(tmp_path: Path) -> None:
    bare = read(tmp_path, "environment: test")
    row = describe(bare, "audit_partition_size")
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.remedy == "configure audit"
    assert row.limit == "at most 10 GiB"
    unjudged = describe(bare, "cache_hit_rate")
    assert unjudged.verdict is Verdict.INCONCLUSIVE
    assert unjudged.remedy == "configure cache or application.cache"


def test_latency_is_judged_and_shows_the_worst_table(settings: Settings) -> None:
    row = describe(
        settings,
        "uuid_lookup_latency",
        series=[lookups(950, 40, 10, 0), lookups(900, 60, 30, 10, table="orders", end=NOW - 7)],
    )
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "public.orders: about 1,663 more samples like these are needed" in row.reason
    assert row.value == "P95 ≤ 10 ms"
    assert row.limit == "at most 10 ms"
    assert (
        "public.users on database: 10 of 1,000 lookups (1.00%) failed or over 10 ms" in row.reason
    )
    assert "public.orders on database: 40 of 1,000 lookups (4.00%)" in row.reason
    assert row.age == 7


def test_enough_fast_lookups_of_every_table_pass(settings: Settings) -> None:
    fast = [lookups(300, 0, 0, 0), lookups(300, 0, 0, 0, table="orders")]
    row = describe(settings, "uuid_lookup_latency", series=fast)
    assert (row.verdict, row.remedy) == (Verdict.PASSED, "")
    assert row.reason.startswith("2 passed; public.users on database: 0 of 300")


def test_failed_lookups_count_as_slow(settings: Settings) -> None:
    row = describe(settings, "uuid_lookup_latency", series=[lookups(90, 0, 0, 0, failed=10)])
    assert row.value == "P95 failed"
    assert "10 of 100 lookups (10.00%)" in row.reason


def test_without_lookups_there_is_no_figure(settings: Settings) -> None:
    row = describe(settings, "uuid_lookup_latency", series=[lookups(0, 0, 0, 0)])
    assert (row.value, row.age) == ("", None)
    assert "public.users: nothing was counted" in row.reason
    assert "no lookup in the last 10 minutes" in row.reason


def test_the_application_s_hits_count_where_there_are_some(tmp_path: Path) -> None:
    application = """
application:
  metrics_url: http://127.0.0.1:1/metrics
  cache: {requests: r_total, hits: h_total}
"""
    series = [hits(10, 100), hits(95, 100, "application")]
    row = describe(read(tmp_path, CONFIG + application), "cache_hit_rate", series=series)
    assert (row.value, row.verdict) == ("95 %", Verdict.INCONCLUSIVE)
    assert "counted by the server, not judged): 10 hits of 100 lookups" in row.reason
    by_server = describe(read(tmp_path, CONFIG), "cache_hit_rate", series=series[:1])
    assert by_server.verdict is Verdict.FAILED
    assert (by_server.value, by_server.critical) == ("10 %", "80 %")


def test_an_idle_cache_has_no_rate(settings: Settings) -> None:
    row = describe(settings, "cache_hit_rate", series=[hits(0, 0)])
    assert row.value == ""
    assert "no lookup that could be judged" in row.reason


def test_growth_is_the_last_hour_s_rows(settings: Settings) -> None:
    samples = [metrics.AUDIT_EVENTS(1_000, "auth"), metrics.AUDIT_EVENTS(234, "data")]
    status = Status("audit/events", success=True, last_success=NOW - 30, samples=samples)
    row = describe(settings, "audit_growth", status=status)
    assert (row.verdict, row.value, row.age) == (None, "1,234 rows an hour", 30)
    assert row.critical == "50,000 rows an hour"
    failed = Status("audit/events", reason="privilege")
    assert describe(settings, "audit_growth", status=failed).value == ""


def test_what_is_of_a_migration_shows_where_there_is_one(settings: Settings) -> None:
    checks = [
        Observation("backup_restored", "database", "database", 0, NOW - 1),
        Observation("preflight", "database", "disk", 1, NOW - 1),
    ]
    rows = describe_criteria(settings, Held(make_held_evidence(NOW, checks), {}))
    found = {row.criterion: row for row in rows}
    assert found["backup_restored"].verdict is Verdict.FAILED
    assert found["preflight"].verdict is Verdict.INCONCLUSIVE
    assert "cpu: not measured" in found["preflight"].reason


def test_verdicts_are_counted_the_worst_first(settings: Settings) -> None:
    rows = describe_criteria(settings, Held(make_held_evidence(NOW, [missing("users", 7)]), {}))
    counts = count_verdicts(rows)
    assert list(counts) == [Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED]
    assert list(counts.values()) == [1, 8, 0]


def test_verdicts_as_series_say_what_the_page_says(settings: Settings) -> None:
    runway = Observation(
        "audit_partition_runway", "database", "public.audit_logs", WITHOUT_END, NOW - 4
    )
    held = make_held_evidence(
        NOW, [missing("users", 7, age=20), runway], [lookups(950, 40, 10, 0), hits(10, 100)]
    )
    rows = describe_criteria(settings, Held(held, {}))
    samples = make_verdict_samples(rows, NOW)
    states = {s.labels: s.value for s in samples if s.metric is metrics.CRITERION_STATE}
    judged = {row.criterion: row.verdict for row in rows if row.verdict is not None}
    assert {"error_rate", "audit_growth"}.isdisjoint(judged)
    assert states == {
        (name, state): float(state == verdict)
        for name, verdict in judged.items()
        for state in ("passed", "failed", "inconclusive", "error")
    }
    values = {s.labels[0]: s.value for s in samples if s.metric is metrics.CRITERION_VALUE}
    assert values == {
        "uuid_missing": 7,
        "audit_partition_runway": math.inf,
        "uuid_lookup_latency": 0.01,
        "cache_hit_rate": 0.9,
    }
    times = {s.labels[0]: s.value for s in samples if s.metric is metrics.CRITERION_MEASURED}
    assert times == {
        "uuid_missing": NOW - 20,
        "audit_partition_runway": NOW - 4,
        "uuid_lookup_latency": NOW - 3,
        "cache_hit_rate": NOW,
    }
