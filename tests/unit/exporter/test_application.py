"""The application's metrics page: what is counted, and what is refused instead of guessed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasegate.contract.errors import CollectError
from phasegate.contract.settings import Application, ApplicationCache, ApplicationCounter
from phasegate.exporter.application import ApplicationCounts, CacheCounts, parse_application

TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text"
PAGE = """\
# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="GET",status="200"} 90
http_requests_total{method="POST",status="200"} 10.0
http_requests_total{method="GET",status="404"} 7
http_requests_total{method="GET",status="500"} 2
http_requests_total{method="GET",status="503"} 1
# TYPE http_requests_in_flight gauge
http_requests_in_flight 3
# TYPE cache_requests_total counter
cache_requests_total{cache="permissions"} 50
cache_requests_total{cache="sessions"} 5
# TYPE cache_hits_total counter
cache_hits_total{cache="permissions"} 45
odd { not a metric
"""


def application(**keys: Any) -> Application:
    return Application(metrics_url="http://127.0.0.1/metrics", **keys)


def counter(metric: str = "http_requests_total", **match: str) -> ApplicationCounter:
    return ApplicationCounter(metric=metric, match=match)


EVERYTHING = application(
    requests=counter(),
    errors=counter(status="5.."),
    cache=ApplicationCache(requests="cache_requests_total", hits="cache_hits_total"),
)


def parse(page: str, configured: Application, kind: str = TEXT) -> ApplicationCounts:
    return parse_application(page, kind, configured)


def reason_of(page: str, configured: Application, kind: str = TEXT) -> str:
    with pytest.raises(CollectError) as caught:
        parse(page, configured, kind)
    return caught.value.reason


def test_counters_are_summed_over_matching_series_and_by_cache() -> None:
    assert parse(PAGE, EVERYTHING) == ApplicationCounts(
        requests=110,
        errors=3,
        caches={"permissions": CacheCounts(50, 45), "sessions": CacheCounts(5, 0)},
    )


def test_what_is_not_configured_is_none() -> None:
    assert parse(PAGE, application()) == ApplicationCounts(requests=None, errors=None, caches={})


@pytest.mark.parametrize(
    ("expression", "count"),
    [("5..", 3), ("5", 0), ("50", 0), ("200|404", 107), (".*", 110), ("", 0), ("5.*|2.*", 103)],
)
def test_an_expression_must_match_the_whole_label(expression: str, count: int) -> None:
    assert parse(PAGE, application(errors=counter(status=expression))).errors == count


def test_every_expression_must_match() -> None:
    assert parse(PAGE, application(errors=counter(status="2..", method="POST"))).errors == 10


def test_openmetrics_gives_the_same() -> None:
    page = """\
# TYPE http_requests counter
http_requests_total{status="200"} 8.0 # {trace_id="a"} 1.0
http_requests_created{status="200"} 1.7e9
http_requests_total{status="500"} 2.0
# EOF
"""
    configured = application(requests=counter(), errors=counter(status="5.."))
    assert parse(page, configured, OPENMETRICS) == ApplicationCounts(requests=10, errors=2)


@pytest.mark.parametrize("name", ["hits", "hits_total"])
@pytest.mark.parametrize("typed", ["# TYPE {} counter\n", "# TYPE {} untyped\n", ""])
def test_a_counter_need_not_end_in_total_nor_have_a_type(name: str, typed: str) -> None:
    page = typed.format(name) + f"{name} 4\n"
    assert parse(page, application(requests=counter(name))).requests == 4


def test_counts_of_a_histogram_are_counters() -> None:
    page = '# TYPE took_seconds histogram\ntook_seconds_bucket{le="+Inf"} 5\ntook_seconds_count 5\n'
    assert parse(page, application(requests=counter("took_seconds_count"))).requests == 5


def test_a_counter_before_its_first_event_is_zero() -> None:
    page = "# TYPE http_requests_total counter\n"
    configured = application(requests=counter(), errors=counter(status="5.."))
    assert parse(page, configured) == ApplicationCounts(requests=0, errors=0)


def test_line_separators_inside_a_label_do_not_cut_the_line() -> None:
    page = 'http_requests_total{path="a\u2028b\x0bc"} 3\r\n'
    assert parse(page, application(requests=counter())).requests == 3


@pytest.mark.parametrize(
    ("page", "configured", "reason"),
    [
        ("", application(requests=counter()), "metric_missing"),
        ("<html>log in</html>", application(requests=counter()), "metric_missing"),
        (PAGE, application(errors=counter("http_errors_total")), "metric_missing"),
        (PAGE, application(errors=counter(code="5..")), "label_missing"),
        (PAGE, application(requests=counter("http_requests_in_flight")), "not_a_counter"),
        ("http_requests_total NaN\n", application(requests=counter()), "not_a_count"),
        ("http_requests_total +Inf\n", application(requests=counter()), "not_a_count"),
        ("http_requests_total -1\n", application(requests=counter()), "not_a_count"),
        ("http_requests_total 1.5\n", application(requests=counter()), "not_a_count"),
        ("http_requests_total 1\n" * 2, application(requests=counter()), "duplicate"),
        ('http_requests_total{a="1",b="2"} 1\nhttp_requests_total{b="2",a="1"} 1\n',
         application(requests=counter()), "duplicate"),
        ("http_requests_total x\n", application(requests=counter()), "not_metrics"),
        ('http_requests_total{a="1} 1\n', application(requests=counter()), "not_metrics"),
        ('cache_requests_total{cache="a"} 1\ncache_hits_total{cache="a"} 2\n',
         application(cache=EVERYTHING.cache), "contradiction"),
        ('cache_requests_total{cache="a"} 1\ncache_hits_total{cache="b"} 1\n',
         application(cache=EVERYTHING.cache), "contradiction"),
        ('cache_requests_total{cache="a"} 1\n', application(cache=EVERYTHING.cache),
         "metric_missing"),
    ],
)  # fmt: skip
def test_what_is_no_count_is_refused(page: str, configured: Application, reason: str) -> None:
    assert reason_of(page, configured) == reason


def test_openmetrics_without_its_end_is_a_page_cut_short() -> None:
    page = "# TYPE http_requests counter\nhttp_requests_total 8.0\n"
    assert reason_of(page, application(requests=counter()), OPENMETRICS) == "not_metrics"


def test_a_message_never_quotes_the_page() -> None:
    with pytest.raises(CollectError) as caught:
        parse('http_requests_total{token="CANARY} 1\n', application(requests=counter()))
    assert "CANARY" not in str(caught.value)


@given(
    st.text(),
    st.sampled_from(["http_requests_total", "# TYPE http_requests_total", "# TYPE http_requests"]),
    st.sampled_from([TEXT, OPENMETRICS]),
)
def test_no_page_raises_anything_else(text: str, start: str, kind: str) -> None:
    page = f"{start}{text}\n{start} {text}\n# EOF\n"
    try:
        counts = parse(page, application(requests=counter(), errors=counter(status="5..")), kind)
    except CollectError:
        return
    assert counts.requests is not None
    assert counts.requests >= 0
