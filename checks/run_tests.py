"""`make test`: units in parallel, then real servers; both run whatever happens, one total closes.

The guide's items that are claimed are held against what really ran, so that a proof which was
skipped cannot count where every server is demanded (`PHASEGATE_REQUIRE=all`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from checks.guide import evaluate_outcomes, read_rows
from checks.tree import ROOT

ROUNDS = {
    "units": ("tests/unit",),
    "servers": ("tests/integration", "tests/acceptance", "tests/faults"),
}
RESULTS = ROOT / ".cache" / "tests"
# On two cores: whoever tests a server mostly waits for it.
WORKERS = {"units": "2", "servers": "3"}
# Pytest's own code for a run that found no test.
NOTHING_COLLECTED = 5


def run_round(name: str, arguments: list[str]) -> tuple[int, dict[str, str]]:
    """Run one round of tests; pytest's exit code, and test -> passed, failed or skipped."""
    folders = [folder for folder in ROUNDS[name] if (ROOT / folder).is_dir()]
    results = RESULTS / f"{name}.xml"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-n", WORKERS[name], "--dist=loadgroup"]
    command += ["--durations=10", f"--junit-xml={results}", *arguments, *folders]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    outcomes = read_outcomes(results) if results.exists() else {}
    return (0 if code == NOTHING_COLLECTED and arguments else code), outcomes


def read_outcomes(results: Path) -> dict[str, str]:
    """A JUnit file of pytest as `package.module[.Class]::test` -> passed, failed or skipped."""
    outcomes: dict[str, str] = {}
    for case in ET.parse(results).iter("testcase"):  # noqa: S314  (we wrote it ourselves)
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        else:
            outcome = "passed"
        name = f"{case.get('classname')}::{case.get('name')}"
        # A test that fails in its teardown has two entries: the worse one counts.
        if outcomes.get(name) != "failed":
            outcomes[name] = outcome
    return outcomes


def main(arguments: list[str]) -> int:
    """Run both rounds; further arguments go to pytest, e.g. `-k` to run a part."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    failed, outcomes = False, dict[str, str]()
    for name in ROUNDS:
        code, found = run_round(name, arguments)
        failed = failed or code != 0
        outcomes |= found
    if not arguments:
        demanded = os.environ.get("PHASEGATE_REQUIRE") == "all"
        faults, summary = evaluate_outcomes(read_rows(), outcomes, demanded)
        print("\n".join([*faults, summary]))
        failed = failed or bool(faults)
    count = Counter(outcomes.values())
    print(f"in {time.monotonic() - started:.0f} s, both rounds:", flush=True)
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
