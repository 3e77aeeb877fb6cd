"""The landing page: what a person wants to know when nothing else is at hand. Pure.

It shows the last run and touches no server, so that it answers also while everything is down.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import chain

from phasegate import __version__
from phasegate.contract.criteria import Decision
from phasegate.contract.model import Distribution, Sample, Verdict
from phasegate.contract.settings import Settings
from phasegate.exporter.criteria_now import Held, Row, count_verdicts, describe_criteria
from phasegate.exporter.plan_shapes import PlanLine
from phasegate.exporter.remedies import remedy_for
from phasegate.exporter.runner import Status
from phasegate.exporter.targets import Target

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2, summary { font-size: 1.1rem; font-weight: bold; margin: 1.5rem 0 .4rem }
summary { cursor: pointer }
nav a { margin-right: 1rem }
table { border-collapse: collapse; width: 100%; margin: 0 0 1.5rem }
th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr { border-bottom: 1px solid #8885 }
td { overflow-wrap: anywhere }
td:first-child { font-weight: 600; overflow-wrap: normal }
td:is([data-is=value], [data-is=age], [data-is=took]) { white-space: nowrap }
td[data-is=limit] { min-width: 9rem }
td[data-is=why] { min-width: 18rem }
td[data-is="what to do"]:not(:empty) { min-width: 12rem }
.good, .bad, .open, .none { white-space: nowrap }
.good::before { content: "● "; color: #009E73 }
.bad::before { content: "▲ "; color: #D55E00 }
.open::before { content: "◆ "; color: #E69F00 }
.none { opacity: .75 }
@media (max-width: 50rem) {
  table, tbody, tr, td { display: block }
  tr { padding: .5rem 0 }
  tr:has(th), td:empty { display: none }
  td:nth-child(n) { padding: .1rem 0; overflow-wrap: anywhere; white-space: normal; min-width: 0 }
  td:not(:first-child)::before {
    content: attr(data-is) ": "; color: GrayText; font-weight: normal
  }
}
"""
VERDICTS = {Verdict.PASSED: "good", Verdict.FAILED: "bad"}
UNJUDGED = {
    Decision.INCREASE: "judged by validate",
    Decision.ALERT: "alerts only",
}
NOT_RUN_YET = Status("").reason
SHOWN_SERIES = 12


def render_page(
    settings: Settings,
    targets: Iterable[Target],
    kept: Sequence[Sample],
    held: Held,
    plans: Sequence[PlanLine] = (),
) -> str:
    """The page as HTML; every text from outside is escaped."""
    criteria = describe_criteria(settings, held)
    statuses = list(held.statuses.values())
    sections = [
        _section("Targets", ("target", "state", "what it is"), map(_target, targets)),
        _section(
            "Criteria",
            ("criterion", "state", "value", "limit", "age", "why", "what to do"),
            map(_criterion, criteria),
            _summary(criteria),
        ),
        _section(
            "Collectors",
            ("collector", "state", "last success", "took", "error", "what to do"),
            (_collector(status, held.now) for status in statuses),
        ),
        _plans(plans, held.now),
        _measured(statuses, kept),
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
        f"{escape(settings.environment or 'not stated')}, {_moment(held.now)}</p><nav>{links}</nav>"
        f"{''.join(sections)}</body></html>"
    )


def _section(
    title: str, head: Sequence[str], rows: Iterable[Sequence[str]], about: str = ""
) -> str:
    told = f"<p>{about}</p>" if about else ""
    return f"<h2>{title}</h2>{told}{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{_cells(head, row)}</tr>" for row in rows)
    return f"<table><tbody><tr>{heads}</tr>{body}</tbody></table>"


def _cells(head: Sequence[str], row: Sequence[str]) -> str:
    return "".join(
        f'<td data-is="{name}">{cell}</td>' for name, cell in zip(head, row, strict=True)
    )


def _state(look: str, word: str) -> str:
    return f'<span class="{look}">{escape(word)}</span>'


def _target(target: Target) -> Sequence[str]:
    known = target.identity
    what = f"{known.role}, {known.database}, {known.version_text}" if known else "not reached yet"
    state = _state("good", "up") if target.up else _state("bad", "down")
    return escape(target.name), state, escape(what)


def _summary(criteria: Sequence[Row]) -> str:
    counts = count_verdicts(criteria).items()
    return ", ".join(f"{count} {verdict}" for verdict, count in counts) + (
        ": what this exporter holds now, and no gate; phasegate validate judges the evidence "
        "since a stated time"
    )


def _criterion(row: Row) -> Sequence[str]:
    if row.verdict is None:
        state = _state("none", UNJUDGED[row.decision])
    else:
        state = _state(VERDICTS.get(row.verdict, "open"), row.verdict)
    age = "" if row.age is None else f"{row.age:.0f} s"
    limit = f"{row.limit}, critical {row.critical}" if row.critical else row.limit
    texts = (row.value, limit, age, row.reason, row.remedy)
    return row.criterion, state, *map(escape, texts)


def _plans(plans: Sequence[PlanLine], now: float) -> str:
    """Nothing where no lookup was planned yet."""
    head = ("lookup", "target", "state", "plan", "seen")
    rows = (_plan(line, now) for line in plans)
    return _section("Plans of the lookups", head, rows) if plans else ""


def _plan(line: PlanLine, now: float) -> Sequence[str]:
    """A plan that reads a whole table names the nodes that do."""
    reads = ", ".join(line.shape.whole_reads)
    state = _state("bad", f"without an index: {reads}") if reads else _state("good", "by index")
    lookup = f"{line.query_type} {line.schema}.{line.table}"
    texts = (lookup, line.target, line.shape.text)
    name, target, plan = map(escape, texts)
    return name, target, state, plan, f"{now - line.time:.0f} s ago"


def _measured(statuses: Sequence[Status], kept: Sequence[Sample]) -> str:
    """Folded: hundreds of rows, and the criteria say what they mean."""
    table = _table(("series", "labels", "value"), _measures(statuses, kept))
    return f"<details><summary>Measures</summary>{table}</details>"


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


def _moment(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _figure(name: str, value: float | Distribution) -> str:
    if isinstance(value, Distribution):
        count = sum(value.counts)
        mean = 1000 * value.sum / count if count else 0
        return f"{count} observations, mean {mean:.2f} ms"
    if name.endswith("_timestamp_seconds"):
        return _moment(value)
    return f"{value:,.6g}"


def _collector(status: Status, now: float) -> Sequence[str]:
    ago = now - status.last_success
    if status.success:
        state = _state("good", "succeeded")
    else:
        state = _state("open" if status.reason == NOT_RUN_YET else "bad", status.reason)
    return (
        escape(status.collector),
        state,
        f"{ago:.0f} s ago" if status.last_success else "never",
        f"{1000 * status.duration:.0f} ms",
        escape(status.error),
        "" if status.success else escape(remedy_for(status.reason)),
    )
