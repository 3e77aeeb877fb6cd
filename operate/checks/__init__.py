"""One check a file: `SUMMARY` says what it looks at, `examine(ground)` gives its findings.

The file's name is the check's; `ON_DEMAND = True` keeps it from running unless it is asked for by
that name. There is no registry: `find_checks` asks every module of this folder. A check only
reads; what may be changed is the `fix` of a finding.
"""

from __future__ import annotations

import importlib
import pkgutil

from phasegate.operate.doctor import Check


def find_names() -> list[str]:
    """The names of all checks, sorted; imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_checks(names: tuple[str, ...] = ()) -> list[Check]:
    """The checks of those names; without, all but those that are made on demand."""
    found = [_load(name) for name in names or find_names()]
    return found if names else [check for check in found if not check.on_demand]


def _load(name: str) -> Check:
    module = importlib.import_module(f"{__name__}.{name}")
    on_demand = getattr(module, "ON_DEMAND", False)
    return Check(name, module.SUMMARY, module.examine, on_demand)
