"""One topic a file. Each offers `build(wiring)`, which gives its collectors for one configuration.

There is no registry: `build_collectors` asks every module of this folder.
"""

from __future__ import annotations

import importlib
import pkgutil

from phasegate.exporter.runner import Collector
from phasegate.exporter.wiring import Wiring


def build_collectors(wiring: Wiring) -> list[Collector]:
    """All collectors of a configuration, in the order of their topics' names."""
    found: list[Collector] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        found += importlib.import_module(f"{__name__}.{module.name}").build(wiring)
    return found
