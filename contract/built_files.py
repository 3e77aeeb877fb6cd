"""Files that are built and kept: written in one way, and held against what would be built now."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path


def diff_files(files: Mapping[str, str], folder: Path) -> Iterator[str]:
    """How the folder's files differ from these, as lines of unified diffs; ends of lines do not
    count, and a file that is not there is empty."""
    for name, text in files.items():
        path = folder / name
        try:
            there = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            there = ""
        before, after = there.splitlines(keepends=True), text.splitlines(keepends=True)
        yield from difflib.unified_diff(before, after, str(path), f"built/{name}")


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Each below the folder, in UTF-8 and with one way to end a line. Raises OSError."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
