"""How a verdict is answered: to Argo Rollouts in JSON, to Flagger by the status as well.

Flagger goes on below 203 and shows the body of a 4xx in its events, that of a 5xx it may drop.
`rollback` asks the contrary: 200 means "do roll back", so only a failure that is certain gives it.
"""

from __future__ import annotations

from typing import Any

from phasegate.contract.model import Verdict
from phasegate.contract.times import format_time
from phasegate.validators.verdict import Report, exit_code
from phasegate.validators.wording import headline, told

GATE_STATUS = {
    Verdict.PASSED: 200,
    Verdict.FAILED: 409,
    Verdict.INCONCLUSIVE: 425,
    Verdict.ERROR: 424,
}
ROLLBACK_STATUS = GATE_STATUS | {Verdict.FAILED: 200, Verdict.PASSED: 409}


def describe(report: Report) -> dict[str, Any]:
    """The verdict with what decided it; every key is always there."""
    return {
        **_stated(report.verdict),
        "why": headline(report),
        "criteria": {
            one.criterion: {
                "verdict": one.verdict.value,
                "why": one.reason,
                "next": one.remedy,
                "notes": told(one),
            }
            for one in report.judgements
        },
        "problems": [problem.what for problem in report.problems],
        "since": format_time(report.options.since),
        "judged": format_time(report.judged),
        "environment": report.environment,
        "build": report.build,
        "digests": {
            "evidence": report.digests.evidence,
            "configuration": report.digests.configuration,
        },
    }


def describe_refusal(why: str) -> dict[str, Any]:
    """Why nothing was judged: to a reader that ignores the status an error, and no verdict."""
    return {**_stated(Verdict.ERROR), "why": why, "criteria": {}}


def describe_unbegun() -> dict[str, Any]:
    """Nothing can have failed in a run that has not begun."""
    why = "the analysis of this run has not begun; nothing was measured for it yet"
    return {**_stated(Verdict.INCONCLUSIVE), "why": why, "criteria": {}}


def _stated(verdict: Verdict) -> dict[str, Any]:
    named = {one.value: one is verdict for one in Verdict}
    return {"verdict": verdict.value, **named, "exit_code": exit_code(verdict)}
