"""States as figures, words and colours: the same on every board."""

from __future__ import annotations

from phasegate.contract.migration import PhaseState
from phasegate.contract.model import Verdict
from phasegate.dashboards import colours
from phasegate.dashboards.limits import falling, rising
from phasegate.dashboards.panels import Look, say_values

PHASES = {
    PhaseState.PENDING: ("pending", colours.UNKNOWN),
    PhaseState.RUNNING: ("running", colours.ACTIVE),
    PhaseState.WAITING: ("waiting at its gate", colours.WAITING),
    PhaseState.PASSED: ("passed", colours.OK),
    PhaseState.FAILED: ("failed", colours.CRITICAL),
    PhaseState.ROLLED_BACK: ("rolled back", colours.WARNING),
}
VERDICTS = {
    Verdict.PASSED: ("passed", colours.OK),
    Verdict.INCONCLUSIVE: ("inconclusive", colours.UNKNOWN),
    Verdict.ERROR: ("error", colours.WARNING),
    Verdict.FAILED: ("failed", colours.CRITICAL),
}
PHASE_CODES = {str(state): code for code, state in enumerate(PHASES)}
VERDICT_CODES = {str(verdict): code for code, verdict in enumerate(VERDICTS)}
UNDER_WAY = {
    state: code
    for state, code in PHASE_CODES.items()
    if state not in (PhaseState.PENDING, PhaseState.PASSED)
}
"""The states of a phase that is looked at now."""

PHASE_WORDS = say_values(dict(enumerate(PHASES.values())))
VERDICT_WORDS = say_values(dict(enumerate(VERDICTS.values())))


def yes_or_no(yes: str, no: str) -> Look:
    """Of 1, which is well, and 0, which is not."""
    words = say_values({0: (no, colours.CRITICAL), 1: (yes, colours.OK)})
    return Look(mappings=words, steps=falling({"critical": 1}))


def no_or_yes(no: str, yes: str) -> Look:
    """Of 0, which is well, and 1, which somebody should see."""
    words = say_values({0: (no, colours.OK), 1: (yes, colours.WARNING)})
    return Look(mappings=words, steps=rising({"warning": 1}))
