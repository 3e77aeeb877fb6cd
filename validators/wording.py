"""What every report for people says of a verdict in the same words."""

from __future__ import annotations

from collections.abc import Iterable

from phasegate.contract.evidence import Override
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.times import format_time
from phasegate.validators.verdict import Report

_WORST_FIRST = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)


def headline(report: Report) -> str:
    """The verdict, and of how many criteria it is."""
    passed = sum(one.verdict is Verdict.PASSED for one in report.judgements)
    return (
        f"{report.verdict.upper()}: {passed} of {len(report.judgements)} criteria passed "
        f"(exit {report.exit_code})"
    )


def told(one: Judgement) -> list[str]:
    """What should be known of a judgement whatever it says, above all what was loosened."""
    notes = [f"loosened: {what}" for what in one.facts.get("loosened", ())]
    notes += one.facts.get("notes", ())
    subjects = one.facts.get("subjects")
    if isinstance(subjects, list):
        notes += [f"{s['subject']}: {note}" for s in subjects for note in s["notes"]]
        assumed = [s for s in subjects if s["dispersion_assumed"] and s["blocks"]]
        if assumed:
            factor = max(s["dispersion"] for s in assumed)
            notes.append(f"dispersion assumed to be {factor:.3g}: fewer than 20 blocks")
        if one.facts.get("scope"):
            notes.append(f"counted by the {one.facts['scope']}")
    return notes


def overridden(report: Report) -> list[str]:
    """What somebody accepted though it did not pass: told with every later verdict."""
    return list(map(describe_override, report.exporter.overrides if report.exporter else ()))


def describe_override(one: Override) -> str:
    """One line."""
    return (
        f"overridden: {one.criterion} at the gate of {one.phase}, by {one.by} "
        f"on {format_time(one.time)}: {one.reason}"
    )


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Those that did not pass, the worst first."""
    left = [one for one in judgements if one.verdict is not Verdict.PASSED]
    return sorted(left, key=lambda one: _WORST_FIRST.index(one.verdict))
