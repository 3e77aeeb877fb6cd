"""A judgement kept as one document, to be argued with later and judged again to the same bytes.

Every byte counts: the document is only read back if it is, byte for byte, what would be written for
its content, and if its SHA-256 is the one that it states.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import msgspec
from msgspec.structs import replace

import phasegate
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.gates import GATES
from phasegate.contract.settings import Settings
from phasegate.validators.call import LEAST_CONFIDENCE
from phasegate.validators.gate import digest, digest_settings

SAVED_VERSION = 1


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was judged, by which build and configuration (SHA-256), and what was asked."""

    saved_version: int
    build: str
    configuration: str
    criteria: tuple[str, ...]
    options: Options
    dossier: Dossier
    sha256: str = ""


def seal(
    criteria: tuple[str, ...], dossier: Dossier, settings: Settings, options: Options
) -> bytes:
    """The document, canonical, with a line end."""
    saved = Saved(
        *(SAVED_VERSION, phasegate.__version__, digest_settings(settings)),
        *(criteria, options, dossier),
    )
    return _encode(replace(saved, sha256=digest(saved)))


def open_saved(path: Path) -> Saved:
    """What `seal` gave. Raises SourceUnavailable for no file, SourceError for an altered one."""
    name = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceUnavailable(name, error.strerror or "cannot be read") from None
    try:
        saved = msgspec.json.decode(data, type=Saved)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"is no document of --save-evidence: {error}"
        raise SourceError(name, message) from None
    if saved.saved_version != SAVED_VERSION:
        message = f"has version {saved.saved_version}, and only {SAVED_VERSION} is known"
        raise SourceError(name, message)
    if saved.sha256 != digest(replace(saved, sha256="")) or _encode(saved) != data:
        raise SourceError(name, "was altered after it was saved: it is not what its SHA-256 states")
    if doubt := _doubt(saved, time.time()):
        raise SourceError(name, f"asks what no call can ask: {doubt}")
    return saved


def _doubt(saved: Saved, now: float) -> str:
    """What of the question the flags would refuse: a SHA-256 is no signature; empty for nothing."""
    options, criteria = saved.options, saved.criteria
    times = {"judged": saved.dossier.judged, "since": options.since}
    times["values_since"] = options.values_since
    for key, moment in times.items():
        if not 0 <= moment <= now + CLOCK_SKEW_SECONDS:
            return f"{key} is no time of the past"
    for key, seconds in (("min_span", options.min_span), ("max_age", options.max_age)):
        if seconds is not None and not 0 < seconds < math.inf:
            return f"{key} is no duration"
    if options.confidence is not None and not LEAST_CONFIDENCE <= options.confidence < 1:
        return f"confidence {options.confidence:g}"
    if len(set(criteria)) < len(criteria):
        return "a criterion twice"
    if options.phase and options.phase not in GATES:
        return "a phase that is none"
    missing = set(GATES.get(options.phase, ())) - set(criteria)
    return f"the gate of {options.phase} without {min(missing)}" if missing else ""


def _encode(saved: Saved) -> bytes:
    return msgspec.json.encode(saved, order="sorted") + b"\n"
