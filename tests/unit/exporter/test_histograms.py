"""Histograms: where an observation falls, which exemplar stays, what other edges mean."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.model import Distribution, Exemplar
from phasegate.exporter.histograms import Histograms

LABELS = ("uuid_lookup", "public", "users")
EDGES = (0.01, 0.02)


def exemplar(number: int, seconds: float) -> Exemplar:
    return Exemplar((("probe_id", f"life-{number}"),), seconds, 1_767_225_600.0 + number)


def observed(histograms: Histograms) -> Distribution:
    [sample] = histograms.samples([metrics.QUERY_DURATION])
    assert isinstance(sample.value, Distribution)
    return sample.value


def test_a_bucket_keeps_its_latest_exemplar_and_an_edge_belongs_below() -> None:
    histograms = Histograms(EDGES)
    histograms.observe(metrics.QUERY_DURATION, 0.01, *LABELS)
    assert observed(histograms).exemplars == ()
    for number, seconds in enumerate((0.015, 0.02, 0.5)):
        slow = exemplar(number, seconds)
        histograms.observe(metrics.QUERY_DURATION, seconds, *LABELS, exemplar=slow)
    histograms.observe(metrics.QUERY_DURATION, 0.012, *LABELS)
    found = observed(histograms)
    assert found.counts == (1, 3, 1)
    assert found.exemplars == (None, exemplar(1, 0.02), exemplar(2, 0.5))


def test_exemplars_go_with_the_counts_and_do_not_outlive_the_process() -> None:
    histograms = Histograms(EDGES)
    histograms.observe(metrics.QUERY_DURATION, 0.5, *LABELS, exemplar=exemplar(1, 0.5))
    restored = Histograms(EDGES)
    restored.restore(histograms.dump(), {m.name: m for m in metrics.METRICS})
    assert observed(restored).counts == (0, 0, 1)
    assert observed(restored).exemplars == ()
    histograms.use_edges((0.01,))
    assert histograms.samples([metrics.QUERY_DURATION]) == []
