"""What `phasegate doctor` finds, and what the findings come to. Pure.

A finding is data: whoever renders it decides how it looks, and a remedy that is safe to apply is
a part of the finding that it would remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phasegate.operate.doctor_ground import Ground

# The order of severity in which several outcomes become one exit code.
_CODES = (70, 1, 4, 3, 0)


class Severity(StrEnum):
    """A warning is told and fails nothing; unknown is what could not be looked at."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


class Cannot(StrEnum):
    """Why something could not be looked at, where it is not merely for want of a right."""

    REACH = "unreachable"
    FAILED = "our own bug"


@dataclass(frozen=True)
class Fix:
    """A remedy that is safe to apply: `what` completes "may I …?", `apply` does it and tells what
    it did. `asked_only`: never unless its check was asked for by name."""

    what: str
    apply: Callable[[Ground], str]
    asked_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. `remedy` is the command to give, a line each; `runbook` is a
    page and an anchor (`cache.md#cachecold`), empty where none speaks of it."""

    severity: Severity
    evidence: str
    cause: str = ""
    remedy: str = ""
    runbook: str = ""
    fix: Fix | None = None
    cannot: Cannot | None = None
    check: str = ""
    """The runner fills it in."""

    @property
    def exit_code(self) -> int:
        """What this one alone would end the command with."""
        if self.cannot is Cannot.FAILED:
            return 70
        if self.cannot is Cannot.REACH:
            return 4
        return {Severity.PROBLEM: 1, Severity.UNKNOWN: 3}.get(self.severity, 0)


@dataclass(frozen=True)
class Check:
    """One topic: `examine` gives its findings, none where nothing of it is configured.
    `on_demand`: only when it is asked for by name."""

    name: str
    summary: str
    examine: Callable[[Ground], Iterator[Finding]]
    on_demand: bool = False


def evaluate_exit(findings: Iterable[Finding]) -> int:
    """The exit code of them all: our own bug, a problem, a server that did not answer, unknown,
    the first of these that occurs."""
    found = {one.exit_code for one in findings} | {0}
    return next(code for code in _CODES if code in found)


def select_fixes(findings: Iterable[Finding], named: Iterable[str]) -> Iterator[Finding]:
    """Those whose fix may be offered: of a fault, or of a check that was asked for by name."""
    asked = set(named)
    for one in findings:
        if one.fix is None:
            continue
        if one.check in asked if one.fix.asked_only else one.severity is not Severity.OK:
            yield one


def ok(evidence: str) -> Finding:
    """Nothing to do."""
    return Finding(severity=Severity.OK, evidence=evidence)


def warning(
    evidence: str, cause: str, remedy: str, runbook: str = "", fix: Fix | None = None
) -> Finding:
    """Worth to know, and no fault yet."""
    return Finding(
        severity=Severity.WARNING,
        evidence=evidence,
        cause=cause,
        remedy=remedy,
        runbook=runbook,
        fix=fix,
    )


def problem(
    evidence: str, cause: str, remedy: str, runbook: str = "", fix: Fix | None = None
) -> Finding:
    """Something is wrong."""
    return Finding(
        severity=Severity.PROBLEM,
        evidence=evidence,
        cause=cause,
        remedy=remedy,
        runbook=runbook,
        fix=fix,
    )


def unknown(evidence: str, remedy: str, runbook: str = "", cannot: Cannot | None = None) -> Finding:
    """It could not be looked at; `evidence` says why."""
    return Finding(
        severity=Severity.UNKNOWN,
        evidence=evidence,
        cause="it could not be looked at, so nobody knows",
        remedy=remedy,
        runbook=runbook,
        cannot=cannot,
    )
