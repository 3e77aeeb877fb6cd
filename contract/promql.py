"""From criteria to PromQL: the only place where it is spelled.

Two kinds of expression stand here. Selectors of raw samples, from which the judge subtracts for
itself. And the twin of each criterion for rules and panels: PromQL knows no exact test, so that the
twin of counts is the share as a point, where enough was counted, and that of a measured value the
condition under which it is bad. A twin without data is no series: neither 0 nor NaN.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from phasegate.contract import metrics
from phasegate.contract.criteria import CRITERIA, Direction, Limit, passing_limit, severity_limit
from phasegate.contract.errors import ContractError
from phasegate.contract.increase import Margin
from phasegate.contract.measured import OF_THE_DATABASE
from phasegate.contract.migration import PhaseState
from phasegate.contract.model import Metric
from phasegate.contract.rules import ALLOWED_OVER, passing_margin, passing_share
from phasegate.contract.settings import Settings
from phasegate.contract.statistics import LEAST_TO_FAIL
from phasegate.contract.units import format_duration

SCRAPED = "up"
"""Prometheus' own series of whether it could scrape."""
JUDGED_LOOKUP = "uuid_lookup"
UUID_LOOKUP_P95, CACHE_HIT_RATE = "db_uuid_lookup_p95", "cache_hit_rate"
"""The guide's names of what the rules record."""
LEAST_ERRORS = 5
"""Fewer are no sign: a single one of twenty requests is beyond any floor."""
_RECORDED = {"uuid_lookup_latency": UUID_LOOKUP_P95, "cache_hit_rate": CACHE_HIT_RATE}


class Twin(NamedTuple):
    """`bad` is true, as a series for each subject, where the criterion is violated. Of counts,
    `share` is what is bad of what was tried and `total` how much that was, both over the window;
    empty for a measured value."""

    bad: str
    share: str = ""
    total: str = ""


def quote(text: str) -> str:
    """A text as PromQL writes it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Written(str):
    """The rest of a matcher after its label, as it is written: `=~"$job"`."""

    __slots__ = ()


def select(metric: str, match: Mapping[str, str] | None = None, *more: str) -> str:
    """The selector of one metric; `more` are matchers as they are written."""
    matchers = [
        f"{label}{value}" if isinstance(value, Written) else f"{label}={quote(value)}"
        for label, value in (match or {}).items()
    ]
    inside = ",".join([*matchers, *more])
    return f"{metric}{{{inside}}}" if inside else metric


def select_samples(names: Iterable[str], match: Mapping[str, str], seconds: float) -> str:
    """The raw samples of these metrics in the last so many seconds."""
    either = "|".join(sorted(re.escape(name) for name in names))
    named = select("", match, f"__name__=~{quote(either)}")
    return f"{named}[{max(1, round(seconds * 1000))}ms]"


class Record(NamedTuple):
    """A series that rules record, and the expression that it is."""

    name: str
    expression: str


def make_records(
    match: Mapping[str, str] | None = None, seconds: float = 300
) -> tuple[Record, ...]:
    """What is recorded under the guide's names: one series a subject, none of too few tries."""
    match, window = match or {}, f"[{format_duration(seconds)}]"
    return (
        Record(UUID_LOOKUP_P95, lookup_quantile(match, window, 1 - ALLOWED_OVER)),
        Record(CACHE_HIT_RATE, _recorded_hit_rate(match, window)),
    )


def make_alarm(
    settings: Settings, criterion: str, severity: str, match: Mapping[str, str] | None = None
) -> str:
    """When the limit of that severity is violated; of counts by what `make_records` records.

    Says the same as the twin: a quantile is beyond an edge exactly where the share beyond it is
    too large, and every limit has an edge.
    """
    match, limit = match or {}, severity_limit(settings, criterion, severity)
    recorded = _RECORDED.get(criterion)
    if recorded is not None:
        return f"{select(recorded, match)} {_side(limit)} {_figure(limit.value)}"
    twin = make_twin(settings, criterion, 300, match, severity)
    if twin is None:
        raise ContractError(criterion, "alerts, and no series carries it")
    policy = CRITERIA[criterion].alert
    if policy is None or not policy.after:
        return twin.bad
    return _once_done(twin.bad, select(_MEASURED[criterion].name, match), policy.after, match)


def _once_done(bad: str, measured: str, phase: str, match: Mapping[str, str]) -> str:
    """What is bad after that phase; where no journal tells of phases, after it was good once."""
    states = metrics.MIGRATION_PHASE_STATE.name
    passed = select(states, {**match, "phase": phase, "state": PhaseState.PASSED})
    same = "on (job, instance)"
    return (
        f"({bad} and {same} {passed} > 0) or "
        f"({bad} and min_over_time({measured}[1d]) == 0 unless {same} {select(states, match)})"
    )


def make_twin(
    settings: Settings,
    criterion: str,
    seconds: float,
    match: Mapping[str, str] | None = None,
    severity: str = "warning",
) -> Twin | None:
    """The twin of a criterion over a window of whole seconds; None where no series carries it.

    `match` are the labels of the exporter's series; passing ends at the limit of `warning`.
    """
    match = match or {}
    window = f"[{format_duration(seconds)}]"
    if criterion == "uuid_lookup_latency":
        return _of_counts(settings, criterion, *_latency(settings, match, window))
    if criterion == "cache_hit_rate":
        return _of_counts(settings, criterion, *_hit_rate(settings, match, window))
    if criterion == "health":
        up = (select(metric.name, match) for metric in (metrics.UP, metrics.HEALTH_UP))
        return Twin(" or ".join(f"{one} < 1" for one in up))
    limit = severity_limit(settings, criterion, severity)
    if criterion == "error_rate":
        return Twin(_error_rate(passing_margin(settings, criterion), match, window))
    if criterion == "audit_growth":
        # By the hour whatever the window: rows per hour is what the limit says.
        grown = f"increase({select(metrics.AUDIT_CREATED.name, match)}[1h])"
        return Twin(f"{grown} {_side(limit)} {_figure(limit.value)}")
    measured = _MEASURED.get(criterion)
    if measured is None:
        return None
    return Twin(f"{select(measured.name, match)} {_side(limit)} {_figure(limit.value)}")


def make_counts(
    settings: Settings, criterion: str, window: str, match: Mapping[str, str]
) -> tuple[str, str]:
    """What is bad of what was tried, and how much that was, over a window as it is written
    (`[5m]`), for a criterion that is decided by counts."""
    counts = {"uuid_lookup_latency": _latency, "cache_hit_rate": _hit_rate}
    return counts[criterion](settings, match, window)


def _side(limit: Limit) -> str:
    return ">" if limit.direction is Direction.ABOVE else "<"


def _figure(value: float) -> str:
    """Exactly, and as a person writes it: never in powers of ten where it has few digits."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _of_counts(settings: Settings, criterion: str, bad: str, total: str) -> Twin:
    limit = passing_share(settings, criterion).share
    # A share of nothing is no share; of a few it is no sign.
    share = f"({bad}) / ({total} >= {LEAST_TO_FAIL:g})"
    return Twin(f"{share} > {limit:.12g}", share, total)


def _latency(settings: Settings, match: Mapping[str, str], window: str) -> tuple[str, str]:
    limit = passing_limit(settings, "uuid_lookup_latency").value
    bucket, kind = f"{metrics.QUERY_DURATION.name}_bucket", f"query_type={quote(JUDGED_LOOKUP)}"
    edge = select(bucket, match, kind, f"le=~{quote(_spellings(limit))}")
    fast = f"sum without (le) (increase({edge}{window}))"
    answered, lost = _answered(match, window), _lost(match, window)
    return f"{answered} - {fast} + {lost}", f"({answered} + {lost})"


def lookup_quantile(match: Mapping[str, str], window: str, quantile: float) -> str:
    """Of all that was tried: what was lost took longer than any edge."""
    bucket, kind = f"{metrics.QUERY_DURATION.name}_bucket", f"query_type={quote(JUDGED_LOOKUP)}"
    edges = select(bucket, match, kind, f"le!={quote('+Inf')}")
    finite = f"increase({edges}{window})"
    tried = f"({_answered(match, window)} + {_lost(match, window)})"
    whole = f'label_replace({tried}, "le", "+Inf", "", "")'
    return f"histogram_quantile({quantile:g}, {finite} or {whole}) and {tried} >= {LEAST_TO_FAIL:g}"


def _answered(match: Mapping[str, str], window: str) -> str:
    count = f"{metrics.QUERY_DURATION.name}_count"
    return f"increase({select(count, match, f'query_type={quote(JUDGED_LOOKUP)}')}{window})"


def _lost(match: Mapping[str, str], window: str) -> str:
    """Lookups on the primary that got no answer, or no turn while the server was busy."""
    own = {**match, "target": "database", "query_type": JUDGED_LOOKUP}
    failed = select(metrics.PROBE_FAILURES.name, own)
    skipped = select(metrics.PROBE_SKIPPED.name, {**own, "reason": "server_busy"})
    # What never failed has no series; what never was answered has no buckets.
    nothing = f"0 * {_answered(match, window)}"
    parts = (
        f"(sum without (target, class) (increase({failed}{window})) or {nothing})",
        f"(sum without (target, reason) (increase({skipped}{window})) or {nothing})",
    )
    return f"({' + '.join(parts)})"


def _hit_rate(settings: Settings, match: Mapping[str, str], window: str) -> tuple[str, str]:
    application = settings.application
    judged = "server" if application is None or application.cache is None else "application"
    requests, hits = _cache_counts(match, window, judged)
    return f"{requests} - {hits}", requests


def _recorded_hit_rate(match: Mapping[str, str], window: str) -> str:
    """The application's where it counts, else the server's: the rules know no configuration."""

    def share(scope: str) -> str:
        requests, hits = _cache_counts(match, window, scope)
        return f"{hits} / ({requests} >= {LEAST_TO_FAIL:g})"

    counted = select(metrics.CACHE_REQUESTS.name, {**match, "scope": "application"})
    return f"{share('application')} or ({share('server')} unless on (job, instance) {counted})"


def _error_rate(margin: Margin, match: Mapping[str, str], window: str) -> str:
    """The share of errors, where it is beyond what the baseline and the floor allow."""
    errors, requests, baseline = (
        select(metric.name, match)
        for metric in (
            metrics.APPLICATION_ERRORS,
            metrics.APPLICATION_REQUESTS,
            metrics.ERROR_BASELINE,
        )
    )
    share = f"(increase({errors}{window}) >= {LEAST_ERRORS}) / increase({requests}{window})"
    return f"{share} > clamp_min({_figure(margin.factor)} * {baseline}, {_figure(margin.floor)})"


def _cache_counts(match: Mapping[str, str], window: str, scope: str) -> tuple[str, str]:
    """Of lookups, and of those that hit."""
    requests, hits = (
        f"increase({select(metric.name, {**match, 'scope': scope})}{window})"
        for metric in (metrics.CACHE_REQUESTS, metrics.CACHE_HITS)
    )
    return requests, hits


def _spellings(edge: float) -> str:
    """An edge as an expression that finds it however it is written: `1`, `1.0`, `1e0`."""
    plain = f"{edge:.17g}" if float(f"{edge:.15g}") != edge else f"{edge:.15g}"
    forms = {plain, repr(edge), f"{edge:g}", f"{edge:e}"}
    return "|".join(sorted(re.escape(form) for form in forms if float(form) == edge))


_MEASURED: dict[str, Metric] = {
    **{criterion: metric for criterion, _, metric in OF_THE_DATABASE},
    "uuid_missing": metrics.UUID_MISSING,
    "audit_coverage": metrics.AUDIT_COVERAGE_GAPS,
}
