"""How a plan is written: one module a format, found by its file, none registered.

A format is a module with `render(plan, seconds)`; its name is the value of `--format`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from phasegate.migrate.plan import Plan


class Format(Protocol):
    """What a module here offers."""

    def render(self, plan: Plan, seconds: Mapping[str, float] | None = None) -> str:
        """The whole text, with a line end; `seconds` is what a rehearsal took, by step."""


def format_names() -> list[str]:
    """The formats that there are, sorted."""
    names = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in names if name != "__init__")


def render(name: str, plan: Plan, seconds: Mapping[str, float] | None = None) -> str:
    """The plan in one of `format_names`."""
    module = cast(Format, importlib.import_module(f"{__name__}.{name}"))
    return module.render(plan, seconds)
