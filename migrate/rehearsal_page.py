"""A rehearsal for people: lines for a terminal, and a page that needs nothing but itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from phasegate import __version__
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.times import format_time
from phasegate.migrate.rehearsal import LoadFacts, Rehearsal, StepFacts
from phasegate.migrate.rehearsal_plots import render_bars, render_latency

NO_DURATION = (
    "a throw-away server: not a duration; rows, write-ahead log, disk, locks and ratios only"
)
DURATION = (
    "seconds are as good as that server is like the target's own, hardware and settings; nothing "
    "held the loops over rows back here"
)
STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.1rem; margin: 1.5rem 0 .4rem }
.told { border-left: .3rem solid #E69F00; padding: .3rem .8rem; margin: 1rem 0 }
.failed { border-left: .3rem solid #D55E00; padding: .3rem .8rem; margin: 1rem 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .3rem .6rem; vertical-align: top }
td { white-space: nowrap }
th { vertical-align: bottom }
th.text, td.text { text-align: left }
td.text ~ td.text { white-space: normal; min-width: 9rem }
tr { border-bottom: 1px solid #8885 }
svg { width: 100%; height: auto; max-width: 60rem }
svg text { font-size: 13px; fill: currentColor }
.rule { stroke: currentColor; opacity: .2 }
.key::before { content: "■ " }
.blue::before { color: #0072B2 }
.orange::before { color: #D55E00 }
.green::before { color: #009E73 }
.key { margin-right: 1.2rem }
"""
_TOOK = "took"
_COLUMNS = (
    ("#", False), ("step", True), (_TOOK, False), ("rows", False), ("WAL", False),
    ("disk", False), ("statements of the load", False), ("their P95", False),
    ("times that alone", False), ("their longest", True), ("their longest wait for a lock", True),
)  # fmt: skip


def render_lines(rehearsal: Rehearsal) -> Iterator[str]:
    """For a terminal."""
    yield f"rehearsed on {rehearsal.where}, {rehearsal.server}"
    yield DURATION if rehearsal.predicts else NO_DURATION
    widths = {_took_head(rehearsal): 9, "rows": 11, "WAL": 9, "disk": 9, "longest": 9}
    head = " ".join(f"{name:>{width}}" for name, width in widths.items())
    yield f"{head} {'lock wait':>9}  step"
    for one in rehearsal.steps:
        yield (
            f"{_took(one, rehearsal):>9} {one.rows:>11,} {_bytes(one.wal_bytes):>9} "
            f"{_bytes(one.disk_bytes):>9} {_seconds(one.load.longest_seconds):>9} "
            f"{_seconds(one.load.lock_wait_seconds or None):>9}  {one.step}"
        )
    before = rehearsal.before
    yield (
        f"the load alone: P95 {_seconds(before.p95_seconds)}, "
        f"longest {_seconds(before.longest_seconds)}, {before.statements:,} statements"
    )
    for text, count in rehearsal.errors.items():
        yield f"{count} statements of the load failed: {text}"
    yield from (f"note: {one}" for one in rehearsal.notes)
    if rehearsal.failed:
        yield f"FAILED {rehearsal.failed}"


def render_page(rehearsal: Rehearsal) -> str:
    """As HTML with its pictures in it; every text from outside is escaped."""
    title = f"Rehearsal of {rehearsal.database}, {format_time(rehearsal.at)}"
    body = "\n".join(_sections(rehearsal, title))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        f"<p>Phasegate {escape(__version__)}</p></body></html>\n"
    )


def _sections(rehearsal: Rehearsal, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>on {escape(rehearsal.where)}, {escape(rehearsal.server)}</p>"
    said = DURATION if rehearsal.predicts else NO_DURATION
    yield f'<p class="told">{escape(said)}</p>'
    if rehearsal.failed:
        yield f'<p class="failed">failed: {escape(rehearsal.failed)}</p>'
    names = [f"{number} {one.step}" for number, one in enumerate(rehearsal.steps, 1)]
    yield "<h2>Steps</h2>"
    yield _table(rehearsal)
    if rehearsal.predicts:
        yield "<h2>Seconds of each step</h2>"
        yield render_bars(names, [(one.seconds, 0.0) for one in rehearsal.steps], Unit.SECONDS)
    else:
        yield "<h2>Share of each step in the time of all</h2>"
        whole = rehearsal.seconds or 1.0
        shares = [(one.seconds / whole, 0.0) for one in rehearsal.steps]
        yield render_bars(names, shares, Unit.RATIO)
    yield "<h2>Write-ahead log of each step</h2>"
    yield _key(("blue", "the migration"), ("orange", "the load, by what it wrote alone"))
    parts = [(one.wal_bytes - one.load_wal_bytes, one.load_wal_bytes) for one in rehearsal.steps]
    yield render_bars(names, [(float(a), float(b)) for a, b in parts], Unit.BYTES)
    if rehearsal.moments:
        yield "<h2>What the load felt</h2>"
        yield _key(
            ("orange", "longest statement of each moment (dashed)"), ("blue", "median"),
            ("green", "a step, by its number"),
        )  # fmt: skip
        yield render_latency(rehearsal)
    yield from _facts(rehearsal)


def _table(rehearsal: Rehearsal) -> str:
    names = [(_took_head(rehearsal) if name == _TOOK else name, text) for name, text in _COLUMNS]
    head = "".join(f"<th{_kind(text)}>{escape(name)}</th>" for name, text in names)
    rows = [_row(str(n), one, rehearsal) for n, one in enumerate(rehearsal.steps, 1)]
    rows.append(_alone("the load alone, before", rehearsal.before, rehearsal.before))
    if rehearsal.after.statements:
        rows.append(_alone("the load alone, after", rehearsal.after, rehearsal.before))
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _row(number: str, one: StepFacts, rehearsal: Rehearsal) -> str:
    figures = (
        number, one.step, _took(one, rehearsal), f"{one.rows:,}",
        _bytes(one.wal_bytes), _bytes(one.disk_bytes), *_load(one.load, rehearsal.before),
    )  # fmt: skip
    return _cells(figures)


def _alone(name: str, load: LoadFacts, before: LoadFacts) -> str:
    return _cells(("", name, "", "", "", "", *_load(load, before)))


def _load(load: LoadFacts, before: LoadFacts) -> tuple[str, str, str, str, str]:
    failed = f", {load.failed:,} failed" if load.failed else ""
    if not load.statements:
        return "0", "", "", "", ""
    p95, times = _seconds(load.p95_seconds), ""
    if load.p95_seconds and before.p95_seconds:
        times = f"{load.p95_seconds / before.p95_seconds:.1f}"
    longest = f"{_seconds(load.longest_seconds)}: {load.longest_statement}"
    wait = f"{_seconds(load.lock_wait_seconds)}: {load.lock_wait}"
    return (
        f"{load.statements:,}{failed}", p95, times, longest, wait if load.lock_wait else "none seen"
    )  # fmt: skip


def _cells(figures: Iterable[str]) -> str:
    cells = (
        f"<td{_kind(text)}>{escape(figure)}</td>"
        for figure, (_, text) in zip(figures, _COLUMNS, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"


def _kind(text: bool) -> str:
    return ' class="text"' if text else ""


def _facts(rehearsal: Rehearsal) -> Iterator[str]:
    yield "<h2>What was copied</h2><ul>"
    for table in rehearsal.tables:
        yield f"<li>{escape(table.table)}: about {table.rows:,} rows, {_bytes(table.bytes)}</li>"
    if rehearsal.predicts:
        yield f"<li>dump {_seconds(rehearsal.dump_seconds)}, as a backup takes</li>"
        yield f"<li>restore {_seconds(rehearsal.restore_seconds)}, with statistics</li>"
    yield f"<li>a load of {rehearsal.rate:g} statements a second</li></ul>"
    told = [f"{count} times: {text}" for text, count in rehearsal.errors.items()]
    for title, lines in (("Statements of the load that failed", told), ("Notes", rehearsal.notes)):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            yield f"<h2>{title}</h2><ul>{items}</ul>"


def _key(*entries: tuple[str, str]) -> str:
    spans = "".join(f'<span class="key {colour}">{escape(text)}</span>' for colour, text in entries)
    return f"<p>{spans}</p>"


def _took_head(rehearsal: Rehearsal) -> str:
    return _TOOK if rehearsal.predicts else "share"


def _took(one: StepFacts, rehearsal: Rehearsal) -> str:
    if rehearsal.predicts:
        return _seconds(one.seconds)
    return f"{one.seconds / (rehearsal.seconds or 1.0):.0%}"


def _seconds(value: float | None) -> str:
    return "" if value is None else format_value(value, Unit.SECONDS)


def _bytes(count: int) -> str:
    sign = "-" if count < 0 else ""
    return sign + format_value(abs(count), Unit.BYTES)
