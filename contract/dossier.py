"""Everything that a judgement stands on, in one document: kept, it is judged again the same.

Each source of evidence fills one field; what could not be read stands in `problems`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from phasegate.contract.audit_proofs import AuditProofs
from phasegate.contract.baseline import Baseline
from phasegate.contract.evidence import Evidence
from phasegate.contract.issues import IssueAnswers
from phasegate.contract.tests_passed import ResultFile

EXPORTER, PROMETHEUS = "exporter", "prometheus"
"""The sources of counts and measured values; one of them is asked."""


class Trouble(StrEnum):
    """Why a source gave nothing."""

    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"


class Problem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source that gave nothing, and a sentence that says why; free of secrets."""

    source: str
    trouble: Trouble
    what: str


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, beside the settings. Times are Unix seconds, spans seconds.

    Blocks count that start at `since` or later, measured values that were true at `values_since`
    or later. `anytime`: looked at repeatedly from the origin `since`. `phase` is empty where no
    gate is asked for. None: as the settings say.
    """

    since: float = 0.0
    values_since: float = 0.0
    anytime: bool = False
    phase: str = ""
    min_span: float | None = None
    max_age: float | None = None
    confidence: float | None = None


class Dossier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`judged` is the moment of the judgement in Unix seconds.

    `measurer` is the source that counts and values are from. `doubts` tells by criterion, or under
    "" for all, why what it answered is not believed, where the evidence itself cannot show it.
    `identities` is what the judge itself knows of the targets, as evidence spells it: `database`
    where its server was asked, `cache` and `application` by their configured address. `tests` are
    the results that were given; None where none were asked for. `baseline` is what was captured
    before; None where there is none, or none was asked for. `issues` is what the configured
    sources know of customers' issues. `proofs` are what was tried on the audit log itself; None
    where nothing was to be tried.
    """

    judged: float
    evidence: Evidence | None = None
    identities: dict[str, str] = {}
    tests: tuple[ResultFile, ...] | None = None
    baseline: Baseline | None = None
    issues: IssueAnswers = IssueAnswers()
    proofs: AuditProofs | None = None
    problems: tuple[Problem, ...] = ()
    measurer: str = EXPORTER
    doubts: dict[str, str] = {}

    def problem_of(self, source: str) -> Problem | None:
        """Why that source gave nothing; None where it did, or was not asked."""
        return next((one for one in self.problems if one.source == source), None)
