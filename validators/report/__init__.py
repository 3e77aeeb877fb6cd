"""How a verdict is written: one module a format, found by its file, none registered.

A format is a module with `render(report) -> str`; its name is the value of `--format`. One of a CI
may have a `summary(report)` too, for the file that the CI names in the variable `SUMMARY_FILE`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

from phasegate.validators.verdict import Report


class Format(Protocol):
    """What a module here offers."""

    def render(self, report: Report) -> str:
        """The whole text, with a line end."""


def format_names() -> list[str]:
    """The formats that there are, sorted."""
    names = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in names if name != "__init__")


def render_summary(name: str, report: Report) -> tuple[str, str] | None:
    """The variable that names the summary's file, and what to add to it; None for no summary."""
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "summary"):
        return None
    return module.SUMMARY_FILE, module.summary(report)


def render(name: str, report: Report) -> str:
    """The report in one of `format_names`; only that format's module is imported."""
    return cast(Format, importlib.import_module(f"{__name__}.{name}")).render(report)
