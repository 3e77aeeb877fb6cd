"""Which series hold the measured values of the exact criteria: what the exporter keeps as evidence,
and a judge reads from its series."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.model import Metric

# By collector and metric; the subject is the table that the first two labels name.
OF_THE_DATABASE: tuple[tuple[str, str, Metric], ...] = (
    ("audit_partition_size", "partitions", metrics.TABLE_SIZE),
    ("audit_partition_runway", "partitions", metrics.PARTITION_RUNWAY),
    ("indexes_valid", "schema", metrics.INVALID_INDEXES),
    ("constraints_validated", "schema", metrics.CONSTRAINTS_UNVALIDATED),
)


def answering_collector(name: str, kind: str) -> str:
    """The name of the collector that decides whether the target of that name and kind is up."""
    return {"database": "identity", "cache": "cache"}.get(kind, f"identity/{name}")
