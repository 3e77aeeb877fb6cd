"""Measured values and the state of the targets from raw samples, at the newest whole scrape. Pure.

A set is complete or it is no evidence: where a collector failed, or could not see everything, or
the cap on series cut some, an earlier scrape stands, until the judge calls it stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from phasegate.contract import metrics
from phasegate.contract.evidence import CACHE, DATABASE, TargetState
from phasegate.contract.measured import OF_THE_DATABASE, answering_collector
from phasegate.contract.model import Metric, Observation
from phasegate.contract.names import TableName
from phasegate.contract.quantities import WITHOUT_END
from phasegate.validators.prometheus_api import Doubted
from phasegate.validators.prometheus_samples import History, Stamp

_UNKNOWN = Stamp(0.0, "", "")
_STATE = (
    *(metrics.UP, metrics.TARGET_INFO, metrics.SOURCE_EPOCH, metrics.PROCESS_START),
    *(metrics.BUILD_INFO, metrics.COLLECTOR_SUCCESS, metrics.MEASURED_SETTINGS_INFO),
)


def state_names() -> set[str]:
    """The series by which counts are told apart, for the whole window."""
    return {metric.name for metric in _STATE}


def value_names(criteria: Iterable[str]) -> set[str]:
    """The series that measured values of these criteria need, of the last scrapes."""
    names = {metric.name for criterion, _, metric in OF_THE_DATABASE if criterion in criteria}
    if "audit_partition_size" in criteria:
        names |= {metrics.PARTITIONS_SKIPPED.name, metrics.PARTITION_MAX_AGE.name}
    if "uuid_missing" in criteria:
        names |= {metrics.UUID_MISSING.name, metrics.UUID_MISSING_COUNTED.name}
    if "health" in criteria:
        names.add(metrics.HEALTH_UP.name)
    timed = (metrics.COLLECTOR_DURATION, metrics.COLLECTOR_LAST_SUCCESS, metrics.SERIES_DROPPED)
    return {*names, *(metric.name for metric in timed)}


def make_targets(history: History) -> tuple[TargetState, ...]:
    """Every target that the newest scrape shows."""
    if not history.scrapes:
        return ()
    newest = history.scrapes[-1]
    found = []
    for (name,), up in sorted(history.at(metrics.UP, newest).items()):
        stamp = history.stamps(name).get(newest, _UNKNOWN)
        found.append(
            TargetState(name, _kind(name), up=up == 1, identity=stamp.identity, epoch=stamp.epoch)
        )
    return tuple(found)


def find_environment(history: History) -> str:
    """The environment that the exporter states. Raises Doubted where it states several."""
    place = metrics.TARGET_INFO.labels.index("environment")
    found = {labels[place] for labels in history.series(metrics.TARGET_INFO)}
    if len(found) > 1:
        told = ", ".join(sorted(one or "none" for one in found))
        raise Doubted(f"its series are of several environments: {told}")
    return found.pop() if found else ""


def make_observations(state: History, values: History) -> Iterator[Observation]:
    """Every measured value; `state` is of the whole window, `values` of its end."""
    for criterion, collector, metric in OF_THE_DATABASE:
        for moment in _whole(state, values, collector, metric):
            age = _age(metric, values, moment)
            time = _began(values, collector, moment) - age
            for (schema, table, *_), value in values.at(metric, moment).items():
                subject = str(TableName(schema, table))
                yield Observation(criterion, DATABASE, subject, min(value, WITHOUT_END), time)
            break
    yield from _uuid_missing(state, values)
    yield from _health(state, values)


def _whole(state: History, values: History, collector: str, metric: Metric) -> Iterator[float]:
    """The scrapes, newest first, in which the collector found everything of today's server."""
    stamps, read = state.stamps(DATABASE), values.succeeded(collector)
    identity = _last_identity(state)
    for moment in reversed(values.scrapes):
        stamp = stamps.get(moment)
        if moment not in read or stamp is None or stamp.identity != identity:
            continue
        dropped = values.at(metrics.SERIES_DROPPED, moment).get((metric.name,), 0.0)
        unseen = values.at(metrics.PARTITIONS_SKIPPED, moment).values()
        if dropped == 0 and (metric is not metrics.TABLE_SIZE or not any(unseen)):
            yield moment


def _last_identity(state: History) -> str:
    stamps = state.stamps(DATABASE)
    return stamps[max(stamps)].identity if stamps else ""


def _age(metric: Metric, values: History, moment: float) -> float:
    if metric is not metrics.TABLE_SIZE:
        return 0.0
    return values.at(metrics.PARTITION_MAX_AGE, moment).get((), 0.0)


def _began(values: History, collector: str, moment: float) -> float:
    """When the collector's run began, by the exporter's clock; NaN, which decides nothing, where
    it does not tell."""
    ended = values.at(metrics.COLLECTOR_LAST_SUCCESS, moment).get((collector,), float("nan"))
    took = values.at(metrics.COLLECTOR_DURATION, moment).get((collector,), float("nan"))
    return ended - took


def _uuid_missing(state: History, values: History) -> Iterator[Observation]:
    """Each table's exact count, with the time at which the count began."""
    if not values.scrapes:
        return
    newest, identity = values.scrapes[-1], _last_identity(state)
    stamp = state.stamps(DATABASE).get(newest)
    moments = values.at(metrics.UUID_MISSING_COUNTED, newest)
    for labels, rows in sorted(values.at(metrics.UUID_MISSING, newest).items()):
        if labels in moments and stamp is not None and stamp.identity == identity:
            subject = str(TableName(*labels))
            yield Observation("uuid_missing", DATABASE, subject, rows, moments[labels])


def _health(state: History, values: History) -> Iterator[Observation]:
    checks: Sequence[float] = sorted(values.succeeded("health"))
    if checks:
        time = _began(values, "health", checks[-1])
        for (check,), up in sorted(values.at(metrics.HEALTH_UP, checks[-1]).items()):
            yield Observation("health", "", check, up, time)
    if not state.scrapes:
        return
    newest = state.scrapes[-1]
    for (name,), up in sorted(state.at(metrics.UP, newest).items()):
        collector = answering_collector(name, _kind(name))
        read = newest in values.succeeded(collector)
        yield Observation(
            *("health", name, name, up), _began(values, collector, newest) if read else newest
        )


def _kind(name: str) -> str:
    """By the one name that each kind has; every other is a replica's."""
    return {DATABASE: "database", CACHE: "cache"}.get(name, "replica")
