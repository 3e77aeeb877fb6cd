"""The state file: whole or absent, and never overwritten when it cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from phasegate.contract.errors import ConfigError
from phasegate.exporter.storage import FILE_NAME, Storage


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    with Storage(tmp_path / "new" / "folder") as storage:
        storage.save({"counters": [["a_total", ["x"], 3.0]]})
    with Storage(tmp_path / "new" / "folder") as storage:
        assert storage.load()["counters"] == [["a_total", ["x"], 3.0]]


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    with Storage(tmp_path) as storage:
        assert storage.load() == {}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"not a state", b"\x81\xa7version\x01"])
def test_a_damaged_file_is_kept_aside(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    with Storage(tmp_path) as storage:
        assert storage.load() == {}
    [kept] = tmp_path.glob("*.unreadable-*")
    assert kept.read_bytes() == damage


def _folder(file: Path) -> None:
    file.mkdir()


def _pipe(file: Path) -> None:
    os.mkfifo(file)


def _loop(file: Path) -> None:
    file.symlink_to(file)


@pytest.mark.parametrize("make", [_folder, _pipe, _loop])
def test_what_cannot_be_read_as_a_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / FILE_NAME)
    with Storage(tmp_path) as storage, pytest.raises(ConfigError, match=FILE_NAME):
        storage.load()


def test_a_folder_in_use_is_refused_by_the_name_of_its_holder(tmp_path: Path) -> None:
    with Storage(tmp_path), pytest.raises(ConfigError) as refused:
        Storage(tmp_path)
    for part in (str(tmp_path), f"process {os.getpid()} on ", "name another folder"):
        assert part in str(refused.value)


def test_a_killed_holder_lets_go_of_the_folder(tmp_path: Path) -> None:
    holding = "import sys, pathlib, phasegate.exporter.storage as s\n"
    holding += "held = s.Storage(pathlib.Path(sys.argv[1])); print(flush=True); input()"
    command = [sys.executable, "-c", holding, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ConfigError, match=f"process {holder.pid} "):
            Storage(tmp_path)
        holder.kill()
        holder.wait()
    Storage(tmp_path).close()
