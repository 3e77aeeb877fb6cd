"""What was captured before the change: the file of `--baseline`, or the one beside the settings."""

from __future__ import annotations

from msgspec.structs import replace

from phasegate.contract.baseline import find_baseline, read_baseline
from phasegate.contract.criteria import CRITERIA, Decision
from phasegate.contract.dossier import Dossier
from phasegate.validators.sources import Request


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the baseline where a criterion asks for one. That nobody captured any is no problem
    of this source; that the file which was named is missing is one."""
    asked = [CRITERIA[name].decision for name in request.criteria if name in CRITERIA]
    if Decision.INCREASE not in asked:
        return dossier
    path = request.baseline or find_baseline(request.settings)
    if request.baseline is None and not path.exists():
        return dossier
    return replace(dossier, baseline=read_baseline(path))
