"""Reading an exposition, and what two of them say together."""

from __future__ import annotations

from math import inf, isnan

import pytest

from phasegate.demo.figures import (
    Lookup,
    Partition,
    Ratio,
    Scrape,
    Window,
    interpolate,
    parse_scrape,
)

TEXT = """\
# TYPE db_query_duration_seconds histogram
db_query_duration_seconds_bucket{query_type="id_lookup",schema="public",table="users",le="0.001"} 8
db_query_duration_seconds_bucket{query_type="id_lookup",schema="public",table="users",le="0.01"} 9
db_query_duration_seconds_bucket{query_type="id_lookup",schema="public",table="users",le="+Inf"} 10
db_query_duration_seconds_count{query_type="id_lookup",schema="public",table="users"} 10
# TYPE phasegate_probe_absent gauge
phasegate_probe_absent{query_type="uuid_lookup",schema="public",table="users",reason="no_column"} 1
phasegate_probe_absent{query_type="id_lookup",schema="public",table="users",reason="no_table"} 0
# TYPE cache_requests_total counter
cache_requests_total{cache="permissions",scope="application"} 10
cache_requests_total{cache="sessions",scope="application"} 5
cache_requests_total{cache="cache",scope="server"} 7
# TYPE cache_hits_total counter
cache_hits_total{cache="permissions",scope="application"} 9
# TYPE audit_logs_created_total counter
audit_logs_created_total{schema="public",table="audit_logs"} 12
# TYPE pg_table_size_bytes gauge
pg_table_size_bytes{schema="public",table="audit_logs_b",parent="audit_logs"} 2048
pg_table_size_bytes{schema="public",table="audit_logs_a",parent="audit_logs"} 1024
# TYPE phasegate_up gauge
phasegate_up{target="database"} 1
phasegate_up{target="cache"} 0
# TYPE phasegate_health_up gauge
phasegate_health_up{check="api"} 1
# TYPE phasegate_criterion_threshold gauge
phasegate_criterion_threshold{criterion="cache_hit_rate",severity="warning"} 0.9
phasegate_criterion_threshold{criterion="cache_hit_rate",severity="critical"} 0.8
"""
ID = Lookup("id_lookup", "public.users")


def test_every_measure_is_read() -> None:
    scrape = parse_scrape(TEXT, 5.0)
    assert scrape == Scrape(
        time=5.0,
        buckets={ID: {0.001: 8, 0.01: 9, inf: 10}},
        absent={Lookup("uuid_lookup", "public.users"): "no_column"},
        cache_requests={"application": 15, "server": 7},
        cache_hits={"application": 9},
        audit_rows=12,
        partitions=(
            Partition("audit_logs_a", "audit_logs", 1024),
            Partition("audit_logs_b", "audit_logs", 2048),
        ),
        up={"database": True, "cache": False},
        health={"api": True},
        warnings={"cache_hit_rate": 0.9},
    )


def test_empty_exposition_measures_nothing() -> None:
    window = Window(Scrape(0), parse_scrape("", 1))
    assert window.audit_rows is None
    assert window.hit_rate("server") is None
    assert window.probes(ID) == 0
    assert isnan(window.quantile(ID, 0.95))
    assert window.over(ID, 0.01) is None


def test_what_is_no_exposition_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_scrape("<html>", 0)


def test_window_counts_only_what_happened_within_it() -> None:
    first = parse_scrape(TEXT, 10)
    last = Scrape(
        time=14,
        buckets={ID: {0.001: 27, 0.01: 29, inf: 30}},
        cache_requests={"server": 17},
        cache_hits={"server": 9},
        audit_rows=20,
    )
    window = Window(first, last)
    assert window.seconds == 4
    assert window.probes(ID) == 20
    assert window.over(ID, 0.001) == Ratio(1, 20)
    assert window.over(ID, 0.02) is None
    assert window.hit_rate("server") == Ratio(9, 10)
    assert window.hit_rate("application") is None
    assert window.audit_rows == 8


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({0.01: 100, inf: 100}, 0.0095),
        ({0.01: 50, 0.02: 100, inf: 100}, 0.019),
        ({0.01: 95, 0.02: 100, inf: 100}, 0.01),
        ({0.01: 0, 0.02: 0, inf: 10}, 0.02),
        ({0.01: 0, 0.02: 10, inf: 10}, 0.0195),
    ],
)
def test_quantile_is_linear_within_its_bucket(counts: dict[float, float], expected: float) -> None:
    assert interpolate(counts, 0.95) == pytest.approx(expected)


def test_share_of_nothing_is_no_number() -> None:
    assert isnan(Ratio(0, 0).share)
