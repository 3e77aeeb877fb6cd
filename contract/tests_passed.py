"""Judges the results of tests that a pipeline ran itself: what ran, what failed, and when. Pure.

A test that failed fails the criterion whatever else is missing. It passes only where every file
could be read, is of its time, does not contradict itself, and one test at least ran.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from phasegate.contract.criteria import CRITERIA
from phasegate.contract.evaluate import list_first
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.units import format_duration

AGAIN = "run the tests again, and give the files that they write"
RUN = "see that the tests ran, and that --junit names the files that they wrote"


class ResultFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The results of one file, counted by its elements.

    `time` is when its first tests began at the latest, in Unix seconds. Each test is one of
    `passed`, `failed`, `skipped`; a failure outside of any test is one more of `failed`.
    `named` are the first of those that failed. `contradiction` says where the file states more
    failures than it holds, empty where not.
    """

    path: str
    sha256: str
    time: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    named: tuple[str, ...] = ()
    contradiction: str = ""


def evaluate_tests(
    criterion: str,
    files: Sequence[ResultFile],
    unreadable: Sequence[str],
    *,
    judged: float,
    since: float,
    max_age: float,
) -> Judgement:
    """The verdict at `judged` of files whose tests must have begun at `since` or later.

    `unreadable` are sentences on what was asked for and could not be read. Times are Unix seconds,
    `max_age` seconds, infinite for no limit.
    """
    doubts = [_doubt(one, judged, since, max_age) for one in files]
    timely = [one for one, doubt in zip(files, doubts, strict=True) if not doubt]
    passed, failed, skipped = (
        sum(getattr(one, kind) for one in timely) for kind in ("passed", "failed", "skipped")
    )
    ran = passed + failed
    told = [f"{one.path}: {doubt}" for one, doubt in zip(files, doubts, strict=True) if doubt]
    told += [f"{one.path}: {one.contradiction}" for one in timely if one.contradiction]
    remedy = CRITERIA[criterion].remedy
    if failed:
        names = [name for one in timely for name in one.named]
        verdict = Verdict.FAILED
        reason = f"{failed} of {ran} tests failed: {list_first(names, failed)}"
    elif unreadable:
        verdict, reason, remedy = Verdict.ERROR, list_first(unreadable), RUN
    elif told:
        verdict, reason, remedy = Verdict.INCONCLUSIVE, list_first(told), AGAIN
    elif not ran:
        verdict, remedy = Verdict.INCONCLUSIVE, AGAIN
        reason = f"no test ran, {skipped} were skipped" if skipped else "the files hold no test"
    else:
        verdict, remedy = Verdict.PASSED, ""
        reason = f"{ran} tests ran in {len(files)} files, none failed, {skipped} were skipped"
    facts = {"subjects": ran, "skipped": skipped, "files": [msgspec.to_builtins(f) for f in files]}
    idle = [one.path for one in timely if not one.passed + one.failed]
    if idle and ran:
        facts["notes"] = [f"no test ran in {list_first(idle)}"]
    return Judgement(criterion, verdict, reason, remedy, float(failed), 0.0, facts)


def _doubt(one: ResultFile, judged: float, since: float, max_age: float) -> str:
    """Why these results are not of the time that is asked about; empty where they are."""
    age = judged - one.time
    if not math.isfinite(age):
        return "it is of no known time"
    if age < -CLOCK_SKEW_SECONDS:
        return f"it was written {-age:.0f} s in the future; compare the clocks"
    if one.time < since:
        return f"its tests began {since - one.time:.0f} s before the time that was asked for"
    if age > max_age:
        return f"its tests began {age:.0f} s ago, longer than {format_duration(max_age)}"
    return ""
