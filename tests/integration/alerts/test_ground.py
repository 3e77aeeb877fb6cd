"""What alerts and boards are proved on holds every series that a user can get."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from phasegate.contract import metrics
from phasegate.contract.model import Kind
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import FOLLOWING, JOB, SCRAPED, Change, ask, evolve

# Only where more series are found than are served: the second page has a cap of one.
IN_A_FAULT_ONLY = {metrics.SERIES_DROPPED.name}


def test_every_metric_of_the_contract_is_in_it(exposed: Exposed) -> None:
    in_order = {line.metric for line in exposed.lines}
    faulty = {line.metric for line in exposed.faulty}
    known = {metric.name for metric in metrics.METRICS}
    assert known - in_order == IN_A_FAULT_ONLY
    assert faulty >= IN_A_FAULT_ONLY


def test_each_line_has_the_labels_of_its_entry(exposed: Exposed) -> None:
    entries = {metric.name: metric for metric in metrics.METRICS}
    for line in exposed.lines:
        assert set(line.labels) - {"le"} == set(entries[line.metric].labels), line


def test_nothing_is_wrong_in_it_but_what_the_scene_left(exposed: Exposed) -> None:
    for metric in (metrics.UP, metrics.HEALTH_UP, metrics.COLLECTOR_SUCCESS):
        lines = exposed.find(metric.name)
        assert lines
        assert [line for line in lines if line.value != 1] == []


def test_history_keeps_what_each_kind_of_series_promises(exposed: Exposed) -> None:
    times = [1_800_000_000.0 + 60 * step for step in range(120)]
    found = list(evolve(exposed, times))
    kinds = {line.name: line.kind for line in exposed.lines}
    assert {one.name for one in found} == {*kinds, SCRAPED}
    for one in found:
        known = [value for value in one.values if value is not None]
        assert not any(math.isnan(value) for value in known), one.name
        if kinds.get(one.name, Kind.GAUGE) is not Kind.GAUGE:
            assert known == sorted(known), one
        if one.name in FOLLOWING:
            assert {round(after - before) for before, after in pairwise(known)} == {60}
    by_name = {(one.name, *one.labels.values()): one.values for one in found}
    for (name, *labels), asked in by_name.items():
        if name == metrics.CACHE_REQUESTS.name:
            hits = by_name[(metrics.CACHE_HITS.name, *labels)]
            assert all((hit or 0) <= (one or 0) for hit, one in zip(hits, asked, strict=True))


def test_buckets_rise_to_the_count(exposed: Exposed) -> None:
    times = [1_800_000_000.0 + 60 * step for step in range(10)]
    name = metrics.QUERY_DURATION.name
    found = list(evolve(exposed, times, only=frozenset({name})))
    counts = [one for one in found if one.name == f"{name}_count"]
    assert counts
    for count in counts:
        buckets = [
            [value or 0.0 for value in one.values]
            for one in found
            if one.name == f"{name}_bucket" and one.labels.items() > count.labels.items()
        ]
        assert buckets[-1] == count.values
        for column in zip(*buckets, strict=True):
            assert list(column) == sorted(column)


def test_a_change_is_what_it_says_and_nothing_else_moves(exposed: Exposed) -> None:
    times = [1_800_000_000.0 + 60 * step for step in range(31)]
    changes = [
        Change(metrics.UP.name, 0, {"target": "cache"}),
        Change(metrics.AUDIT_CREATED.name, 2.5, since=1_200, until=600),
        Change(metrics.PROBE_LAST_SUCCESS.name, -200, since=60, follows=True),
        Change(metrics.CACHE_MEMORY.name, None),
        Change(metrics.SERIES_DROPPED.name, 7, {"metric": "phasegate_up"}),
        Change(metrics.QUERY_DURATION.name, 0.03, {"query_type": "uuid_lookup"}),
    ]
    rest = {(one.name, *one.labels.values()): one.values for one in evolve(exposed, times)}
    found = {
        (one.name, *one.labels.values()): one.values for one in evolve(exposed, times, changes)
    }
    assert found[metrics.UP.name, "cache"] == [1] * 21 + [0] * 10
    created = found[metrics.AUDIT_CREATED.name, "public", "audit_logs"]
    assert (created[20] or 0) - (created[10] or 0) == pytest.approx(2.5 * 600)
    assert found[metrics.PROBE_LAST_SUCCESS.name, "reader"][-1] == times[-1] - 200
    assert found[(metrics.CACHE_MEMORY.name,)][-10:] == [None] * 10
    assert found[metrics.SERIES_DROPPED.name, "phasegate_up"] == [None] * 21 + [7] * 10
    changed = {key[0] for key in found if found[key] != rest.get(key)}
    families = {change.metric for change in changes}
    assert {name.removesuffix("_bucket").removesuffix("_sum") for name in changed} == families


def test_a_prometheus_holds_it(history_prometheus: str, exposed: Exposed) -> None:
    [(_, count)] = ask(history_prometheus, f'count({{job="{JOB}"}})')
    assert count == len(exposed.lines) + 1
