"""What the other checks compare with: the files, rooms and modules of this checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "src/phasegate/"


def fetch_tracked_files(root: Path = ROOT) -> frozenset[str]:
    """Paths of the files that git tracks, or would after `git add`; relative to `root`.

    Files that are ignored, or deleted and not yet committed as such, are left out.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (name for name in listing.split("\0") if name)
    return frozenset(name for name in names if (root / name).is_symlink() or (root / name).exists())


def fetch_rooms(root: Path = ROOT) -> tuple[str, ...]:
    """Names of the rooms: the links beside the package's own files, sorted."""
    return tuple(sorted(path.name for path in (root / PACKAGE).iterdir() if path.is_symlink()))


def plan_wheel(tracked: frozenset[str], rooms: tuple[str, ...]) -> dict[str, str]:
    """Where each file that the wheel must hold comes from: name in the wheel -> tracked path."""
    links = {PACKAGE + room for room in rooms}
    wheel = {}
    for path in tracked - links:
        if path.startswith(PACKAGE):
            wheel["phasegate/" + path.removeprefix(PACKAGE)] = path
        elif path.split("/")[0] in rooms:
            wheel["phasegate/" + path] = path
    return wheel


def fetch_package_modules(root: Path = ROOT) -> tuple[str, ...]:
    """Names in the wheel of every module of the package, sorted."""
    wheel = plan_wheel(fetch_tracked_files(root), fetch_rooms(root))
    return tuple(sorted(name for name in wheel if name.endswith(".py")))
