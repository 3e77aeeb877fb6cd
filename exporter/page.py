"""The landing page: what a person wants to know when nothing else is at hand. Pure.

It shows the last run and touches no server, so that it answers also while everything is down.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import chain

from phasegate import __version__
from phasegate.contract.criteria import CRITERIA, thresholds
from phasegate.contract.model import Distribution, Sample
from phasegate.contract.settings import Settings
from phasegate.exporter.remedies import remedy_for
from phasegate.exporter.runner import Status
from phasegate.exporter.targets import Target

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr { border-bottom: 1px solid #8885 }
td { overflow-wrap: anywhere }
.good::before { content: "● "; color: #009E73 }
.bad::before { content: "▲ "; color: #D55E00 }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .4rem }
nav a { margin-right: 1rem }
"""
SHOWN_SERIES = 12


def render_page(
    settings: Settings,
    targets: Iterable[Target],
    statuses: Sequence[Status],
    kept: Sequence[Sample],
) -> str:
    """The page as HTML; every text from outside is escaped."""
    sections = [
        _table("Targets", ("target", "state", "what it is"), map(_target, targets)),
        _table("Criteria", ("criterion", "warning", "critical"), _criteria(settings)),
        _table(
            "Collectors",
            ("collector", "state", "last success", "took", "error", "what to do"),
            map(_collector, statuses),
        ),
        _table("Measures", ("series", "labels", "value"), _measures(statuses, kept)),
    ]
    links = "".join(
        f'<a href="{path}">{text}</a>'
        for path, text in (
            ("metrics", "metrics"),
            ("config", "configuration"),
            ("api/v1/evidence", "evidence"),
            ("debug/probes", "last probes"),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Phasegate exporter</title><style>{STYLE}</style></head><body>"
        f"<h1>Phasegate exporter</h1><p>version {__version__}, environment "
        f"{escape(settings.environment or 'not stated')}</p><nav>{links}</nav>"
        f"{''.join(sections)}</body></html>"
    )


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<h2>{title}</h2><table><tr>{heads}</tr>{body}</table>"


def _state(good: bool, word: str) -> str:
    return f'<span class="{"good" if good else "bad"}">{escape(word)}</span>'


def _target(target: Target) -> Sequence[str]:
    known = target.identity
    what = f"{known.role}, {known.database}, {known.version_text}" if known else "not reached yet"
    return escape(target.name), _state(target.up, "up" if target.up else "down"), escape(what)


def _measures(statuses: Sequence[Status], kept: Sequence[Sample]) -> Iterable[Sequence[str]]:
    shown: dict[str, int] = {}
    for sample in chain(kept, *(status.samples for status in statuses)):
        name = sample.metric.name
        shown[name] = shown.get(name, 0) + 1
        if shown[name] > SHOWN_SERIES:
            continue
        labels = ", ".join(
            f"{key}={value}" for key, value in zip(sample.metric.labels, sample.labels, strict=True)
        )
        yield escape(name), escape(labels), _figure(name, sample.value)


def _figure(name: str, value: float | Distribution) -> str:
    if isinstance(value, Distribution):
        count = sum(value.counts)
        mean = 1000 * value.sum / count if count else 0
        return f"{count} observations, mean {mean:.2f} ms"
    if name.endswith("_timestamp_seconds"):
        return datetime.fromtimestamp(value, UTC).isoformat(" ", "seconds")
    return f"{value:,.6g}"


def _criteria(settings: Settings) -> Iterable[Sequence[str]]:
    for name, criterion in CRITERIA.items():
        limits = thresholds(settings, name)
        sign = {"above": ">", "below": "<"}[criterion.direction]
        unit = escape(criterion.unit)
        yield (
            escape(name),
            f"{sign} {limits['warning']:,g} {unit}",
            f"{sign} {limits['critical']:,g} {unit}",
        )


def _collector(status: Status) -> Sequence[str]:
    ago = time.time() - status.last_success
    return (
        escape(status.collector),
        _state(status.success, "succeeded" if status.success else status.reason),
        f"{ago:.0f} s ago" if status.last_success else "never",
        f"{1000 * status.duration:.0f} ms",
        escape(status.error),
        "" if status.success else escape(remedy_for(status.reason)),
    )
