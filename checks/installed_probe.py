"""Run by an environment that has the wheel and not the checkout: every module imports there.

Only the packages of the extra `local` may be missing, and the neighbour must still be itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
import re
import sys

import phasegate


def optional_modules() -> set[str]:
    """Import names of the packages that only an extra brings."""
    requirements = importlib.metadata.requires("phasegate") or []
    names = (re.match(r"[\w.-]+", line) for line in requirements if "extra ==" in line)
    return {name[0].replace("-", "_") for name in names if name}


def main() -> int:
    """Import everything; what failed goes to stderr."""
    # By its name as a text: in the checkout that name is our room's.
    neighbour = importlib.import_module("validators")
    if not neighbour.url("http://127.0.0.1:9899/metrics"):
        print("the package validators is not itself any more", file=sys.stderr)
        return 1
    if "site-packages" not in str(phasegate.__file__):
        print(f"phasegate came from {phasegate.__file__}", file=sys.stderr)
        return 1
    optional = optional_modules()
    failed: list[str] = []
    for module in pkgutil.walk_packages(phasegate.__path__, "phasegate.", onerror=failed.append):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in optional:
                failed.append(f"{module.name}: {error}")
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
