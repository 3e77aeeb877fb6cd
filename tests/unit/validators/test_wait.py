"""Waiting: when another look is worth its while, and what is told meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from phasegate.contract.dossier import Dossier, Options, Problem, Trouble
from phasegate.contract.settings import Settings
from phasegate.validators import wait
from phasegate.validators.gate import assess
from phasegate.validators.verdict import Report
from tests.fixtures.dossiers import (
    NOW,
    ends,
    make_dossier,
    make_evidence,
    make_settings,
    observations,
    probe_block,
    probes,
)

LATENCY = "uuid_lookup_latency"
ANYTIME = Options(since=NOW - 600, anytime=True)
NO_EXPORTER = Problem("exporter", Trouble.UNREACHABLE, "exporter: refused")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


def look(settings: Settings, dossier: Dossier, *criteria: str) -> Report:
    return assess(criteria, dossier, settings, ANYTIME)


def growing(blocks: int) -> Dossier:
    return make_dossier(
        make_evidence(series=(probes(*(probe_block(end, good=4) for end in ends(blocks))),))
    )


def test_another_look_is_taken_only_where_it_could_change_something(settings: Settings) -> None:
    few, failed = growing(8), make_dossier(make_evidence(observations=observations(health=0.0)))
    refused = Dossier(judged=NOW, problems=(NO_EXPORTER,))
    for report, decided in (
        (look(settings, make_dossier(), LATENCY, "health"), True),
        (look(settings, few, LATENCY, "health"), False),
        (look(settings, failed, "health", "customer_issues"), True),
        (look(settings, make_dossier(), "health", "integration_tests"), True),  # nobody measures it
        (look(settings, few, LATENCY, "integration_tests"), False),
        (look(settings, refused, "health"), False),  # it may be starting
    ):
        assert wait.is_decided(report) is decided, report.judgements


def test_what_is_missing_is_told_with_the_time_it_takes(settings: Settings) -> None:
    told = wait.describe_look(look(settings, growing(8), LATENCY, "health"), 12.4, 900.0)
    assert told.startswith(f"waiting 12s of 15m: {LATENCY} 0 bad of 32, evidence ")
    assert told.endswith("s more")
    refused = look(settings, Dossier(judged=NOW, problems=(NO_EXPORTER,)), "health")
    assert wait.describe_look(refused, 1.0, 60.0) == "waiting 1s of 1m: health error"


def test_looks_until_decided_or_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = 0.0

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "sleep", sleep)
    sizes = iter((4, 8, 40, 50))

    def grow() -> tuple[Dossier, Report]:
        dossier = growing(next(sizes))
        return dossier, look(settings, dossier, LATENCY)

    assert wait.wait_for_decision(grow, 600.0)[1].exit_code == 0
    assert capsys.readouterr().err.count("\n") == 2
    looks = 0

    def stand() -> tuple[Dossier, Report]:
        nonlocal looks
        looks += 1
        return growing(4), look(settings, growing(4), LATENCY)

    began = clock
    assert wait.wait_for_decision(stand, 30.0)[1].exit_code == 3
    assert clock - began == pytest.approx(30.0, abs=0.1)
    assert 3 < looks < 31
