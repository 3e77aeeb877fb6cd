"""The performance baseline for people: how it was before the change, and on how many counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from phasegate.contract import statistics
from phasegate.contract.baseline import Baseline, Counted
from phasegate.contract.model import Observation
from phasegate.contract.names import TableName
from phasegate.contract.proportions import name_subject
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.statistics import Count
from phasegate.contract.times import format_time
from phasegate.contract.units import format_duration

QUANTILES = (0.5, 0.95, 0.99)
CONFIDENCE = 0.95
LARGEST = 10


def render_document(baseline: Baseline) -> str:
    """Markdown, with a line end; the same bytes for the same baseline."""
    parts = [
        _head(baseline),
        _latency(_of(baseline, "uuid_lookup_latency")),
        _shares("Cache hit rate", "hits", "lookups", _of(baseline, "cache_hit_rate")),
        _shares("Errors", "errors", "requests", _of(baseline, "error_rate")),
        _growth(baseline.values),
        _partitions(baseline.values),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def find_quantile(one: Counted, share: float) -> float | None:
    """The upper edge in seconds of the bucket that holds this share of all probes; None where it
    lies beyond the last edge or among those that failed or were skipped."""
    rank = math.ceil(share * one.total)
    reached = 0
    for edge, count in zip(one.edges, one.buckets, strict=False):
        reached += count
        if rank and reached >= rank:
            return edge
    return None


def _of(baseline: Baseline, criterion: str) -> list[Counted]:
    return [one for one in baseline.counts if one.criterion == criterion and one.total]


def _head(baseline: Baseline) -> Iterator[str]:
    yield "# Performance baseline"
    yield ""
    yield f"Captured {format_time(baseline.captured)} by Phasegate {baseline.build} in environment"
    yield f"{baseline.environment or '(none stated)'}. SHA-256 `{baseline.sha256}`,"
    yield f"settings `{baseline.settings_hash}`."
    yield ""
    yield from _table(("target", "identity"), sorted(baseline.identities.items()))


def _latency(counts: Sequence[Counted]) -> Iterator[str]:
    yield "## Lookups by UUID"
    yield ""
    if not counts:
        yield "Not measured."
        return
    yield "Upper bounds: the edge of the bucket that holds the quantile."
    yield ""
    heads = ("table", "probes", *(f"P{100 * q:g}" for q in QUANTILES), "failed", "from", "span")
    rows = []
    for one in counts:
        table = f"{TableName(one.schema, one.table)} on {one.target}"
        found = (find_quantile(one, share) for share in QUANTILES)
        shown = ("beyond" if q is None else f"≤ {format_value(q, Unit.SECONDS)}" for q in found)
        lost = f"{one.failed + one.skipped:,}"
        rows.append((table, f"{one.total:,}", *shown, lost, *_when(one)))
    yield from _table(heads, rows)


def _shares(title: str, what: str, of: str, counts: Sequence[Counted]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    if not counts:
        yield "Not measured."
        return
    rows = []
    for one in counts:
        number = one.good if what == "hits" else one.total - one.good
        spread = one.dispersion or 1.0
        low, high = statistics.interval(Count(number, one.total).thinned(spread), CONFIDENCE)
        rate = f"{number / one.total:.3%} ({low:.3%} to {high:.3%})"
        subject = name_subject(one.target, one.scope, "", "")
        rows.append((subject, f"{number:,}", f"{one.total:,}", rate, *_when(one)))
    yield from _table(("counted by", what, of, "share (95 %)", "from", "span"), rows)


def _growth(values: Sequence[Observation]) -> Iterator[str]:
    yield "## Growth of the audit log"
    yield ""
    found = [one for one in values if one.criterion == "audit_growth"]
    if not found:
        yield "Not measured."
        return
    total = sum(one.value for one in found)
    yield f"{total:,.0f} events in the hour before {format_time(found[0].time)}."
    yield ""
    yield from _table(
        ("category", "events"), [(one.subject or "(none)", f"{one.value:,.0f}") for one in found]
    )


def _partitions(values: Sequence[Observation]) -> Iterator[str]:
    yield "## Partitions of the audit log"
    yield ""
    found = [one for one in values if one.criterion == "audit_partition_size"]
    if not found:
        yield "Not measured."
        return
    total = format_value(sum(one.value for one in found), Unit.BYTES)
    yield f"{len(found):,} partitions, {total} without indexes; the largest:"
    yield ""
    largest = sorted(found, key=lambda one: (-one.value, one.subject))[:LARGEST]
    rows = [(one.subject, format_value(one.value, Unit.BYTES)) for one in largest]
    yield from _table(("partition", "size"), rows)


def _when(one: Counted) -> tuple[str, str]:
    return format_time(one.start), format_duration(max(1.0, float(round(one.end - one.start))))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(heads)
    yield _row(["---"] * len(heads))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    # A name may hold what ends a cell.
    kept = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(kept)} |"
