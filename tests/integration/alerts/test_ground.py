"""What alerts and boards are proved on holds every series that a user can get."""

from __future__ import annotations

from phasegate.contract import metrics
from tests.fixtures.exposition import Exposed

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
