"""One file a tool: how it spells a group of rules. Found by its name, without a registry.

Each has `HELP`, a sentence, and `render_files(group, settings) -> dict of file name and text`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, cast

from phasegate.alerts.model import Group
from phasegate.contract.settings import Settings


class Target(Protocol):
    """What a module of this package offers."""

    HELP: str

    def render_files(self, group: Group, settings: Settings) -> dict[str, str]:
        """Texts by the name of their file, below the output directory."""
        ...


def find_targets() -> tuple[str, ...]:
    """The names of all, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load_target(name: str) -> Target:
    """The one of that name."""
    return cast(Target, importlib.import_module(f"{__name__}.{name}"))
