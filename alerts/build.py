"""All files of the room. Pure."""

from __future__ import annotations

from collections.abc import Iterable

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
