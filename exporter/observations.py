"""What one run of the collectors says of the exact criteria: a value a subject, with its time.

A set is complete or it is not evidence. Where a collector failed, or could not see everything, the
last complete set stays and grows old, until the judge calls it stale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from phasegate.contract import metrics
from phasegate.contract.evidence import DATABASE
from phasegate.contract.measured import OF_THE_DATABASE, answering_collector
from phasegate.contract.model import Distribution, Metric, Observation, Sample
from phasegate.contract.names import TableName
from phasegate.contract.quantities import WITHOUT_END
from phasegate.exporter.evidence import EvidenceStore, source_of
from phasegate.exporter.runner import Snapshot, Status
from phasegate.exporter.targets import Target

Found = dict[tuple[str, str], tuple[str, list[Observation]]]


def record_observations(
    store: EvidenceStore,
    snapshot: Snapshot,
    targets: Mapping[str, Target],
    before: Mapping[str, str],
) -> None:
    """Give the store what this run found.

    `before` holds the identity of each target, empty for unknown, when the run began: where
    another server answered meanwhile, nobody knows which of the two was measured.
    """
    for (criterion, collector), (target, found) in find_observations(snapshot, targets).items():
        identity = source_of(targets[target]).identity if target in targets else ""
        if before.get(target) in (None, "", identity) and _finite(found):
            store.observe(criterion, collector, identity, found)


def find_observations(snapshot: Snapshot, targets: Mapping[str, Target]) -> Found:
    """By criterion and collector: the target, and every subject's value."""
    statuses = {status.collector: status for status in snapshot.statuses}
    found: Found = {}
    for criterion, collector, metric in OF_THE_DATABASE:
        status = statuses.get(collector)
        if status is not None and status.success and not _unseen(metric, status.samples):
            moment = _began(status) - _age(metric, status.samples)
            chosen = [s for s in status.samples if s.metric is metric]
            found[criterion, collector] = DATABASE, _observed(criterion, chosen, moment)
    events = statuses.get("audit/events")
    if events is not None and events.success:
        counted = [s for s in events.samples if s.metric is metrics.AUDIT_EVENTS]
        found["audit_growth", "audit/events"] = (
            DATABASE,
            [
                Observation("audit_growth", DATABASE, s.labels[0], _number(s), _began(events))
                for s in counted
            ],
        )
    found |= _of_migration(statuses.get("migration"))
    missing = _uuid_missing(snapshot.samples)
    if missing:
        found["uuid_missing", "schema/uuid_missing"] = DATABASE, missing
    checks = statuses.get("health")
    if checks is not None and checks.success:
        chosen = [s for s in checks.samples if s.metric is metrics.HEALTH_UP]
        found["health", "health"] = (
            "",
            [Observation("health", "", s.labels[0], _number(s), _began(checks)) for s in chosen],
        )
    for target in targets.values():
        collector = answering_collector(target.name, target.kind)
        if collector in statuses:
            status = statuses[collector]
            moment = _began(status) if status.success else snapshot.time
            up = Observation("health", target.name, target.name, float(target.up), moment)
            found["health", collector] = target.name, [up]
    return found


def _observed(criterion: str, samples: Iterable[Sample], moment: float) -> list[Observation]:
    return [
        Observation(
            criterion, DATABASE, _subject(*s.labels[:2]), min(_number(s), WITHOUT_END), moment
        )
        for s in samples
    ]


def _of_migration(status: Status | None) -> Found:
    """What the preflight measured, when it did; and whether the backup is proved, now."""
    if status is None or not status.success:
        return {}
    times = [_number(s) for s in status.samples if s.metric is metrics.PREFLIGHT_TIME]
    checks = [
        Observation("preflight", DATABASE, s.labels[0], _number(s), times[0])
        for s in status.samples
        if s.metric is metrics.PREFLIGHT_CHECK
    ]
    proved = [
        Observation("backup_restored", DATABASE, DATABASE, _number(s), _began(status))
        for s in status.samples
        if s.metric is metrics.BACKUP_PROVED
    ]
    return {
        ("preflight", "migration"): (DATABASE, checks),
        ("backup_restored", "migration"): (DATABASE, proved),
    }


@lru_cache(maxsize=65_536)
def _subject(schema: str, table: str) -> str:
    """The table's name as it is written; kept, for thousands are named at each scrape."""
    return str(TableName(schema, table))


def _uuid_missing(samples: Iterable[Sample]) -> list[Observation]:
    """Each table's exact count, with the time at which the count began."""
    counts = {s.labels: s for s in samples if s.metric is metrics.UUID_MISSING}
    moments = {s.labels: s for s in samples if s.metric is metrics.UUID_MISSING_COUNTED}
    found: list[Observation] = []
    for labels in counts.keys() & moments.keys():
        found += _observed("uuid_missing", [counts[labels]], _number(moments[labels]))
    return sorted(found, key=lambda one: one.subject)


def _unseen(metric: Metric, samples: Iterable[Sample]) -> bool:
    """Whether partitions are without a size: the largest may be among them."""
    return metric is metrics.TABLE_SIZE and any(
        s.metric is metrics.PARTITIONS_SKIPPED and s.value for s in samples
    )


def _age(metric: Metric, samples: Iterable[Sample]) -> float:
    """Seconds by which the oldest of the values is older than the run."""
    if metric is not metrics.TABLE_SIZE:
        return 0.0
    return max((_number(s) for s in samples if s.metric is metrics.PARTITION_MAX_AGE), default=0.0)


def _began(status: Status) -> float:
    return status.last_success - status.duration


def _finite(observations: Iterable[Observation]) -> bool:
    return all(math.isfinite(one.value) for one in observations)


def _number(sample: Sample) -> float:
    if isinstance(sample.value, Distribution):
        raise TypeError(f"{sample.metric.name} is a histogram")
    return sample.value
