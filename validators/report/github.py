"""For GitHub Actions: annotations at the run, and its log; `summary` for the page of the run.

Whatever a line of the log begins with `::` is a command to the runner, and `##[` is one anywhere:
the part that quotes others stands between `stop-commands` and a word that they cannot know.
"""

from __future__ import annotations

from phasegate.contract.model import Judgement, Verdict
from phasegate.validators.printable import one_line
from phasegate.validators.report import markdown, text
from phasegate.validators.verdict import Report
from phasegate.validators.wording import overridden, worst_first

MOST_ANNOTATIONS = 10
"""GitHub shows no more of one kind in one step."""
SUMMARY_FILE = "GITHUB_STEP_SUMMARY"
"""The variable of the environment that names the file of the summary."""


def render(report: Report) -> str:
    """What belongs on standard output: the annotations, then the verdict as text."""
    # The hash of what was judged, the moment included: nothing in it can hold its own hash.
    word = f"phasegate-{report.digests.evidence}"
    quoted = [f"::stop-commands::{word}", text.render(report).rstrip("\n"), f"::{word}::"]
    notices = [
        f"::notice title=phasegate::{_data('; '.join(lines))}"
        for lines in [overridden(report)]
        if lines
    ]
    return "\n".join([*_annotations(report), *notices, *quoted]) + "\n"


def summary(report: Report) -> str:
    """What belongs in the summary of the step, after what is there."""
    return markdown.render(report)


def _annotations(report: Report) -> list[str]:
    left = worst_first(report.judgements)
    if len(left) <= MOST_ANNOTATIONS:
        return [_annotate(one) for one in left]
    shown = left[: MOST_ANNOTATIONS - 1]
    names = ", ".join(one.criterion for one in left[len(shown) :])
    return [*map(_annotate, shown), f"::error title=phasegate::{_data(f'nor passed: {names}')}"]


def _annotate(one: Judgement) -> str:
    level = "warning" if one.verdict is Verdict.INCONCLUSIVE else "error"
    title = _property(f"{one.criterion}: {one.verdict}")
    return f"::{level} title={title}::{_data(f'{one.reason}. Next: {one.remedy}')}"


def _data(value: str) -> str:
    return one_line(value).replace("%", "%25")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
