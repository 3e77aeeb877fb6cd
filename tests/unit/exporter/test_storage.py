"""The state file: whole or absent, and never overwritten when it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate.exporter.storage import FILE_NAME, Storage


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    Storage(tmp_path / "new" / "folder").save({"counters": [["a_total", ["x"], 3.0]]})
    assert Storage(tmp_path / "new" / "folder").load()["counters"] == [["a_total", ["x"], 3.0]]


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert Storage(tmp_path).load() == {}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"not a state", b"\x81\xa7version\x02"])
def test_a_damaged_file_is_kept_aside(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert Storage(tmp_path).load() == {}
    [kept] = tmp_path.glob("*.unreadable-*")
    assert kept.read_bytes() == damage
