"""For a person at a terminal: 80 columns, a line a criterion, then why and what next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from phasegate.contract.criteria import CRITERIA, Direction
from phasegate.contract.dossier import EXPORTER
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.times import format_time
from phasegate.contract.units import DURATION_UNITS
from phasegate.validators.printable import one_line
from phasegate.validators.verdict import Report
from phasegate.validators.wording import headline, overridden, told

COLUMNS = 80
_WIDTHS = (22, 12, 19, 11, 7, 4)
_HEAD = ("criterion", "verdict", "measured", "limit", "samples", "span")


def render(report: Report) -> str:
    """The whole verdict; the first line says it all."""
    lines = [*_head(report), "", _row(*_HEAD)]
    lines += [_row(*_cells(one)) for one in report.judgements]
    for one in report.judgements:
        lines += list(_story(one))
    return "\n".join(lines) + "\n"


def _head(report: Report) -> Iterator[str]:
    yield headline(report)
    options = report.options
    way = "looked at any time" if options.anytime else "one look"
    since = f"since {format_time(options.since)}" if options.since else "all that is kept"
    gate = f"gate of {options.phase}, " if options.phase else ""
    yield from _wrapped(f"{gate}judged {format_time(report.judged)}, {since}, {way}")
    if report.exporter is not None:
        environment = report.exporter.environment or "none stated"
        way = "" if report.source == EXPORTER else f", by its series in {report.source}"
        yield from _wrapped(f"environment {environment}, exporter {report.exporter.build}{way}")
        for target in report.exporter.targets:
            identity = target.identity or "unknown"
            yield from _wrapped(f"{target.name} {identity}{'' if target.up else ', down'}")
    for line in overridden(report):
        yield from _wrapped(line)


def _row(*cells: str) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    return " ".join(padded).rstrip()


def _cells(one: Judgement) -> tuple[str, ...]:
    subjects = one.facts.get("subjects")
    if isinstance(subjects, list):
        return (one.criterion, one.verdict, *_counted(one, subjects))
    entry = CRITERIA.get(one.criterion)
    if entry is None or one.measured is None or one.limit is None:
        return one.criterion, one.verdict, "-", "-", "-", "-"
    shown = (format_value(value, entry.unit) for value in (one.measured, one.limit))
    return one.criterion, one.verdict, *shown, str(subjects), "-"


def _counted(one: Judgement, subjects: list[dict[str, Any]]) -> tuple[str, str, str, str]:
    """Of the subject that is worst: its share with the interval, limit, tries, span."""
    limit = _limit(one)
    measured = [subject for subject in subjects if subject["share"] is not None]
    if not measured:
        return "-", limit, "-", "-"
    worst = max(measured, key=lambda subject: float(subject["share"]))
    shares = [float(worst[key]) for key in ("share", "low", "high")]
    if CRITERIA[one.criterion].direction is Direction.BELOW:
        share, high, low = (1 - value for value in shares)
    else:
        share, low, high = shares
    measured_share = f"{_percent(share, 2)}% ({_percent(low, 1)}-{_percent(high, 1)})"
    return measured_share, limit, _compact(worst["total"]), _span(worst["end"] - worst["start"])


def _limit(one: Judgement) -> str:
    edge = one.facts.get("edge")
    share = one.limit or 0.0
    if "baseline" in one.facts:
        return f"< {format_value(share, Unit.RATIO)}"
    if edge is None:
        return f"> {format_value(1 - share, Unit.RATIO)}"
    return f"{100 * share:.4g}% >{format_value(edge, Unit.SECONDS).replace(' ', '')}"


def _story(one: Judgement) -> Iterator[str]:
    """What was loosened and should be known; and why it did not pass, and what next."""
    notes = told(one)
    failed = one.verdict is not Verdict.PASSED
    if not failed and "baseline" in one.facts:
        notes.append(one.reason)
    if not failed and not notes:
        return
    yield ""
    yield f"{one.criterion}: {one.verdict}"
    if failed:
        yield from _wrapped(one.reason, "  why   ")
        yield from _wrapped(one.remedy, "  next  ")
    for note in notes:
        yield from _wrapped(note, "  note  ")


def _wrapped(text: str, first: str = "") -> list[str]:
    rest = " " * (len(first) or 2)
    return textwrap.wrap(one_line(text), COLUMNS, initial_indent=first, subsequent_indent=rest)


def _percent(share: float, digits: int) -> str:
    return f"{round(100 * share, digits):g}"


def _compact(count: int) -> str:
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.1f}M"


def _span(seconds: float) -> str:
    for unit in ("d", "h", "m"):
        # From two of a unit on: 90 s says more than 2m.
        if seconds >= 2 * DURATION_UNITS[unit]:
            return f"{seconds / DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"
