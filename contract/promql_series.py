"""What boards ask: selectors with a board's variables, and what is made of one series of ours.

Every selector carries the variables of job and instance, and that of the table where the series has
one. Two exporters that measure one server show the same figure twice: a shared count or state is
folded by its worst, and only what each exporter counts of its own lookups is summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phasegate.contract import metrics
from phasegate.contract.model import Kind, Metric
from phasegate.contract.promql import SCRAPED, Written, lookup_quantile, quote, select
from phasegate.contract.rules import ALLOWED_OVER

ALERTS = "ALERTS"
"""Prometheus' own series of what its rules say."""
RATE = "[$__rate_interval]"
RANGE = "[$__range]"
OURS: Mapping[str, str] = {"job": Written('=~"$job"'), "instance": Written('=~"$instance"')}
# Between backquotes, and in Grafana's own format of a regular expression: a table's name may hold
# quotes and signs, and the default format escapes them for a string between double quotes.
TABLES = Written("=~`${table:regex}`")


_OF_PARTITIONS = frozenset({metrics.DEFAULT_PARTITION_USED.name})
"""Whose label `table` names a partition, and no table that a person would choose."""


def match_board(metric: Metric) -> dict[str, str]:
    """The matchers by variable that a board gives to that series."""
    if metric.name in _OF_PARTITIONS:
        return dict(OURS)
    for label in ("parent", "table"):
        if label in metric.labels:
            return {**OURS, label: TABLES}
    return dict(OURS)


def series(metric: Metric, **labels: str) -> str:
    """The selector of a series on a board; of a histogram that of its count."""
    name = f"{metric.name}_count" if metric.kind is Kind.HISTOGRAM else metric.name
    return select(name, {**match_board(metric), **labels})


def fold(how: str, expression: str, by: Iterable[str]) -> str:
    """One series for each set of those labels."""
    labels = ", ".join(by)
    return f"{how} by ({labels}) ({expression})" if labels else f"{how}({expression})"


def worst(metric: Metric, *by: str, how: str = "max", **labels: str) -> str:
    """The worst that any exporter says, by the series' own labels unless others are named."""
    return fold(how, series(metric, **labels), by or metric.labels)


def rate(metric: Metric, *by: str, how: str = "max", **labels: str) -> str:
    """How much a counter rises in a second."""
    return fold(how, f"rate({series(metric, **labels)}{RATE})", by or metric.labels)


def increase(metric: Metric, window: str, *by: str, how: str = "max", **labels: str) -> str:
    """How much a counter rose over a window as it is written."""
    return fold(how, f"increase({series(metric, **labels)}{window})", by or metric.labels)


def buckets(metric: Metric, window: str, *by: str, **labels: str) -> str:
    """How often a second a histogram's buckets were hit, cumulative by `le`."""
    match = {**match_board(metric), **labels}
    return fold("sum", f"rate({select(f'{metric.name}_bucket', match)}{window})", ("le", *by))


def quantile(share: float, metric: Metric, *by: str, window: str = RATE, **labels: str) -> str:
    """A quantile of a histogram, of all exporters' counts together. A bucket that nothing hit
    gives NaN, which is no figure, and is left out."""
    found = f"histogram_quantile({share:g}, {buckets(metric, window, *by, **labels)})"
    return f"{found} >= 0"


def lookup_p95() -> str:
    """The quantile by which the lookups are judged, of all that was tried, by exporter."""
    return lookup_quantile(match_board(metrics.QUERY_DURATION), RATE, 1 - ALLOWED_OVER)


def heat(metric: Metric, **labels: str) -> str:
    """The counts of a histogram's buckets, for a heat map."""
    match = {**match_board(metric), **labels}
    return fold("sum", f"increase({select(f'{metric.name}_bucket', match)}{RATE})", ("le",))


def age(metric: Metric, *by: str, how: str = "max", **labels: str) -> str:
    """Seconds since a series of Unix time; the oldest with `how="min"`."""
    return f"time() - {fold(how, f'{series(metric, **labels)} > 0', by or metric.labels)}"


def left(metric: Metric, *by: str, **labels: str) -> str:
    """Seconds until the earliest of a series of Unix time."""
    return f"{worst(metric, *by, how='min', **labels)} - time()"


def coded(metric: Metric, label: str, codes: Mapping[str, int], *by: str, **labels: str) -> str:
    """The number of the value of `label` for which the series is 1, where values are one series
    each."""
    parts = (
        f"{code} * {fold('max', f'{series(metric, **labels, **{label: value})} == 1', by)}"
        for value, code in codes.items()
    )
    return " or ".join(parts)


def counted_in(metric: Metric, label: str, values: Iterable[str], *by: str) -> str:
    """How many are in one of these states, by the worst that any exporter says."""
    match = {label: Written(f"=~{quote('|'.join(values))}")}
    return f"sum({worst(metric, *by, **match)})"


def of_limit(metric: Metric, limit: float, *, above: bool, **labels: str) -> str:
    """How much of a limit is used: 1 is all of it, more is bad; at most ten times is told."""
    if above:
        return f"clamp_max({worst(metric, **labels)} / {limit:.12g}, 10)"
    found = worst(metric, how="min", **labels)
    return f"{limit:.12g} / clamp_min({found}, {limit / 10:.12g})"


def minus(whole: str, *parts: str) -> str:
    """What is left of a count; never below nothing, where both were not read at once."""
    return f"clamp_min({' - '.join((whole, *(f'({part})' for part in parts)))}, 0)"


def above(expression: str, floor: float = 0) -> str:
    """Only what is more than that."""
    return f"{expression} > {floor:g}"


def finite(expression: str) -> str:
    """Without what never ends."""
    return f"{expression} < +Inf"


def largest(count: int, expression: str) -> str:
    """That many of the largest, the largest first."""
    return f"sort_desc(topk({count}, {expression}))"


def hit_rate(missed: str, asked: str) -> str:
    """What was found of what was asked."""
    return f"1 - {times(missed, asked)}"


def times(one: str, other: str) -> str:
    """What one is of the other, by the labels that both have; of nothing there is no share."""
    return f"({one}) / ({other} > 0)"


def spans(began: Metric, ended: Metric) -> str:
    """Seconds between two series of Unix time, by the labels that both have."""
    return f"({worst(ended)} > 0) - {worst(began)}"


def before_began(share: float, metric: Metric, **labels: str) -> str:
    """A quantile over the hour before the migration began, by the variable of that moment."""
    match = {**match_board(metric), **labels}
    counts = f"increase({select(f'{metric.name}_bucket', match)}[1h] @ ${{began}})"
    return f"histogram_quantile({share:g}, {fold('sum', counts, ('le',))}) >= 0"


def until_done(done: Metric, *by: str) -> str:
    """Seconds until a share is 1, at the pace of the last ten minutes; none while it stands."""
    pace = fold("max", f"deriv({series(done)}[10m])", by)
    return f"(1 - {fold('max', f'{series(done)} < 1', by)}) / ({pace} > 0)"


def scraped() -> str:
    """Whether Prometheus can scrape each exporter."""
    return fold("min", select(SCRAPED, OURS), ("instance",))


# An alert that something is absent has no instance, and one that always fires no job either.
_OF_ALERTS = {"job": Written('=~"$job|"'), "instance": Written('=~"$instance|"')}
_WAKING = Written('=~"warning|critical"')


def firing(*by: str, **labels: str) -> str:
    """How many alerts fire that wake somebody; 0 where rules are loaded at all."""
    match = {**_OF_ALERTS, "alertstate": "firing", "severity": _WAKING, **labels}
    found = fold("count", select(ALERTS, match), by)
    return found if by else f"{found} or 0 * count({select(ALERTS, _OF_ALERTS)})"


def alerts_since() -> str:
    """Unix milliseconds since when each alert is pending or fires."""
    since = select(f"{ALERTS}_FOR_STATE", {**_OF_ALERTS, "severity": _WAKING})
    alerts = select(ALERTS, {**_OF_ALERTS, "severity": _WAKING})
    return f"1000 * {alerts} * ignoring (alertstate) group_left {since}"


def moments(metric: Metric, *by: str, **labels: str) -> str:
    """Unix milliseconds of a series of Unix seconds: where an annotation stands."""
    return f"1000 * {fold('max', f'{series(metric, **labels)} > 0', by or metric.labels)}"


def moments_where(moment: Metric, metric: Metric) -> str:
    """The moments of the labels that both have, for each series of the other that is above 0."""
    shared = ", ".join(label for label in metric.labels if label in moment.labels)
    there = f"({worst(metric)} > 0)"
    return f"{moments(moment)} * on ({shared}) group_right () {there}"


def find_jobs(job: str) -> str:
    """The jobs that scrape an exporter; and the configured one while all its scrapes fail."""
    scraped = fold("group", select(SCRAPED, {"job": job}), ("job",))
    return f"query_result({fold('group', metrics.BUILD_INFO.name, ('job',))} or {scraped})"


def find_databases() -> str:
    """The databases that the exporters of the chosen jobs measure."""
    match = {"job": OURS["job"], "target": "database"}
    return f"label_values({select(metrics.TARGET_INFO.name, match)}, database)"


def find_instances() -> str:
    """The exporters of the chosen jobs, without those that measure another database."""
    match = {"job": OURS["job"]}
    seen = f"{select(SCRAPED, match)} or {select(metrics.BUILD_INFO.name, match)}"
    match |= {"target": "database", "database": Written("!~`${database:regex}`")}
    other = fold("group", select(metrics.TARGET_INFO.name, match), ("instance",))
    found = fold("group", seen, ("instance",))
    return f"query_result({found} unless on (instance) {other})"


def find_tables() -> str:
    """The tables that are watched."""
    return f"label_values({select(metrics.INVALID_INDEXES.name, OURS)}, table)"


def find_began() -> str:
    """Unix time at which the migration began; 0, at which there is no sample, before that."""
    started = select(metrics.MIGRATION_PHASE_STARTED.name, OURS)
    return f"query_result(min({started} > 0) or vector(0))"
