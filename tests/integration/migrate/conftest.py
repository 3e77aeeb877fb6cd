"""Which of these tests run on both servers each time, and which on the second with `make faults`.

Every operation is tested on PostgreSQL 18 and 15; twice of everything takes longer than anybody
waits for. Where the two differ, in how a column is made NOT NULL, in dumps and in restores, both
run always.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ALWAYS_ON_BOTH = {"test_columns", "test_backup", "test_restore", "test_whole_run"}
SECOND = "postgres15"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by marks."""
    here = Path(__file__).parent
    for item in items:
        second = f"[{SECOND}" in item.name or f"{SECOND}]" in item.name
        if item.path.parent == here and second and item.path.stem not in ALWAYS_ON_BOTH:
            item.add_marker(pytest.mark.long)
