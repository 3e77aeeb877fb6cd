"""The list of items that people sign: a YAML or JSON file, read as strictly as the settings are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.issues import SignedItem, SignedList
from phasegate.contract.judge import asks_for_issues
from phasegate.contract.secrets import redactor
from phasegate.validators.printable import one_line, shorten
from phasegate.validators.sources import Request

NAME = "signoff"
SHOWN_FAULTS = 3


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the items of the configured file. Raises SourceUnavailable where there is none,
    SourceError where it cannot be read."""
    signoff = request.settings.issues.signoff
    if signoff is None or not asks_for_issues(request.criteria):
        return dossier
    return replace(dossier, issues=replace(dossier.issues, signoff=read_list(signoff.file)))


def read_list(path: Path) -> SignedList:
    """The items of one file, in its order."""
    import hashlib  # noqa: PLC0415

    from phasegate.contract.document import MAX_BYTES, Reader, read_document  # noqa: PLC0415
    from phasegate.contract.shapes import INVALID  # noqa: PLC0415
    from phasegate.validators.signed_items import ITEMS  # noqa: PLC0415

    shown = one_line(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(NAME, f"{shown}: {error.strerror}") from None
    reader = Reader(shown, path.parent, {})
    node = read_document(data, reader)
    found: Any = INVALID if node is None else ITEMS.read(node, reader)
    if reader.faults or found is INVALID:
        told = [str(fault) for fault in reader.faults]
        more = len(told) - SHOWN_FAULTS
        message = "; ".join(told[:SHOWN_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        raise SourceError(NAME, message)
    items = tuple(
        SignedItem(_fit(one.item), one.checked, _fit(one.by or ""), one.at, one.expires)
        for one in found
    )
    return SignedList(shown, hashlib.sha256(data).hexdigest(), items)


def _fit(text: str) -> str:
    return shorten(redactor(text))
