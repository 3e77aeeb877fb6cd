"""Evidence as the exporter would give it, put together from its series.

First the one exporter is found, then everything is asked of that one alone, at one pinned time, as
range vectors: what `rate()` and `increase()` make of them is extrapolated, and no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from phasegate.contract import metrics
from phasegate.contract.coverage import AUDIT_COVERAGE
from phasegate.contract.evidence import EVIDENCE_VERSION, Evidence
from phasegate.contract.model import Series
from phasegate.contract.promql import select_samples
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_describe import criterion_hash
from phasegate.validators import prometheus_counts as counts
from phasegate.validators import prometheus_values as values
from phasegate.validators.prometheus_api import Doubted, Row
from phasegate.validators.prometheus_samples import (
    UP,
    History,
    find_origin,
    find_unscraped,
    read_scrapes,
)
from phasegate.validators.sources import Request

LOOKBACK_SECONDS = 300.0
"""Measured values are taken from the last scrapes only: what is older is stale anyway."""
_UNSEEN = {
    "error_rate": "no series of Phasegate counts the application's requests and errors",
    AUDIT_COVERAGE: "no series of Phasegate holds the triggers themselves",
}
_OTHER_APPLICATION = (
    "the exporter reads its cache's counters elsewhere, or by other names, than configured here"
)

Ask = Callable[[str], Iterable[Row]]


def make_evidence(
    ask: Ask, request: Request, match: Mapping[str, str], now: float
) -> tuple[Evidence, dict[str, str]]:
    """The evidence until `now` (Unix seconds), and what of it is not believed, by criterion.

    Raises Doubted where none of it is, and whatever `ask` raises.
    """
    since = max(0.0, request.since)
    window = now - since
    found = list(ask(select_samples([metrics.UP.name], match, window)))
    origin = find_origin(found, match)
    names = values.state_names() | counts.names_of(request.criteria) | {UP}
    rows = list(ask(select_samples(names, origin, window)))
    state = History(rows, read_scrapes(rows))
    if not state.scrapes:
        raise Doubted("it gives nothing of the exporter that it gave a moment before")
    if doubt := find_unscraped(state):
        raise Doubted(doubt)
    wanted = values.value_names(request.criteria)
    recent = rows + list(ask(select_samples(wanted, origin, min(window, LOOKBACK_SECONDS))))
    last = [moment for moment in state.scrapes if moment > now - LOOKBACK_SECONDS]
    length = request.settings.exporter.evidence_block
    series, doubts = _count(state, request, length)
    doubts |= {
        name: f"{what}; judge it by --source exporter"
        for name, what in _UNSEEN.items()
        if name in request.criteria
    }
    return (
        Evidence(
            version=EVIDENCE_VERSION,
            build=_build(state),
            environment=values.find_environment(state),
            started=_started(state),
            generated=now,
            since=since,
            complete_since=_complete_since(state, since),
            block_seconds=max(length, state.interval),
            settings_hash="",
            targets=values.make_targets(state),
            series=tuple(series),
            observations=tuple(values.make_observations(state, History(recent, last))),
        ),
        doubts,
    )


def _count(state: History, request: Request, length: float) -> tuple[list[Series], dict[str, str]]:
    settings, doubts, series = request.settings, dict[str, str](), list[Series]()
    application = settings.application
    scope = "server" if application is None or application.cache is None else "application"
    address = "" if application is None else redactor(application.metrics_url)
    makers = {
        counts.LATENCY: partial(counts.make_latency, state, length),
        counts.HIT_RATE: partial(counts.make_hit_rate, state, scope, address, length),
    }
    for criterion, make in makers.items():
        try:
            series += make()
        except Doubted as doubt:
            doubts[criterion] = str(doubt)
    # The series do not tell which application it is; the settings that it is read by do.
    if scope == "application" and not _reads_ours(state, settings):
        doubts.setdefault(counts.HIT_RATE, _OTHER_APPLICATION)
    return series, doubts


def _reads_ours(state: History, settings: Settings) -> bool:
    """Whether the exporter reads the cache's counters now as this configuration says."""
    criterion = counts.HIT_RATE
    ours = (criterion, "", "", criterion_hash(settings, criterion))
    return state.at(metrics.MEASURED_SETTINGS_INFO, state.scrapes[-1]).get(ours) == 1


def _build(state: History) -> str:
    place = metrics.BUILD_INFO.labels.index("version")
    found = state.at(metrics.BUILD_INFO, state.scrapes[-1])
    return next((labels[place] for labels in found), "")


def _started(state: History) -> float:
    return state.at(metrics.PROCESS_START, state.scrapes[-1]).get((), 0.0)


def _complete_since(state: History, since: float) -> float:
    """Before its first scrape nobody knows what was counted; the begin of the window falls between
    two of them."""
    first = state.scrapes[0]
    return first if first - since > 2 * state.interval else since
