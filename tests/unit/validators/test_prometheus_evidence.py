"""Every kind of spoiled series has its only correct verdict, and the healthy ones pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from phasegate.contract.model import Verdict
from phasegate.validators.prometheus_api import Row
from tests.fixtures.dossiers import CONFIG, NOW
from tests.fixtures.scraped import CRITERIA, LOOKUP, ORIGIN, Scraped, healthy

LATENCY, HIT_RATE = "uuid_lookup_latency", "cache_hit_rate"
BUCKET, COUNT = "db_query_duration_seconds_bucket", "db_query_duration_seconds_count"
UNCOUNTED = {"error_rate"}


@pytest.mark.parametrize("criterion", sorted({*CRITERIA} - UNCOUNTED))
@pytest.mark.parametrize("interval", [1.0, 15.0, 60.0])
def test_the_healthy_pass_whatever_the_interval(
    criterion: str, interval: float, tmp_path: Path
) -> None:
    found = healthy(tmp_path, interval=interval).judge(criterion)
    assert found.verdict is Verdict.PASSED, found


def test_counts_are_those_between_scrapes(tmp_path: Path) -> None:
    [subject] = healthy(tmp_path).judge(LATENCY).facts["subjects"]
    assert (subject["total"], subject["bad"], subject["blocks"]) == (39 * 50, 0, 39)
    [subject] = healthy(tmp_path, interval=1.0).judge(HIT_RATE).facts["subjects"]
    assert (subject["total"], subject["bad"]) == (597 * 50, 597)
    assert 60 <= subject["blocks"] <= 61


def test_errors_of_the_application_are_in_no_series(tmp_path: Path) -> None:
    config = CONFIG + (
        'application: {metrics_url: "http://127.0.0.1:1/m", requests: {metric: r_total}, '
        "errors: {metric: e_total}}\n"
    )
    found = healthy(tmp_path, config).judge("error_rate")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "--source exporter" in found.reason


def test_the_triggers_themselves_are_in_no_series(tmp_path: Path) -> None:
    watch = "audit: {table: public.audit_logs, watch: [{table: public.users}]}"
    config = CONFIG.replace("audit: {table: public.audit_logs}", watch)
    found = healthy(tmp_path, config).judge("audit_coverage")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no series of Phasegate holds the triggers" in found.reason
    assert "--source exporter" in found.reason


def put(name: str, number: int, value: float, **labels: str) -> Callable[[Scraped], None]:
    """One sample of these series is another one."""

    def spoil(scraped: Scraped) -> None:
        for row in scraped.find(name, **labels):
            row.points[number] = (row.points[number][0], value)

    return spoil


def since_scrape(name: str, number: int, value: float) -> Callable[[Scraped], None]:
    """From that scrape on these series have another value."""

    def spoil(scraped: Scraped) -> None:
        for row in scraped.find(name):
            row.points[number:] = [(moment, value) for moment, _ in row.points[number:]]

    return spoil


def second_exporter(scraped: Scraped) -> None:
    scraped.rows += [Row(row.labels | {"instance": "b:9899"}, row.points) for row in scraped.rows]


def another_environment(scraped: Scraped) -> None:
    for row in scraped.find("phasegate_target_info"):
        row.labels["environment"] = "staging"


def two_environments(scraped: Scraped) -> None:
    for row in scraped.find("phasegate_target_info", target="cache"):
        row.labels["environment"] = "staging"


def native_only(scraped: Scraped) -> None:
    scraped.drop(BUCKET)
    scraped.drop(COUNT)
    name = {"__name__": "db_query_duration_seconds"}
    scraped.rows.append(Row(ORIGIN | LOOKUP | name, [], native=True))


def no_latency(scraped: Scraped) -> None:
    scraped.drop(BUCKET)
    scraped.drop(COUNT)


def edge_twice(scraped: Scraped) -> None:
    [row] = scraped.find(BUCKET, le="0.01")
    scraped.rows.append(Row(row.labels | {"le": "1e-2"}, list(row.points)))


def series_twice(scraped: Scraped) -> None:
    scraped.rows += [Row(dict(row.labels), row.points) for row in scraped.find(COUNT)]


def hits_above_requests(scraped: Scraped) -> None:
    scraped.change("cache_hits_total", lambda number, _: 1_001.0 + 50 * number)


def stale(scraped: Scraped) -> None:
    for row in scraped.rows:
        row.points[:] = [point for point in row.points if point[0] < NOW - 200]


def not_scraped_any_more(scraped: Scraped) -> None:
    for row in scraped.rows:
        if row.labels["__name__"] != "up":
            row.points.pop()
        else:
            row.points[-1] = (row.points[-1][0], 0.0)


def stands_still(scraped: Scraped) -> None:
    for name in (BUCKET, COUNT, "cache_requests_total", "cache_hits_total"):
        scraped.change(name, lambda *_: 1_000.0)


def too_long_a_gap(scraped: Scraped) -> None:
    for row in scraped.rows:
        row.points[10:20] = []


SPOILED: dict[str, tuple[str, Callable[[Scraped], None], str]] = {
    "nan": (LATENCY, put(BUCKET, 20, math.nan, le="0.01"), "no count"),
    "infinity": (HIT_RATE, put("cache_requests_total", 20, math.inf), "no count"),
    "a negative count": (HIT_RATE, put("cache_hits_total", 0, -1.0), "cannot be"),
    "half a count": (HIT_RATE, put("cache_requests_total", 9, 1450.5), "cannot be"),
    "zero traffic": (HIT_RATE, stands_still, "nothing was counted"),
    "no series": (LATENCY, lambda scraped: scraped.rows.clear(), "nothing was measured"),
    "no latency": (
        LATENCY,
        no_latency,
        "nothing was measured",
    ),
    "buckets without a count": (LATENCY, lambda scraped: scraped.drop(COUNT), "not whole"),
    "no infinite bucket": (LATENCY, lambda scraped: scraped.drop(BUCKET, le="+Inf"), "not whole"),
    "buckets that fall": (LATENCY, put(BUCKET, 20, 1.0, le="0.01"), "fall with their edges"),
    "a count beside its buckets": (LATENCY, put(COUNT, 20, 9e9), "in all"),
    "an edge twice": (LATENCY, edge_twice, "twice"),
    "a series twice": (LATENCY, series_twice, "twice"),
    "native histograms only": (LATENCY, native_only, "native"),
    "hits above requests": (HIT_RATE, hits_above_requests, "hits of"),
    "lookups without hits": (
        HIT_RATE,
        lambda scraped: scraped.drop("cache_hits_total"),
        "without hits",
    ),
    "stale": (LATENCY, stale, "older than"),
    "not scraped any more": (LATENCY, not_scraped_any_more, "answers no scrape"),
    "a long gap": (LATENCY, too_long_a_gap, "a gap of"),
    "two exporters": (LATENCY, second_exporter, "2 exporters answer"),
    "another environment": (LATENCY, another_environment, "environment staging"),
    "two environments": (LATENCY, two_environments, "several environments"),
    "no start of the exporter": (
        LATENCY,
        lambda scraped: scraped.drop("process_start_time_seconds"),
        "nothing was measured",
    ),
    "no identity": (
        LATENCY,
        lambda scraped: scraped.drop("phasegate_target_info", target="database"),
        "has not answered",
    ),
    "no target": (
        LATENCY,
        lambda scraped: scraped.drop("phasegate_up", target="database"),
        "no target database",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_spoiled_decides_nothing(name: str, tmp_path: Path) -> None:
    criterion, spoil, said = SPOILED[name]
    scraped = healthy(tmp_path)
    spoil(scraped)
    found = scraped.judge(criterion)
    assert found.verdict is Verdict.INCONCLUSIVE, found
    assert said in found.reason


def total(scraped: Scraped, criterion: str = LATENCY) -> int:
    [subject] = scraped.judge(criterion).facts["subjects"]
    return int(subject["total"])


def restarted(number: int, first: float) -> Callable[[int, float], float]:
    """A counter that began anew before that scrape, and shows `first` in it."""
    return lambda at, _: 1_000.0 + 50 * at if at < number else first + 50 * (at - number)


@pytest.mark.parametrize("first", [0.0, 30.0, 9_000.0])
def test_a_restart_is_cut_also_where_the_counter_has_overtaken_itself(
    first: float, tmp_path: Path
) -> None:
    scraped = healthy(tmp_path)
    for name in (BUCKET, COUNT):
        scraped.change(name, restarted(20, first))
    started = "process_start_time_seconds"
    scraped.change(started, lambda at, _: NOW - 3_600 if at < 20 else NOW - 310)
    assert total(scraped) == 38 * 50
    assert scraped.judge(LATENCY).verdict is Verdict.PASSED


def test_a_fall_is_cut_without_a_restart(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    for name in (BUCKET, COUNT):
        scraped.change(name, restarted(20, 0.0))
    assert total(scraped) == 38 * 50


@pytest.mark.parametrize("interval", [15.0, 60.0])
def test_a_restart_opens_no_gap_at_any_interval(interval: float, tmp_path: Path) -> None:
    scraped = healthy(tmp_path, interval=interval)
    scraped.change("process_start_time_seconds", lambda at, _: NOW - (3_600 if at < 5 else 300))
    for row in scraped.rows:
        del row.points[5]
    assert scraped.judge(LATENCY).verdict is Verdict.PASSED


def test_a_reset_of_the_source_is_cut(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    scraped.change("phasegate_source_epoch", lambda at, _: 7 if at < 20 else 8, target="cache")
    assert total(scraped, HIT_RATE) == 38 * 50
    assert total(scraped) == 39 * 50


def test_a_missed_scrape_loses_nothing(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    for row in scraped.rows:
        del row.points[20]
    assert total(scraped) == 39 * 50


def test_edges_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    for renamed in ("0.010", "1e-2", "1e-02"):
        scraped = healthy(tmp_path)
        [row] = scraped.find(BUCKET, le="0.01")
        scraped.rows.append(Row(row.labels | {"le": renamed}, row.points[20:]))
        del row.points[20:]
        assert total(scraped) == 39 * 50


def test_slow_and_failed_and_skipped_lookups_are_bad(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    scraped.change(BUCKET, lambda at, _: 1_000.0 + 49 * at, le="0.01")
    scraped.change(BUCKET, lambda at, _: 1_000.0 + 49 * at, le="0.001")
    failures = {"target": "database", **LOOKUP}

    def late(at: int, _: float) -> float | None:
        # Without a series before the first of them.
        return None if at < 20 else at - 19.0

    scraped.add("phasegate_probe_failures_total", late, **{"class": "57"}, **failures)
    scraped.add("phasegate_probe_skipped_total", late, reason="server_busy", **failures)
    scraped.add("phasegate_probe_skipped_total", late, reason="late", **failures)
    [subject] = scraped.judge(LATENCY).facts["subjects"]
    assert (subject["total"], subject["bad"]) == (39 * 50 + 40, 39 + 40)


def test_too_many_bad_ones_fail(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    for edge in ("0.001", "0.01"):
        scraped.change(BUCKET, lambda at, _: 1_000.0 + 40 * at, le=edge)
    assert scraped.judge(LATENCY).verdict is Verdict.FAILED
    scraped.change("cache_hits_total", lambda at, _: 900.0 + 30 * at)
    assert scraped.judge(HIT_RATE).verdict is Verdict.FAILED
    scraped.change("phasegate_up", lambda *_: 0.0, target="cache")
    assert scraped.judge("health").verdict is Verdict.FAILED
    scraped.change("phasegate_uuid_missing_rows", lambda *_: 1.0)
    assert scraped.judge("uuid_missing").verdict is Verdict.FAILED


def test_a_promoted_clone_is_another_server(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    [old] = scraped.find("phasegate_target_info", target="database")
    scraped.rows.append(Row(old.labels | {"timeline": "2"}, old.points[20:]))
    del old.points[20:]
    found = scraped.judge(LATENCY)
    [subject] = found.facts["subjects"]
    assert subject["total"] == 19 * 50
    assert "of another server left out" in subject["notes"][0]
    old.labels["system_identifier"] = "1"
    scraped.rows[-1].labels["system_identifier"] = "2"
    assert scraped.judge(LATENCY).verdict is Verdict.INCONCLUSIVE
    assert scraped.judge("uuid_missing").verdict is Verdict.INCONCLUSIVE


def test_values_of_the_server_before_are_not_the_new_ones(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    [old] = scraped.find("phasegate_target_info", target="database")
    scraped.rows.append(Row(old.labels | {"timeline": "2"}, old.points[-1:]))
    del old.points[-1:]
    read = "phasegate_collector_success"
    scraped.change(read, lambda at, _: float(at < 39), collector="schema")
    assert scraped.judge("indexes_valid").verdict is Verdict.INCONCLUSIVE


def test_other_settings_begin_the_counts_anew(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    [old] = scraped.find("phasegate_measured_settings_info", criterion=LATENCY)
    scraped.rows.append(Row(old.labels | {"settings_hash": "other"}, old.points[20:]))
    del old.points[20:]
    assert total(scraped) == 19 * 50


def test_a_cache_that_was_not_read_is_not_idle(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    read = "phasegate_collector_success"
    scraped.change(read, lambda at, _: float(at < 20), collector="cache")
    found = scraped.judge(HIT_RATE)
    assert (found.verdict, "older than" in found.reason) == (Verdict.INCONCLUSIVE, True)


@pytest.mark.parametrize("criterion", ["indexes_valid", "constraints_validated"])
def test_a_collector_that_fails_leaves_values_to_grow_old(criterion: str, tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    read = "phasegate_collector_success"
    scraped.change(read, lambda at, _: float(at < 30), collector="schema")
    found = scraped.judge(criterion)
    assert (found.verdict, "older than" in found.reason) == (Verdict.INCONCLUSIVE, True)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("phasegate_audit_partitions_skipped", {"reason": "locked"}),
        ("phasegate_series_dropped", {"metric": "pg_table_size_bytes"}),
    ],
)
def test_sizes_that_are_not_all_of_them_decide_nothing(
    name: str, labels: dict[str, str], tmp_path: Path
) -> None:
    scraped = healthy(tmp_path)
    scraped.add(name, lambda *_: 1.0, **labels)
    assert scraped.judge("audit_partition_size").verdict is Verdict.INCONCLUSIVE


def test_one_of_two_servers_missing(tmp_path: Path) -> None:
    replica = "  replicas: {r1: {url: postgresql://judge@r.example/mono_prod}}\ncache:"
    scraped = healthy(tmp_path, CONFIG.replace("cache:", replica))
    for criterion in (LATENCY, "health"):
        found = scraped.judge(criterion)
        assert (found.verdict, "r1" in found.reason) == (Verdict.INCONCLUSIVE, True)


def test_the_applications_own_series_are_not_summed(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    [own] = scraped.find("cache_requests_total")
    scraped.rows.append(Row(own.labels | {"job": "app", "instance": "b:80"}, own.points))
    assert total(scraped, HIT_RATE) == 39 * 50


def test_counts_of_the_application_need_the_same_page(tmp_path: Path) -> None:
    application = (
        'application: {metrics_url: "http://127.0.0.1:1/m", cache: {requests: a, hits: b}}\n'
    )
    scraped = healthy(tmp_path, CONFIG + application)
    for row in scraped.find("cache_requests_total") + scraped.find("cache_hits_total"):
        row.labels["scope"] = "application"
    scraped.add("phasegate_collector_success", lambda *_: 1.0, collector="application")
    address = {"application": "http://127.0.0.1:1/m"}
    assert scraped.judge(HIT_RATE, address).verdict is Verdict.PASSED
    for row in scraped.find("phasegate_measured_settings_info", criterion=HIT_RATE):
        row.labels["settings_hash"] = "other"
    found = scraped.judge(HIT_RATE, address)
    assert (found.verdict, "elsewhere" in found.reason) == (Verdict.INCONCLUSIVE, True)


def test_a_label_that_the_scrape_has_too_is_found_where_it_was_put(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    for row in scraped.rows:
        if "environment" in row.labels:
            row.labels["exported_environment"] = row.labels.pop("environment")
        row.labels["environment"] = "of the scrape"
    assert scraped.judge(LATENCY).verdict is Verdict.PASSED
    assert scraped.judge("health").verdict is Verdict.PASSED


def test_the_order_of_the_series_changes_nothing(tmp_path: Path) -> None:
    scraped = healthy(tmp_path)
    before = [scraped.judge(criterion) for criterion in CRITERIA]
    scraped.rows.reverse()
    assert [scraped.judge(criterion) for criterion in CRITERIA] == before


@pytest.mark.parametrize("criterion", sorted({*CRITERIA} - UNCOUNTED))
def test_no_series_can_be_taken_away_and_leave_a_pass_that_the_rest_does_not_carry(
    criterion: str, tmp_path: Path
) -> None:
    whole = healthy(tmp_path)
    for number, row in enumerate(whole.rows):
        scraped = healthy(tmp_path)
        del scraped.rows[number]
        found = scraped.judge(criterion)
        assert found.verdict in (Verdict.PASSED, Verdict.INCONCLUSIVE), row.labels
        if found.verdict is Verdict.PASSED:
            assert not _carries(criterion, row), row.labels


def _carries(criterion: str, row: Row) -> bool:
    """Whether nothing may pass without this series."""
    name = row.labels["__name__"]
    needed = {
        LATENCY: {COUNT, "process_start_time_seconds"},
        HIT_RATE: {"cache_requests_total", "cache_hits_total", "process_start_time_seconds"},
        "uuid_missing": {"phasegate_uuid_missing_rows"},
        "indexes_valid": {"phasegate_invalid_indexes"},
        "constraints_validated": {"phasegate_constraints_unvalidated"},
        "audit_partition_size": {"pg_table_size_bytes"},
        "audit_partition_runway": {"phasegate_audit_partition_runway_seconds"},
        "health": {"phasegate_up"},
    }
    target = "cache" if criterion == HIT_RATE else "database"
    identity = name == "phasegate_target_info" and row.labels["target"] == target
    return identity or name in needed[criterion]
