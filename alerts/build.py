"""All files of the room, and how the committed ones differ from them. Pure but for reading."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from phasegate.alerts.rules import make_group
from phasegate.alerts.targets import find_targets, load_target
from phasegate.contract.settings import Settings


def render_all(settings: Settings, targets: Iterable[str] = ()) -> dict[str, str]:
    """Texts by the name of their file; of every target where none is named."""
    group = make_group(settings)
    found: dict[str, str] = {}
    for name in targets or find_targets():
        found |= load_target(name).render_files(group, settings)
    return found


def diff_files(files: Mapping[str, str], directory: Path) -> Iterator[str]:
    """Lines of the differences between the directory's files and these; ends of lines are none."""
    for name, text in files.items():
        path = directory / name
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        before, after = there.splitlines(keepends=True), text.splitlines(keepends=True)
        yield from difflib.unified_diff(before, after, str(path), f"built/{name}")


def write_files(files: Mapping[str, str], directory: Path) -> None:
    """Each file below the directory, in UTF-8 with one way to end a line."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
