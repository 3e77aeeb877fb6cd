"""What the page says of each criterion now, from what the exporter itself holds. Pure.

Verdicts are those of `contract.judge`, as one look at the last ten minutes would give them, on this
exporter's own word for which servers it measures. What needs a baseline, or only alerts, shows its
figures and no verdict; and every gate is `phasegate validate`'s, which also knows from when on the
evidence counts.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from phasegate.contract import metrics
from phasegate.contract.criteria import (
    CRITERIA,
    MEASURED,
    Decision,
    Direction,
    missing_source,
    passing_limit,
    thresholds,
)
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.evidence import Evidence
from phasegate.contract.judge import APPLICATION, judge
from phasegate.contract.model import Distribution, Judgement, Sample, Series, Verdict
from phasegate.contract.names import TableName
from phasegate.contract.quantities import WITHOUT_END, Unit, format_value
from phasegate.contract.rules import ALLOWED_OVER
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.exporter.runner import Status

WINDOW_SECONDS = 600.0
WINDOW = "in the last 10 minutes"
EVENTS_COLLECTOR = "audit/events"
_OF_A_MIGRATION = ("backup_restored", "preflight")
_JUDGED = (Decision.EXACT, Decision.COUNTS, Decision.COVERAGE)


@dataclass(frozen=True)
class Held:
    """What the exporter holds: the blocks of the window with the last values, and its runs."""

    evidence: Evidence
    statuses: Mapping[str, Status]

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.evidence.generated

    @property
    def series(self) -> Sequence[Series]:
        """The blocks of the window."""
        return self.evidence.series


@dataclass(frozen=True)
class Row:
    """One criterion in words. `verdict` is None where none is given here, `age` where no value
    has one; in seconds. `measured` is the figure of the verdict, as `Judgement` has it."""

    criterion: str
    decision: Decision
    verdict: Verdict | None
    value: str
    limit: str
    critical: str
    age: float | None
    reason: str
    remedy: str = ""
    measured: float | None = None


@dataclass(frozen=True)
class _Figures:
    value: str
    reason: str
    age: float | None = None


def describe_criteria(settings: Settings, held: Held) -> list[Row]:
    """Every criterion that the exporter measures, in the order of the contract."""
    measured = [name for name, entry in CRITERIA.items() if entry.decision in MEASURED]
    seen = {one.criterion for one in held.evidence.observations}
    # Where nothing is migrated, nobody wants to be told that no backup was proved.
    shown = [name for name in measured if name not in _OF_A_MIGRATION or name in seen]
    return [_describe(settings, held, name) for name in shown]


def _describe(settings: Settings, held: Held, name: str) -> Row:
    entry, limit = CRITERIA[name], passing_limit(settings, name)
    word = {Direction.ABOVE: "at most", Direction.BELOW: "at least"}[limit.direction]
    critical = thresholds(settings, name).get("critical")
    shown = format_value(limit.value, limit.unit)
    limits = (
        shown if limit.unit == Unit.UP else f"{word} {shown}",
        "" if critical is None else format_value(critical, limit.unit),
    )
    source = missing_source(settings, name)
    if source:
        verdict = Verdict.INCONCLUSIVE if entry.decision in _JUDGED else None
        reason, remedy = "nothing is configured to be measured", f"configure {source}"
        return Row(name, entry.decision, verdict, "", *limits, None, reason, remedy)
    figures = _FIGURES[name](settings, held) if name in _FIGURES else None
    if entry.decision not in _JUDGED:
        assert figures is not None
        return Row(
            *(name, entry.decision, None, figures.value, *limits, figures.age, figures.reason)
        )
    judged = _judge(settings, held, name)
    if figures is None:
        value = "" if judged.measured is None else format_value(judged.measured, limit.unit)
        figures = _Figures(value, "", judged.facts.get("oldest_seconds"))
    reason = "; ".join(part for part in (judged.reason, figures.reason) if part)
    return Row(
        *(name, entry.decision, judged.verdict, figures.value, *limits, figures.age),
        *(reason, judged.remedy, judged.measured),
    )


def _judge(settings: Settings, held: Held, name: str) -> Judgement:
    """As one look would; the exporter is its own witness of which servers it asks."""
    evidence = held.evidence
    identities = {target.name: target.identity for target in evidence.targets}
    if settings.application is not None:
        identities[APPLICATION] = redactor(settings.application.metrics_url)
    dossier = Dossier(evidence.generated, evidence, identities)
    return judge(name, dossier, settings, Options(since=evidence.since))


def _latency(settings: Settings, held: Held) -> _Figures:
    limit = passing_limit(settings, "uuid_lookup_latency").value
    bounds, parts, ends = [], [], []
    for series in held.series:
        if series.criterion != "uuid_lookup_latency" or limit not in series.edges:
            continue
        total = sum(block.total for block in series.blocks)
        if not total:
            continue
        fast = [sum(bucket) for bucket in zip(*(b.buckets for b in series.blocks), strict=True)]
        over = total - sum(fast[: bisect_left(series.edges, limit) + 1])
        bounds.append(_upper_bound(fast, series.edges, total))
        ends.append(series.blocks[-1].end)
        parts.append(
            f"{TableName(series.schema, series.table)} on {series.target}: {over:,} of {total:,} "
            f"lookups ({over / total:.2%}) failed or over {format_value(limit, Unit.SECONDS)}"
        )
    if not parts:
        return _Figures("", f"no lookup {WINDOW}")
    worst = max(bounds)
    bound = "failed" if math.isinf(worst) else f"≤ {format_value(worst, Unit.SECONDS)}"
    reason = f"{'; '.join(parts)}; {WINDOW}; fewer than {ALLOWED_OVER:.0%} must be"
    return _Figures(f"P95 {bound}", reason, held.now - min(ends))


def _upper_bound(fast: Sequence[int], edges: Sequence[float], total: int) -> float:
    """The edge of the bucket that holds the 95th percentile; inf beyond the last one, where the
    failures are: a lookup that long is cancelled first."""
    counted, rank = 0, math.ceil((1 - ALLOWED_OVER) * total)
    for edge, count in zip(edges, fast, strict=False):
        counted += count
        if counted >= rank:
            return edge
    return math.inf


def _hit_rate(settings: Settings, held: Held) -> _Figures:
    application = settings.application
    judged = "server" if application is None or application.cache is None else "application"
    rates, parts, ends = [], [], []
    for series in held.series:
        if series.criterion != "cache_hit_rate":
            continue
        total = sum(block.total for block in series.blocks)
        hits = sum(block.good for block in series.blocks)
        aside = "" if series.scope == judged else ", not judged"
        parts.append(
            f"{series.target} (counted by the {series.scope}{aside}): {hits:,} hits "
            f"of {total:,} lookups"
        )
        if series.scope == judged and total:
            rates.append(hits / total)
            ends.append(series.blocks[-1].end)
    if not rates:
        return _Figures("", "; ".join([*parts, f"no lookup that could be judged {WINDOW}"]))
    reason = f"{'; '.join(parts)}; {WINDOW}"
    return _Figures(format_value(min(rates), Unit.RATIO), reason, held.now - min(ends))


def _error_rate(_: Settings, held: Held) -> _Figures:
    blocks = [
        block
        for series in held.series
        if series.criterion == "error_rate"
        for block in series.blocks
        if block.total
    ]
    total = sum(block.total for block in blocks)
    if not total:
        return _Figures("", f"no request {WINDOW}")
    errors = total - sum(block.good for block in blocks)
    reason = f"{errors:,} errors of {total:,} requests {WINDOW}; the baseline is the judge's"
    return _Figures(format_value(errors / total, Unit.RATIO), reason, held.now - blocks[-1].end)


def _growth(_: Settings, held: Held) -> _Figures:
    status = held.statuses.get(EVENTS_COLLECTOR)
    if status is None or not status.success:
        return _Figures("", "the events of the last hour are not counted")
    rows = sum(
        sample.value
        for sample in status.samples
        if sample.metric is metrics.AUDIT_EVENTS and not isinstance(sample.value, Distribution)
    )
    reason = "rows of the last hour by their own time; the alert takes audit_logs_created_total"
    return _Figures(format_value(rows, Unit.ROWS_AN_HOUR), reason, held.now - status.last_success)


_FIGURES: dict[str, Callable[[Settings, Held], _Figures]] = {
    "uuid_lookup_latency": _latency,
    "cache_hit_rate": _hit_rate,
    "error_rate": _error_rate,
    "audit_growth": _growth,
}


def make_verdict_samples(rows: Iterable[Row], now: float) -> list[Sample]:
    """The verdicts as series, with what they measured; nothing of what is not judged here."""
    found = []
    for row in rows:
        if row.verdict is None:
            continue
        name = row.criterion
        found += [metrics.CRITERION_STATE(float(row.verdict is one), name, one) for one in Verdict]
        if row.measured is not None:
            value = math.inf if row.measured == WITHOUT_END else row.measured
            found.append(metrics.CRITERION_VALUE(value, name))
        if row.age is not None:
            found.append(metrics.CRITERION_MEASURED(now - row.age, name))
    return found


def count_verdicts(rows: Iterable[Row]) -> dict[Verdict, int]:
    """How many of the judged criteria have each verdict; the worst first, none left out at 0."""
    found = [row.verdict for row in rows]
    order = (Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED)
    return {verdict: found.count(verdict) for verdict in order}
