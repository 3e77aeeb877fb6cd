"""The exporter's own evidence over HTTP, as any user's pipeline reads it."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError
from phasegate.contract.evidence import EVIDENCE_PATH, EVIDENCE_VERSION, Evidence
from phasegate.contract.judge import needs_exporter
from phasegate.validators.http_get import Answer, fetch
from phasegate.validators.sources import Request

NAME = "exporter"
WITHIN_SECONDS = 10.0
MOST_BYTES = 200_000_000
"""Some times what an exporter that keeps all it may can answer."""
_REFUSED = {
    401: "it refuses these credentials; configure exporter.basic_auth or exporter.bearer_file",
    403: "it refuses these credentials; configure exporter.basic_auth or exporter.bearer_file",
    404: "it has no evidence; is it an exporter of Phasegate, and exporter.url its base?",
}


class _Versioned(msgspec.Struct):
    version: int


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the evidence since the time that is asked for."""
    exporter = request.settings.exporter
    if request.measurer != NAME or exporter.url is None or not needs_exporter(request.criteria):
        return dossier
    url = f"{exporter.url.rstrip('/')}{EVIDENCE_PATH}?since={max(0.0, request.since):.6f}"
    answer = fetch(url, exporter, NAME, within_seconds=WITHIN_SECONDS, limit=MOST_BYTES)
    return replace(dossier, evidence=read_answer(answer))


def read_answer(answer: Answer) -> Evidence:
    """The evidence of an answer. Raises SourceError for anything but evidence."""
    if answer.status != 200:
        reason = _REFUSED.get(answer.status, "expected 200")
        raise SourceError(NAME, f"it answered with status {answer.status}: {reason}")
    if answer.content_type != "application/json":
        raise SourceError(NAME, f"it answered {answer.content_type}, expected application/json")
    return read_evidence(answer.body, NAME)


def read_evidence(body: bytes, source: str) -> Evidence:
    """Evidence of the one version that is known. Raises SourceError."""
    try:
        version = msgspec.json.decode(body, type=_Versioned).version
        if version == EVIDENCE_VERSION:
            return msgspec.json.decode(body, type=Evidence)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SourceError(source, f"what it gives is no evidence: {error}") from None
    message = f"it gives evidence of version {version}, and only {EVIDENCE_VERSION} is known"
    raise SourceError(source, f"{message}; use the same release on both sides")
