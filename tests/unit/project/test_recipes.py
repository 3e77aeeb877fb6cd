"""The recipes: make's targets, CI's script, the hooks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checks.tree import ROOT

PINNED = {"setup", "demo", "test", "check", "bench", "faults", "generate", "clean", "help"}
CHECKS = {"check-style", "check-types", "check-arrows", "check-generated", "check-wheel"}


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make at the root, without the flags of a make that this test may run under."""
    inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_help_lists_every_target() -> None:
    listed = set(re.findall(r"^make ([a-z-]+) +\S", make("help").stdout, flags=re.MULTILINE))
    assert listed >= PINNED | CHECKS
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert phony is not None
    assert listed == set(phony[1].split())


def test_check_is_all_of_its_steps() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    steps = re.search(r"^check: ([a-z -]+?) ##", text, flags=re.MULTILINE)
    assert steps is not None
    assert set(steps[1].split()) == CHECKS


def test_setup_refuses_an_old_python_and_says_how_to_name_another(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr
    assert "PYTHON=/path/to/" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_hooks_are_local_steps_of_check() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    (repository,) = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["entry"].split()[-1] in CHECKS
    valid = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config", path],
        check=False,
        capture_output=True,
        text=True,
    )
    assert valid.returncode == 0, valid.stdout


@pytest.mark.parametrize("command", ["make check", "make test"])
def test_continuous_integration_runs_the_same_recipes(command: str) -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert "export PHASEGATE_REQUIRE=all" in text
    assert command in text.splitlines()
    subprocess.run(["bash", "-n", script], check=True)
