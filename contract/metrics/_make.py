"""Short hands for the entries: collector, name, labels (words), unit, help."""

from __future__ import annotations

from phasegate.contract.model import Kind, Metric


def gauge(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    """A value that goes up and down."""
    return Metric(name, Kind.GAUGE, tuple(labels.split()), unit, collector, text)


def counter(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    """A count that only rises."""
    return Metric(name, Kind.COUNTER, tuple(labels.split()), unit, collector, text)


def histogram(collector: str, name: str, labels: str, unit: str, text: str) -> Metric:
    """Counts by bucket."""
    return Metric(name, Kind.HISTOGRAM, tuple(labels.split()), unit, collector, text)
