"""The simulated gates are judged, and repeated to the same figures."""

from __future__ import annotations

import pytest

from benchmarks.simulation import LOOKS, SUBJECTS, Cell, Subject, simulate


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda found: found.criterion)
def test_what_is_far_below_the_limit_passes_and_is_never_failed(subject: Subject) -> None:
    # As the worker of another process gets it.
    row = simulate(Cell(Subject(*subject), "far below", 1.0), gates=2, seed=1)
    assert row == simulate(Cell(subject, "far below", 1.0), gates=2, seed=1)
    for look in LOOKS:
        assert (row[look]["passed"]["share"], row[look]["failed"]["share"]) == (1.0, 0.0)
