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
from phasegate.contract.criteria import CRITERIA, Decision, Direction, passing_limit
from phasegate.contract.measured import OF_THE_DATABASE
from phasegate.contract.model import Metric
from phasegate.contract.rules import passing_share
from phasegate.contract.settings import Settings
from phasegate.contract.statistics import LEAST_TO_FAIL
from phasegate.contract.units import format_duration

JUDGED_LOOKUP = "uuid_lookup"


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


def select(metric: str, match: Mapping[str, str] | None = None, *more: str) -> str:
    """The selector of one metric; `more` are matchers as they are written."""
    matchers = [f"{label}={quote(value)}" for label, value in (match or {}).items()]
    inside = ",".join([*matchers, *more])
    return f"{metric}{{{inside}}}" if inside else metric


def select_samples(names: Iterable[str], match: Mapping[str, str], seconds: float) -> str:
    """The raw samples of these metrics in the last so many seconds."""
    either = "|".join(sorted(re.escape(name) for name in names))
    named = select("", match, f"__name__=~{quote(either)}")
    return f"{named}[{max(1, round(seconds * 1000))}ms]"


def make_twin(
    settings: Settings, criterion: str, seconds: float, match: Mapping[str, str] | None = None
) -> Twin | None:
    """The twin of a criterion over a window of whole seconds; None where no series carries it.

    `match` are the labels of the exporter's series.
    """
    match = match or {}
    window = f"[{format_duration(seconds)}]"
    if criterion == "uuid_lookup_latency":
        return _of_counts(settings, criterion, *_latency(settings, match, window))
    if criterion == "cache_hit_rate":
        return _of_counts(settings, criterion, *_hit_rate(settings, match, window))
    if criterion == "health":
        up = (select(metric.name, match) for metric in (metrics.UP, metrics.HEALTH_UP))
        return Twin(" or ".join(f"({one} < 1)" for one in up))
    limit = passing_limit(settings, criterion)
    side = ">" if limit.direction is Direction.ABOVE else "<"
    if criterion == "audit_growth":
        # By the hour whatever the window: rows per hour is what the limit says.
        grown = f"increase({select(metrics.AUDIT_CREATED.name, match)}[1h])"
        return Twin(f"{grown} {side} {limit.value:g}")
    measured = _MEASURED.get(criterion)
    if measured is None or CRITERIA[criterion].decision is not Decision.EXACT:
        return None
    return Twin(f"{select(measured.name, match)} {side} {limit.value:.17g}")


def _of_counts(settings: Settings, criterion: str, bad: str, total: str) -> Twin:
    limit = passing_share(settings, criterion).share
    # A share of nothing is no share; of a few it is no sign.
    share = f"({bad}) / ({total} >= {LEAST_TO_FAIL})"
    return Twin(f"{share} > {limit:.12g}", share, total)


def _latency(settings: Settings, match: Mapping[str, str], window: str) -> tuple[str, str]:
    kind = f"query_type={quote(JUDGED_LOOKUP)}"
    by = "sum by (job, instance, schema, table)"

    def grown(metric: str, *more: str) -> str:
        return f"{by} (increase({select(metric, match, kind, *more)}{window}))"

    name = metrics.QUERY_DURATION.name
    limit = passing_limit(settings, "uuid_lookup_latency").value
    fast = grown(f"{name}_bucket", f"le=~{quote(_spellings(limit))}")
    answered = grown(f"{name}_count")
    first = f"target={quote('database')}"
    failed = grown(metrics.PROBE_FAILURES.name, first)
    skipped = grown(metrics.PROBE_SKIPPED.name, first, f"reason={quote('server_busy')}")
    # What never failed has no series; what never was answered has no buckets.
    nothing = f"0 * {answered}"
    lost = f"(({failed} or {nothing}) + ({skipped} or {nothing}))"
    return f"{answered} - {fast} + {lost}", f"({answered} + {lost})"


def _hit_rate(settings: Settings, match: Mapping[str, str], window: str) -> tuple[str, str]:
    application = settings.application
    judged = "server" if application is None or application.cache is None else "application"
    scope = f"scope={quote(judged)}"
    by = "sum by (job, instance, cache)"

    def grown(metric: Metric) -> str:
        return f"{by} (increase({select(metric.name, match, scope)}{window}))"

    requests, hits = grown(metrics.CACHE_REQUESTS), grown(metrics.CACHE_HITS)
    return f"{requests} - {hits}", requests


def _spellings(edge: float) -> str:
    """An edge as an expression that finds it however it is written: `1`, `1.0`, `1e0`."""
    plain = f"{edge:.17g}" if float(f"{edge:.15g}") != edge else f"{edge:.15g}"
    forms = {plain, repr(edge), f"{edge:g}", f"{edge:e}"}
    return "|".join(sorted(re.escape(form) for form in forms if float(form) == edge))


_MEASURED: dict[str, Metric] = {
    **{criterion: metric for criterion, _, metric in OF_THE_DATABASE},
    "uuid_missing": metrics.UUID_MISSING,
}
