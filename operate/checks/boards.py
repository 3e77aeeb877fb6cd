"""Whether the generated files in this folder, boards and rules, are what the configuration makes.

Looked for beside the configuration, in the folders where `build` puts them unless it is told
otherwise; where there are none, nothing is said of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import Ground

SUMMARY = "the boards and rules in ./dashboards and ./alerts are what the configuration makes"
_PLACE = "exporter.md#thresholddrift"


def examine(ground: Ground) -> Iterator[Finding]:
    """Reads files alone."""
    # The boards need a library that a pipeline's installation may lack, and are slow to import.
    from phasegate.alerts.build import render_all  # noqa: PLC0415
    from phasegate.dashboards.build import render_boards  # noqa: PLC0415

    file = ground.settings.file
    base = Path() if file is None else file.parent
    made = {
        "dashboards": render_boards(ground.settings),
        "alerts": render_all(ground.settings),
    }
    for folder, files in made.items():
        yield from compare_files(folder, base / folder, files)


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
