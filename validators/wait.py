"""Looks again until the evidence decides either way, or the time is over.

What is asked stays the same from look to look, above all the origin of the evidence: the rule that
decides is valid for any number of looks from one origin, and for no sliding window.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import click

from phasegate.contract.dossier import Dossier
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.units import format_duration
from phasegate.validators.verdict import Report

Look = tuple[Dossier, Report]
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, GROWTH = 1.0, 10.0, 1.3


def wait_for_decision(look: Callable[[], Look], within_seconds: float) -> Look:
    """The look that decided, or the last one; each is told on standard error."""
    began, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    while True:
        found = look()
        passed = time.monotonic() - began
        if is_decided(found[1]) or passed >= within_seconds:
            return found
        click.echo(describe_look(found[1], passed, within_seconds), err=True)
        time.sleep(min(pause, max(0.05, within_seconds - passed)))
        pause = min(LONGEST_PAUSE_SECONDS, pause * GROWTH)


def is_decided(report: Report) -> bool:
    """Whether another look could not change the verdict: all passed, one failed, or what is
    missing nobody will ever measure."""
    if report.verdict in (Verdict.PASSED, Verdict.FAILED):
        return True
    left = [one for one in report.judgements if one.verdict is not Verdict.PASSED]
    return all(one.facts.get("hopeless") for one in left)


def describe_look(report: Report, passed: float, within: float) -> str:
    """`waiting 12s of 15m: …`: for each that is not decided, what there is and what it needs."""
    left = [one for one in report.judgements if one.verdict is not Verdict.PASSED]
    told = "; ".join(_progress(one) for one in left)
    return f"waiting {passed:.0f}s of {format_duration(within)}: {told}"


def _progress(one: Judgement) -> str:
    subjects = one.facts.get("subjects")
    open_ = [
        subject
        for subject in (subjects if isinstance(subjects, list) else [])
        if subject["verdict"] != Verdict.PASSED and subject["total"]
    ]
    if not open_:
        return f"{one.criterion} {one.verdict}"
    slowest = max(open_, key=lambda subject: float(subject["tries_needed"] or math.inf))
    needed = 1 / (1 - float(one.facts["rule"]["confidence"]))
    text = f"{one.criterion} {slowest['bad']:,} bad of {slowest['total']:,}"
    if slowest["evidence"] is not None:
        text += f", evidence {slowest['evidence']:.3g} of {needed:.3g}"
    if slowest["tries_needed"] is not None:
        rate = slowest["total"] / max(1e-9, slowest["end"] - slowest["start"])
        text += f", about {slowest['tries_needed'] / rate:.0f}s more"
    return text
