"""Runs mypy and import-linter and holds them to have seen every module.

Both end with success over whatever they find, and the rooms are links: with a wrong path they
find a fraction of the package and are content. So their own counts are compared with the tree.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from checks.tree import PACKAGE, ROOT, fetch_package_modules, fetch_tracked_files

BIN = Path(sys.executable).parent


def run(command: list[str]) -> tuple[int, str]:
    """Run a tool at the root; its exit code and its output, which is printed too."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(done.stdout, end="")
    return done.returncode, done.stdout


def evaluate_count(tool: str, output: str, pattern: str, expected: int) -> int:
    """0 if the tool says by `pattern` that it saw at least `expected` files, else 1."""
    found = re.search(pattern, output)
    seen = int(found[1]) if found else 0
    if seen < expected:
        print(f"{tool} saw {seen} files, the tree has {expected}", file=sys.stderr)
        return 1
    return 0


def check_types() -> int:
    """Mypy over the package by its import names, and over all other Python files by their paths."""
    package = len(fetch_package_modules())
    rooms = set((ROOT / PACKAGE).iterdir())
    others = sorted(
        path
        for path in fetch_tracked_files()
        if path.endswith(".py")
        and not path.startswith(PACKAGE)
        and (ROOT / PACKAGE / path.split("/")[0]) not in rooms
    )
    code, output = run([str(BIN / "mypy"), f"--package={PACKAGE.split('/')[1]}"])
    if code == 0:
        code = evaluate_count("mypy", output, r"in (\d+) source files", package)
    if code == 0:
        code, output = run([str(BIN / "mypy"), *others])
    if code == 0:
        code = evaluate_count("mypy", output, r"in (\d+) source files", len(others))
    return code


def check_arrows() -> int:
    """Import-linter over the package."""
    code, output = run(
        [str(BIN / "lint-imports"), "--no-logo", "--cache-dir", ".cache/import-linter"]
    )
    if code == 0:
        code = evaluate_count(
            "import-linter", output, r"Analyzed (\d+) files", len(fetch_package_modules())
        )
    return code


CHECKS: dict[str, Callable[[], int]] = {"types": check_types, "arrows": check_arrows}


if __name__ == "__main__":
    sys.exit(CHECKS[sys.argv[1]]())
