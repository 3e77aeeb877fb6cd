"""What a gate's wait ends with, where some of its criteria are accepted by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.settings import Settings
from phasegate.migrate import gate
from phasegate.migrate.gate import Accepted, Decision, Terms, ask_gate
from phasegate.validators.verdict import Digests, Report, combine, exit_code

ACCEPTED = Accepted(("health",), "known", "anna")


def make_report(**verdicts: str) -> Report:
    """As `assess` makes it of these verdicts by criterion."""
    judgements = tuple(Judgement(name, Verdict(one), "", "") for name, one in verdicts.items())
    verdict = combine(judgements)
    return Report(
        *(1, verdict, exit_code(verdict), "", 1.0, "", "exporter"),
        *(Options(), judgements, None, (), Digests("e" * 64, "c" * 64)),
    )


@dataclass
class Looks:
    """The reports that one look after the other finds, the last for ever."""

    reports: list[Report]
    taken: int = 0
    said: list[str] = field(default_factory=list)

    def ask(self, accepted: Accepted, wait: float = 60.0) -> Decision:
        """As the runner asks, without any time passing."""
        terms = Terms(wait=wait, accepted=accepted)
        given = {"pause": lambda _: None, "say": self.said.append}
        return ask_gate(Settings(), "schema", 1.0, terms, **given)  # type: ignore[arg-type]

    def look(self, *_: object) -> tuple[Dossier, Report]:
        report = self.reports[min(self.taken, len(self.reports) - 1)]
        self.taken += 1
        return cast("Dossier", None), report


def make_looks(monkeypatch: pytest.MonkeyPatch, *reports: Report) -> Looks:
    """In place of the exporter."""
    looks = Looks(list(reports))
    monkeypatch.setattr(gate, "_look", looks.look)
    return looks


def test_an_accepted_failure_does_not_end_the_wait_for_what_is_still_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undecided = make_report(health="failed", uuid_missing="inconclusive")
    whole = make_report(health="failed", uuid_missing="passed")
    looks = make_looks(monkeypatch, undecided, undecided, whole)
    decision = looks.ask(ACCEPTED)
    assert (decision.exit_code, decision.overridden, looks.taken) == (0, ("health",), 3)
    assert all("uuid_missing" in line and "health" not in line for line in looks.said)


def test_what_is_not_accepted_still_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = make_looks(monkeypatch, make_report(health="failed", uuid_missing="failed"))
    decision = looks.ask(ACCEPTED)
    assert (decision.exit_code, looks.taken) == (1, 1)


def test_a_report_of_nothing_opens_no_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = make_looks(monkeypatch, make_report())
    assert looks.ask(ACCEPTED, wait=0.0).exit_code == 3
    assert looks.ask(Accepted(), wait=0.0).exit_code == 3
