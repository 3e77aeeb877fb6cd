"""Whether the generated files in this folder, boards and rules, are what the configuration makes.

Looked for beside the configuration, in the folders where `build` puts them unless it is told
otherwise; where there are none, nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from phasegate.contract.settings import Settings
from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import Ground

SUMMARY = "the boards and rules in ./dashboards and ./alerts are what the configuration makes"
_PLACE = "exporter.md#thresholddrift"


def examine(ground: Ground) -> Iterator[Finding]:
    """Reads files alone."""
    settings = ground.settings
    base = Path() if settings.file is None else settings.file.parent
    for what, make in (("dashboards", _make_boards), ("alerts", _make_rules)):
        folder = base / what
        if folder.is_dir():
            yield from compare_files(what, folder, make(settings))
        else:
            yield ok(f"{folder}: there is no such folder")


def _make_boards(settings: Settings) -> Mapping[str, str]:
    from phasegate.dashboards.build import render_boards  # noqa: PLC0415  (seconds)

    return render_boards(settings)


def _make_rules(settings: Settings) -> Mapping[str, str]:
    from phasegate.alerts.build import render_all  # noqa: PLC0415

    return render_all(settings)


def compare_files(what: str, folder: Path, files: Mapping[str, str]) -> Iterator[Finding]:
    """`files` are the texts by their names; those that are not there were not wanted."""
    there = {name: text for name, text in files.items() if (folder / name).is_file()}
    old = [
        name
        for name, text in there.items()
        if (folder / name).read_text("utf-8").splitlines() != text.splitlines()
    ]
    if old:
        yield problem(
            f"{folder}: not what is built: {', '.join(old)}",
            "phasegate.yaml or the release changed, and they were not built again; or they were "
            "changed by hand",
            f"phasegate {what} build --config phasegate.yaml --output {folder}",
            _PLACE,
        )
    elif there:
        yield ok(f"{folder}: {len(there)} files are what is built")
    else:
        yield ok(f"{folder}: nothing generated is here")
