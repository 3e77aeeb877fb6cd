"""For the test report of a CI: a test a criterion, in the form that all of them read.

What is inconclusive is an error and never skipped: a CI shows skipped tests green.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.times import format_time
from phasegate.validators.printable import one_line
from phasegate.validators.verdict import Report
from phasegate.validators.wording import headline, overridden, told

SUITE = "phasegate validate"


def render(report: Report) -> str:
    """One suite; its name says which gate it is of."""
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', *_suites(report)]) + "\n"


def _suites(report: Report) -> Iterator[str]:
    verdicts = [one.verdict for one in report.judgements]
    failures = verdicts.count(Verdict.FAILED)
    errors = len(verdicts) - failures - verdicts.count(Verdict.PASSED)
    counts = f'tests="{len(verdicts)}" failures="{failures}" errors="{errors}"'
    phase = report.options.phase
    name = f"{SUITE} --phase {phase}" if phase else SUITE
    yield f"<testsuites {counts}>"
    yield (
        f'  <testsuite name="{_quote(name)}" {counts} skipped="0" '
        f'timestamp="{format_time(report.judged)}">'
    )
    yield "    <properties>"
    for key, value in (
        ("verdict", headline(report)),
        ("build", report.build),
        ("environment", report.environment),
        ("evidence.sha256", report.digests.evidence),
        ("configuration.sha256", report.digests.configuration),
        *(("overridden", line) for line in overridden(report)),
    ):
        yield f'      <property name="{key}" value="{_quote(value)}"/>'
    yield "    </properties>"
    for one in report.judgements:
        yield from _case(one, name)
    yield "  </testsuite>"
    yield "</testsuites>"


def _case(one: Judgement, suite: str) -> Iterator[str]:
    yield f'    <testcase classname="{_quote(suite)}" name="{_quote(one.criterion)}">'
    if one.verdict is not Verdict.PASSED:
        element = "failure" if one.verdict is Verdict.FAILED else "error"
        yield (
            f'      <{element} type="{one.verdict}" message="{_quote(one.reason)}">'
            f"next: {_quote(one.remedy)}</{element}>"
        )
    notes = [one.reason] if one.verdict is Verdict.PASSED else []
    lines = [_quote(text) for text in (*notes, *told(one))]
    if lines:
        yield "      <system-out>" + "\n".join(lines) + "</system-out>"
    yield "    </testcase>"


def _quote(text: str) -> str:
    """Fit for XML 1.0, which has no form at all for most controls and for two noncharacters."""
    return html.escape(one_line(text))
