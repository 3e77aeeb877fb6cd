"""The deployment guide's 79 items and what proves each: docs/reference/guide-coverage.yaml.

A row that the work has not reached says so and nothing else. A claimed row names where the thing
lives, the command that a user runs, and the test that proves it; `lacks` says what of the item is
still missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from checks.tree import ROOT

COVERAGE = ROOT / "docs" / "reference" / "guide-coverage.yaml"
ITEMS = 79
NOT_REACHED = "not reached"
CLAIM = {"where", "command", "test"}


@dataclass(frozen=True)
class Row:
    """One item of the guide; `where`, `command` and `test` are empty until it is claimed."""

    number: int
    guide: str
    where: str = ""
    command: str = ""
    test: str = ""
    lacks: str = ""

    @property
    def claimed(self) -> bool:
        """Whether a test is said to prove this item."""
        return bool(self.test)

    @property
    def reported_name(self) -> str:
        """The test's name as JUnit files spell it: `package.module[.Class]::test`."""
        path, *inner = self.test.split("::")
        return (
            ".".join([path.removesuffix(".py").replace("/", "."), *inner[:-1]]) + f"::{inner[-1]}"
        )


class CoverageFault(ValueError):
    """The file breaks its own form; the message lists every place."""


def read_rows(path: Path = COVERAGE) -> tuple[Row, ...]:
    """The rows in order. Raises CoverageFault."""
    rows, faults = [], []
    for position, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), start=1):
        faults += [f"row {position}: {fault}" for fault in evaluate_form(position, entry)]
        rows.append(
            Row(**{key: value for key, value in entry.items() if key in Row.__annotations__})
        )
    if len(rows) != ITEMS:
        faults.append(f"{len(rows)} rows, the guide has {ITEMS} items")
    if faults:
        raise CoverageFault("\n".join(faults))
    return tuple(rows)


def evaluate_form(position: int, entry: Mapping[str, object]) -> list[str]:
    """What is wrong with the form of one entry."""
    faults = []
    keys = entry.keys() - {"number", "guide", "lacks"}
    if entry.get("number") != position:
        faults.append(f"its number is {entry.get('number')}")
    if not entry.get("guide"):
        faults.append("does not say what the guide has")
    if "status" in entry:
        if keys != {"status"} or "lacks" in entry or entry["status"] != NOT_REACHED:
            faults.append(f"has `status: {NOT_REACHED}` and nothing else, or a claim")
    elif keys != CLAIM or not all(entry[key] for key in CLAIM):
        faults.append(f"needs {', '.join(sorted(CLAIM))}")
    elif not str(entry["test"]).startswith("tests/") or "::" not in str(entry["test"]):
        faults.append(f"{entry['test']} is no test id")
    return faults


def belongs(test: str, name: str) -> bool:
    """Whether `test` is the named one or a case of it."""
    return test == name or test.startswith(name + "[")


def evaluate_claims(rows: Iterable[Row], collected: Iterable[str], root: Path = ROOT) -> list[str]:
    """What claimed rows name that is not there: a place in the tree, or a collected test."""
    tests = tuple(collected)
    faults = []
    for row in rows:
        if not row.claimed:
            continue
        if not (root / row.where).exists():
            faults.append(f"item {row.number}: {row.where} does not exist")
        if not any(belongs(test, row.test) for test in tests):
            faults.append(f"item {row.number}: {row.test} is not collected")
    return faults


def evaluate_outcomes(
    rows: Iterable[Row], outcomes: Mapping[str, str], demanded: bool
) -> tuple[list[str], str]:
    """Hold the claimed rows against a run of all tests; faults, and one line that sums up.

    A proof that was skipped is a fault where everything is `demanded`; one that failed or did not
    run always is.
    """
    faults, proved, total, claims = [], 0, 0, 0
    for row in rows:
        total += 1
        if not row.claimed:
            continue
        claims += 1
        found = {
            outcome for test, outcome in outcomes.items() if belongs(test, row.reported_name)
        } or {"not run"}
        if found == {"passed"}:
            proved += 1
        elif demanded or "skipped" not in found or "failed" in found:
            faults.append(f"guide item {row.number}: {row.test}: {', '.join(sorted(found))}")
    return faults, f"guide: {total} items, {claims} claimed, {proved} proved in this run"
