"""What was captured before the change: the file of `--baseline`, or the one beside the settings."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from phasegate.contract.baseline import Baseline, UnusableBaseline, decode_baseline
from phasegate.contract.criteria import CRITERIA, Decision
from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.settings import Settings
from phasegate.validators.sources import Request

NAME = "baseline"
FILE_NAME = "baseline.json"
MOST_BYTES = 64 * 2**20


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


def find_baseline(settings: Settings) -> Path:
    """Where a baseline is when no file is named: beside the configuration."""
    return (settings.file.parent if settings.file else Path()) / FILE_NAME


def read_baseline(path: Path) -> Baseline:
    """The baseline of a file. Raises SourceUnavailable for none, SourceError for an altered one."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(NAME, f"{path}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise SourceError(NAME, f"{path}: larger than {MOST_BYTES:,} bytes")
    try:
        return decode_baseline(data)
    except UnusableBaseline as error:
        raise SourceError(NAME, f"{path} {error}") from None
