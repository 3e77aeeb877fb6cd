"""The application's own counters, read from its metrics page.

Imports prometheus-client's parser: `exposition.py` is the one place that writes our exposition,
this is the one that reads other people's. A count that cannot be trusted is an error and never a
0: a misspelt metric or label would else look like an application without errors.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from phasegate.contract.errors import CollectError
from phasegate.contract.settings import Application, ApplicationCounter
from phasegate.exporter.http_client import Failure, fetch

COLLECTOR = "application"
PAGE_LIMIT_BYTES = 4 * 1024 * 1024
_OPENMETRICS = "application/openmetrics-text"
_ACCEPT = f"text/plain;version=0.0.4,{_OPENMETRICS};version=1.0.0;q=0.5"
_CACHE_LABEL = "cache"
_STARTED = "process_start_time_seconds"
# A counter by any other name: what may be summed and only rises.
_RISING = ("counter", "unknown", "untyped", "histogram", "summary")


@dataclass(frozen=True)
class CacheCounts:
    """Lookups and hits of one cache since the application's start."""

    requests: int
    hits: int


@dataclass(frozen=True)
class ApplicationCounts:
    """What the application counted since its start; None where nothing is configured.

    `caches` is keyed by the label `cache`, "" where the counters have none. `started` is the start
    that its page states, in whatever form; empty where it states none.
    """

    requests: int | None = None
    errors: int | None = None
    caches: Mapping[str, CacheCounts] = field(default_factory=dict)
    started: str = ""


async def fetch_application(
    application: Application, within_seconds: float | None = None
) -> ApplicationCounts:
    """Read the page now, in its own time limit or in `within_seconds` where that is shorter.

    Raises CollectError.
    """
    limit = application.timeout
    if within_seconds is not None:
        limit = min(within_seconds, limit)
    answer = await fetch(
        application.metrics_url,
        application,
        within_seconds=limit,
        limit=PAGE_LIMIT_BYTES,
        accept=_ACCEPT,
    )
    if isinstance(answer, Failure):
        raise CollectError(COLLECTOR, answer.reason, f"the application's metrics: {answer.detail}")
    if answer.status != 200:
        raise _error("status", f"answered {answer.status}, expected 200")
    if answer.truncated:
        raise _error("too_large", f"are longer than {PAGE_LIMIT_BYTES} bytes")
    try:
        text = answer.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _error("not_metrics", "are not UTF-8") from error
    return await asyncio.to_thread(parse_application, text, answer.content_type, application)


def parse_application(text: str, content_type: str, application: Application) -> ApplicationCounts:
    """The configured counts of a page in Prometheus' text format or OpenMetrics.

    Raises CollectError for a metric, or a label to match, that the page does not have; for values
    that are no counts; for the same series twice; for more hits than lookups.
    """
    wanted = [counter.metric for counter in (application.requests, application.errors) if counter]
    cache = application.cache
    wanted += [cache.requests, cache.hits] if cache else []
    page = _Page(text, openmetrics=content_type == _OPENMETRICS, wanted={_STARTED, *wanted})
    caches: dict[str, CacheCounts] = {}
    if cache is not None:
        requests = page.sums(ApplicationCounter(metric=cache.requests), _CACHE_LABEL)
        hits = page.sums(ApplicationCounter(metric=cache.hits), _CACHE_LABEL)
        for name in sorted(requests.keys() | hits.keys()):
            counts = CacheCounts(requests.get(name, 0), hits.get(name, 0))
            if counts.hits > counts.requests:
                raise _error(
                    "contradiction",
                    f"count {counts.hits} hits of {counts.requests} lookups in cache {name!r}",
                )
            caches[name] = counts
    return ApplicationCounts(
        requests=page.total(application.requests), errors=page.total(application.errors),
        caches=caches, started=page.started(),
    )  # fmt: skip


class _Page:
    """The wanted part of a page. Only its lines are parsed: a page can be megabytes."""

    def __init__(self, text: str, *, openmetrics: bool, wanted: Collection[str]) -> None:
        if openmetrics and not text.rstrip("\n").endswith("# EOF"):
            raise _error("not_metrics", "end without # EOF: a part is missing")
        names = {form for name in wanted for form in _forms(name)}
        lines = "".join(f"{line}\n" for line in _lines_of(text, names))
        self._kinds: dict[str, str] = {}
        self._series: dict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
        try:
            if openmetrics:
                families = list(parse_openmetrics(lines + "# EOF\n"))  # type: ignore[no-untyped-call]
            else:
                families = list(parse_text(lines))
        except Exception as error:
            # The parser raises whatever its string handling meets. Its texts quote the page.
            raise _error("not_metrics", "are not in Prometheus' text format") from error
        for family in families:
            self._take(family, wanted)

    def _take(self, family: Metric, wanted: Collection[str]) -> None:
        for name in (family.name, f"{family.name}_total"):
            self._kinds.setdefault(name, family.type)
        for sample in family.samples:
            # The parser calls every counter `…_total`, also one whose page does not.
            bare = sample.name.removesuffix("_total") if family.type == "counter" else sample.name
            for name in {sample.name, bare} & set(wanted):
                self._kinds[name] = family.type
                self._add(name, sample)

    def _add(self, name: str, sample: Sample) -> None:
        labels = tuple(sorted(sample.labels.items()))
        if labels in self._series[name]:
            raise _error("duplicate", f"hold a series of {name} twice")
        self._series[name][labels] = sample.value

    def started(self) -> str:
        """The start of the one process that the page is of."""
        series = list(self._series[_STARTED].values())
        return f"{series[0]:.3f}" if len(series) == 1 else ""

    def total(self, counter: ApplicationCounter | None) -> int | None:
        """The sum over all matching series; None where nothing is configured."""
        return None if counter is None else sum(self.sums(counter, "").values())

    def sums(self, counter: ApplicationCounter, by: str) -> dict[str, int]:
        """The sums of the matching series by the value of label `by`."""
        kind = self._kinds.get(counter.metric)
        if kind is None:
            raise _error("metric_missing", f"have no metric {counter.metric}")
        if kind not in _RISING:
            raise _error("not_a_counter", f"call {counter.metric} a {kind}, expected a counter")
        series = self._series[counter.metric]
        self._check_labels(counter)
        sums: dict[str, int] = defaultdict(int)
        for labels, value in series.items():
            by_name = dict(labels)
            if all(re.fullmatch(want, by_name.get(key, "")) for key, want in counter.match.items()):
                sums[by_name.get(by, "")] += _count(value, counter.metric)
        return dict(sums)

    def _check_labels(self, counter: ApplicationCounter) -> None:
        series = self._series[counter.metric]
        known = {name for labels in series for name, _ in labels}
        for label in counter.match:
            if series and label not in known:
                seen = ", ".join(sorted(known)) or "none"
                raise _error(
                    "label_missing", f"have no label {label} at {counter.metric}; labels: {seen}"
                )


def _forms(name: str) -> tuple[str, str]:
    """Without and with `_total`: OpenMetrics writes one in the type, the other in samples."""
    bare = name.removesuffix("_total")
    return bare, f"{bare}_total"


def _lines_of(text: str, names: Collection[str]) -> Iterator[str]:
    starts = ("#", *names)
    for line in text.split("\n"):
        if not line.startswith(starts):
            continue
        words = line.replace("{", " ", 1).split(None, 3)
        if words[0] in names or (words[1:2] == ["TYPE"] and words[2:3] and words[2] in names):
            yield line.rstrip("\r")


def _count(value: float, metric: str) -> int:
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise _error("not_a_count", f"say {metric} is {value:g}, expected a whole number")
    return int(value)


def _error(reason: str, what: str) -> CollectError:
    return CollectError(COLLECTOR, reason, f"the application's metrics {what}")
