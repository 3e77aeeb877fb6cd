"""What the journal's entries together say."""

from __future__ import annotations

from typing import Any

from phasegate.contract.migration import Entry, Event, PhaseState, fold_phases


def entry(number: int, event: Event, phase: str = "", step: str = "", **facts: Any) -> Entry:
    return Entry(
        id=str(number), at=float(number), run="r", event=event, phase=phase, step=step,
        facts=facts,
    )  # fmt: skip


DEPLOYED = (
    entry(1, Event.PHASE_STARTED, "infrastructure"),
    entry(2, Event.GATE_PASSED, "infrastructure"),
    entry(3, Event.PHASE_STARTED, "application"),
    entry(4, Event.STEP_FINISHED, "application", "09-deploy"),
    entry(5, Event.GATE_PASSED, "application"),
)


def test_a_roll_back_that_was_cut_off_leaves_no_deployment_standing() -> None:
    found = fold_phases((*DEPLOYED, entry(6, Event.ROLLBACK_STARTED, to="infrastructure")))
    assert found["application"].state is PhaseState.ROLLED_BACK
    assert found["application"].steps == ()
    assert found["infrastructure"].state is PhaseState.PASSED


def test_a_restore_that_was_cut_off_took_nothing_back() -> None:
    found = fold_phases((*DEPLOYED, entry(6, Event.ROLLBACK_STARTED, strategy="immediate")))
    assert found["application"].state is PhaseState.PASSED
