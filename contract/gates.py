"""Which criteria let which phase end, and how long the evidence of each gate must at least last."""

from __future__ import annotations

from phasegate.contract.settings_criteria import SUCCESS_CRITERIA

MIN_SPAN_SECONDS = 60.0
"""For a judgement that is no gate."""

GATES: dict[str, tuple[str, ...]] = {
    "prepare": ("backup_restored", "preflight"),
    "infrastructure": ("health", "audit_coverage", "audit_partition_runway"),
    "schema": ("uuid_missing", "indexes_valid", "constraints_validated", "uuid_lookup_latency"),
    "application": ("health", "error_rate", "uuid_lookup_latency", "cache_hit_rate"),
    "validation": SUCCESS_CRITERIA,
}
"""By phase, in the order of the phases. `prepare` takes `integration_tests` too where there are
results of any."""

# The longer ones hold three checkpoints at PostgreSQL's default checkpoint_timeout.
_MIN_SPANS = {"schema": 180.0, "application": 900.0, "validation": 900.0}

PREFLIGHT_CHECKS = (
    "backup_age",
    "cache_memory",
    "cache_persistence",
    "cpu",
    "disk",
    "duration",
    "framework",
    "privileges",
    "replication",
    "transactions",
    "version",
)
"""What the step `preflight` measures; each must have been, for the criterion to pass."""


def min_span(phase: str) -> float:
    """Shortest span of the evidence in seconds; `phase` is empty where no gate is asked for."""
    return _MIN_SPANS.get(phase, MIN_SPAN_SECONDS)
