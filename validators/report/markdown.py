"""For a page: a pull request, a wiki, the summary of a pipeline's run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from phasegate.contract.model import Verdict
from phasegate.contract.times import format_time
from phasegate.validators.printable import one_line
from phasegate.validators.verdict import Report
from phasegate.validators.wording import headline, overridden, told, worst_first

SIGNS = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.ERROR: "⚠️",
}
# The signs of Markdown inside of a line, with those of mentions, issues, formulas and links.
_SPECIAL = re.compile(r"[\\`*_\[\]<>#!|~&@$]|:(?=//)|(?<=www)\.")


def render(report: Report) -> str:
    """A headline, a row a criterion, then what to do next and what should be known."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"### {SIGNS[report.verdict]} {escape(headline(report))}"
    yield ""
    yield "| | criterion | verdict | why |"
    yield "| --- | --- | --- | --- |"
    for one in report.judgements:
        cells = (SIGNS[one.verdict], escape(one.criterion), one.verdict, escape(one.reason))
        yield f"| {' | '.join(cells)} |"
    yield ""
    nexts = [
        f"- next for {escape(one.criterion)}: {escape(one.remedy)}"
        for one in worst_first(report.judgements)
    ]
    notes = [
        f"- {escape(one.criterion)}: {escape(note)}"
        for one in report.judgements
        for note in told(one)
    ]
    notes += [f"- {escape(line)}" for line in overridden(report)]
    if nexts or notes:
        yield from (*nexts, *notes, "")
    yield escape(_origin(report))


def _origin(report: Report) -> str:
    gate = f"gate of {report.options.phase}, " if report.options.phase else ""
    environment = f"environment {report.environment}, " if report.environment else ""
    text = f"{gate}{environment}judged {format_time(report.judged)} by Phasegate {report.build}"
    return f"{text}, evidence SHA-256 {report.digests.evidence}"


def escape(text: str) -> str:
    """One line in which nothing is Markdown, HTML or the end of a cell."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", one_line(text))
