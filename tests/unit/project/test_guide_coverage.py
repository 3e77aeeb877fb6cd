"""docs/reference/guide-coverage.yaml: its form, its claims, and that a false claim is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checks.guide import (
    ITEMS,
    CoverageFault,
    Row,
    evaluate_claims,
    evaluate_form,
    evaluate_outcomes,
    read_rows,
)
from checks.tree import ROOT

PROOF = "tests/unit/test_a.py::test_proof"
CLAIMED = Row(7, "seven", where="README.md", command="phasegate", test=PROOF)
OPEN = Row(8, "eight")


def collect(files: list[str]) -> list[str]:
    """Ids of the tests that pytest finds in these files."""
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *files],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    return [line for line in listing.stdout.splitlines() if "::" in line]


def test_no_row_claims_what_is_not_there() -> None:
    rows = read_rows()
    files = {row.test.split("::")[0] for row in rows if row.claimed}
    there = sorted(file for file in files if (ROOT / file).exists())
    assert evaluate_claims(rows, collect(there) if there else []) == []


def test_collected_ids_have_the_form_that_claims_are_compared_in() -> None:
    name = f"{Path(__file__).relative_to(ROOT)}::test_forms_that_are_refused"
    row = Row(1, "one", where="checks", command="make test", test=name)
    assert evaluate_claims([row], collect([name])) == []


def test_a_claim_without_a_place_or_a_test_is_found() -> None:
    row = Row(7, "seven", where="nowhere.py", command="phasegate", test=PROOF)
    assert evaluate_claims([row, OPEN], [PROOF + "_of_another"]) == [
        "item 7: nowhere.py does not exist",
        f"item 7: {PROOF} is not collected",
    ]


def test_one_case_of_a_parametrised_test_is_enough_to_be_collected() -> None:
    assert evaluate_claims([CLAIMED], [PROOF + "[18]"]) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"number": 2, "guide": "x", "status": "not reached"},
        {"number": 1, "guide": "", "status": "not reached"},
        {"number": 1, "guide": "x"},
        {"number": 1, "guide": "x", "status": "done"},
        {"number": 1, "guide": "x", "status": "not reached", "test": PROOF},
        {"number": 1, "guide": "x", "where": "y", "command": "", "test": PROOF},
        {"number": 1, "guide": "x", "where": "y", "command": "z"},
        {"number": 1, "guide": "x", "where": "y", "command": "z", "test": "test_proof"},
        {"number": 1, "guide": "x", "where": "y", "command": "z", "test": PROOF, "by": "me"},
    ],
)
def test_forms_that_are_refused(entry: dict[str, object]) -> None:
    assert evaluate_form(1, entry) != []


def test_a_partly_reached_item_says_what_it_lacks() -> None:
    entry = {"number": 1, "guide": "x", "where": "y", "command": "z", "test": PROOF}
    assert evaluate_form(1, entry) == []
    assert evaluate_form(1, entry | {"lacks": "the second half"}) == []


def test_a_file_with_a_row_less_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "coverage.yaml"
    path.write_text(yaml.safe_dump([{"number": 1, "guide": "x", "status": "not reached"}]))
    with pytest.raises(CoverageFault, match=f"1 rows, the guide has {ITEMS}"):
        read_rows(path)


@pytest.mark.parametrize(
    ("outcomes", "demanded", "faulty"),
    [
        ({"tests.unit.test_a::test_proof": "passed"}, True, False),
        ({"tests.unit.test_a::test_proof[18]": "passed"}, True, False),
        ({"tests.unit.test_a::test_proof": "skipped"}, True, True),
        ({"tests.unit.test_a::test_proof": "skipped"}, False, False),
        ({"tests.unit.test_a::test_proof": "failed"}, False, True),
        ({"tests.unit.test_a::test_proof_of_another": "passed"}, False, True),
        (
            {
                "tests.unit.test_a::test_proof[18]": "passed",
                "tests.unit.test_a::test_proof[15]": "skipped",
            },
            True,
            True,
        ),
    ],
)
def test_a_proof_counts_only_if_it_ran(
    outcomes: dict[str, str], demanded: bool, faulty: bool
) -> None:
    faults, _ = evaluate_outcomes([CLAIMED, OPEN], outcomes, demanded)
    assert bool(faults) is faulty


def test_the_summary_counts_what_was_proved() -> None:
    outcomes = {"tests.unit.test_a::test_proof": "passed"}
    _, summary = evaluate_outcomes([CLAIMED, OPEN], outcomes, demanded=True)
    assert summary == "guide: 2 items, 1 claimed, 1 proved in this run"


def test_a_test_in_a_class_is_named_as_its_report_does() -> None:
    row = Row(1, "one", where="a", command="b", test="tests/unit/test_a.py::TestB::test_c")
    assert row.reported_name == "tests.unit.test_a.TestB::test_c"
