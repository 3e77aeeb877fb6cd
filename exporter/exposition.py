"""Samples into the text that Prometheus reads; the only importer of prometheus-client.

Rendering thousands of series costs tens of milliseconds of interpreter, most of it for lines that
did not change: each metric's samples are cut into chunks, and a chunk equal to the last one
keeps its text. The text itself is always made by prometheus-client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import prometheus_client.exposition as text_format
from prometheus_client import Metric as Family
from prometheus_client.core import Exemplar as FamilyExemplar
from prometheus_client.openmetrics import exposition as openmetrics_format
from prometheus_client.registry import Collector as FamilySource
from prometheus_client.utils import floatToGoString

from phasegate.contract import metrics
from phasegate.contract.model import Distribution, Metric, Sample

CHUNK = 128
TEXT_TYPE = text_format.CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS_TYPE = openmetrics_format.CONTENT_TYPE_LATEST
_EOF = b"# EOF\n"


class _One(FamilySource):
    """Hands one family to prometheus-client's writers."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return [self._family]


class Exposition:
    """Renders scrapes, and remembers what the last one looked like."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._kept: dict[tuple[bool, str, int], tuple[list[Sample], bytes]] = {}

    def render(self, samples: Iterable[Sample], *, as_openmetrics: bool) -> bytes:
        """The whole exposition, families in the contract's order."""
        families: dict[str, list[Sample]] = {}
        for sample in samples:
            families.setdefault(sample.metric.name, []).append(sample)
        dropped = []
        parts: list[bytes] = []
        for metric in metrics.METRICS:
            found = families.get(metric.name, ())
            kept = self._cap(list(found))
            if len(kept) < len(found):
                dropped.append(metrics.SERIES_DROPPED(len(found) - len(kept), metric.name))
            parts += self._family(metric, kept, as_openmetrics)
        parts += self._family(metrics.SERIES_DROPPED, dropped, as_openmetrics)
        return b"".join(parts) + (_EOF if as_openmetrics else b"")

    def _cap(self, samples: list[Sample]) -> list[Sample]:
        """At most `max_series`, and no series twice: Prometheus refuses a scrape that has one."""
        unique = {sample.labels: sample for sample in samples}
        if len(unique) < len(samples):
            samples = list(unique.values())
        return samples[: self._max_series]

    def _family(
        self, metric: Metric, samples: list[Sample], as_openmetrics: bool
    ) -> Iterator[bytes]:
        for start in range(0, len(samples), CHUNK):
            chunk = samples[start : start + CHUNK]
            key = (as_openmetrics, metric.name, start)
            last = self._kept.get(key)
            if last is None or last[0] != chunk:
                text = _write(metric, chunk, as_openmetrics)
                last = (chunk, text if start == 0 else _without_head(text))
                self._kept[key] = last
            yield last[1]


def _without_head(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))


def _write(metric: Metric, samples: list[Sample], as_openmetrics: bool) -> bytes:
    unit = metric.unit if as_openmetrics else ""
    # A counter's family has the name without the suffix; the writers add it.
    family = Family(metric.name.removesuffix("_total"), metric.help, metric.kind.value, unit)
    for sample in samples:
        _add(family, sample)
    source = _One(family)
    if as_openmetrics:
        text: bytes = openmetrics_format.generate_latest(source, "underscores")  # type: ignore[no-untyped-call]
        return text.removesuffix(_EOF)
    return text_format.generate_latest(source)


def _add(family: Family, sample: Sample) -> None:
    labels = dict(zip(sample.metric.labels, sample.labels, strict=True))
    value = sample.value
    if isinstance(value, Distribution):
        _add_distribution(family, labels, value)
    else:
        family.add_sample(sample.metric.name, labels, value)


def _add_distribution(family: Family, labels: dict[str, str], value: Distribution) -> None:
    running = 0
    exemplars = value.exemplars or (None,) * len(value.counts)
    edges = chain(value.edges, [float("inf")])
    for edge, count, exemplar in zip(edges, value.counts, exemplars, strict=True):
        running += count
        family.add_sample(
            f"{family.name}_bucket",
            {**labels, "le": floatToGoString(edge)},  # type: ignore[no-untyped-call]
            running,
            exemplar=exemplar
            and FamilyExemplar(dict(exemplar.labels), exemplar.value, exemplar.time),
        )
    family.add_sample(f"{family.name}_count", labels, running)
    family.add_sample(f"{family.name}_sum", labels, value.sum)
