"""One verdict and one exit code of several: the worst counts, and of none nothing passes."""

from __future__ import annotations

from itertools import permutations

import pytest

from phasegate.contract.model import Judgement, Verdict
from phasegate.validators.verdict import combine, exit_code

ORDER = (Verdict.FAILED, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASSED)
CODES = {Verdict.FAILED: 1, Verdict.ERROR: 4, Verdict.INCONCLUSIVE: 3, Verdict.PASSED: 0}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_worst_of_all_counts(count: int) -> None:
    for verdicts in permutations(ORDER, count):
        found = combine(tuple(Judgement("health", verdict, "") for verdict in verdicts))
        assert found is min(verdicts, key=ORDER.index)
        assert exit_code(found) == CODES[found]


def test_an_empty_set_of_criteria_never_passes() -> None:
    assert exit_code(combine(())) == 3
