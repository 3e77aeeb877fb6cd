"""The exposition: as the parsers read it back, capped, and never a series twice."""

from __future__ import annotations

import pytest
from prometheus_client import Metric as Family
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from phasegate.contract import metrics
from phasegate.contract.model import Distribution, Exemplar, Sample
from phasegate.exporter.exposition import CHUNK, Exposition

MANY = 3 * CHUNK + 1


def sizes(count: int, first: int = 0) -> list[Sample]:
    return [metrics.TABLE_SIZE(1000 + i + first, "public", f"p{i}", "audit") for i in range(count)]


def read(text: bytes) -> dict[str, Family]:
    return {family.name: family for family in parse_text(text.decode())}


@pytest.mark.parametrize("as_openmetrics", [False, True])
def test_every_kind_is_read_back_as_it_was(as_openmetrics: bool) -> None:
    exemplar = Exemplar((("query", "a"),), 0.5, 1700000000.0)
    duration = Distribution((0.1, 1.0), (3, 2, 1), 9.5, (None, exemplar, None))
    samples = [
        metrics.UP(1, 'odd "\\\n'),
        metrics.COLLECTOR_ERRORS(3, "latency", "timeout"),
        metrics.QUERY_DURATION(duration, "uuid_lookup", "public", "users"),
    ]
    text = Exposition(100).render(samples, as_openmetrics=as_openmetrics).decode()
    parse = parse_openmetrics if as_openmetrics else parse_text
    found = {family.name: family for family in parse(text)}
    assert found["phasegate_up"].samples[0].labels == {"target": 'odd "\\\n'}
    assert found["phasegate_collector_errors"].samples[0].value == 3
    buckets = found["db_query_duration_seconds"].samples
    assert [s.value for s in buckets] == [3, 5, 6, 6, 9.5]
    assert (buckets[1].exemplar is not None) is as_openmetrics


def test_what_is_kept_from_the_last_scrape_is_never_stale() -> None:
    exposition = Exposition(10_000)
    for count, first in ((MANY, 0), (MANY, 7), (2, 7), (MANY, 0), (CHUNK, 1)):
        samples = sizes(count, first)
        again = Exposition(10_000).render(samples, as_openmetrics=False)
        assert exposition.render(samples, as_openmetrics=False) == again
        assert len(read(again)["pg_table_size_bytes"].samples) == count


def test_one_changed_value_in_a_chunk_is_seen() -> None:
    exposition = Exposition(10_000)
    samples = sizes(MANY)
    exposition.render(samples, as_openmetrics=False)
    samples[CHUNK + 5] = metrics.TABLE_SIZE(42, "public", f"p{CHUNK + 5}", "audit")
    found = read(exposition.render(samples, as_openmetrics=False))["pg_table_size_bytes"].samples
    assert [s.value for s in found if s.value == 42] == [42]


def test_the_cap_drops_and_says_how_many() -> None:
    found = read(Exposition(10).render(sizes(25), as_openmetrics=False))
    assert len(found["pg_table_size_bytes"].samples) == 10
    [dropped] = found["phasegate_series_dropped"].samples
    assert (dropped.labels, dropped.value) == ({"metric": "pg_table_size_bytes"}, 15)


def test_a_series_that_comes_twice_is_exposed_once() -> None:
    found = read(Exposition(10).render([*sizes(2), *sizes(2)], as_openmetrics=False))
    assert len(found["pg_table_size_bytes"].samples) == 2


def slow(exemplar: Exemplar | None) -> Sample:
    found = Distribution((0.01,), (3, 1), 0.5, (None, exemplar))
    return metrics.QUERY_DURATION(found, "uuid_lookup", "public", "users")


@pytest.mark.parametrize("before", [None, Exemplar((("probe_id", "a-1"),), 0.5, 1_767_225_600.0)])
def test_an_exemplar_alone_renews_its_line(before: Exemplar | None) -> None:
    latest = Exemplar((("probe_id", "a-2"),), 0.4, 1_767_225_600.25)
    exposition = Exposition(100)
    exposition.render([*sizes(3), slow(before)], as_openmetrics=True)
    text = exposition.render([*sizes(3), slow(latest)], as_openmetrics=True).decode()
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    [found] = [s.exemplar for s in families["db_query_duration_seconds"].samples if s.exemplar]
    assert (found.labels, found.value) == ({"probe_id": "a-2"}, 0.4)
    assert float(found.timestamp) == 1_767_225_600.25


def test_the_text_format_has_no_exemplars_also_after_the_other() -> None:
    exposition = Exposition(100)
    samples = [slow(Exemplar((("probe_id", "a-1"),), 0.5, 1_767_225_600.0))]
    assert b"probe_id" in exposition.render(samples, as_openmetrics=True)
    assert b"probe_id" not in exposition.render(samples, as_openmetrics=False)
