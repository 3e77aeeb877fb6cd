"""Whether evidence is of the server that is asked about, of this environment and of now. Pure.

Counts of another server, or of a copy of this one, could open a gate. So a target is believed only
if it is the one that the configuration pins, or the one that answered the judge itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from phasegate.contract.criteria import MAX_AGE_SECONDS
from phasegate.contract.dossier import Options
from phasegate.contract.evidence import (
    CACHE,
    CLOCK_SKEW_SECONDS,
    DATABASE,
    EVIDENCE_VERSION,
    Evidence,
    TargetState,
)
from phasegate.contract.settings import Settings

PIN = "configure database.identity, or the database's url so that the server itself can be asked"


class Reason(StrEnum):
    """Why a target is not believed."""

    OTHER = "other"
    """It is known to be another one."""
    SILENT = "silent"
    """It never answered the exporter."""
    UNKNOWN = "unknown"
    """Nothing says which one it must be."""


class Doubt(NamedTuple):
    """What makes a target's evidence worthless, as a sentence and as a kind."""

    reason: Reason
    what: str


class Belief(NamedTuple):
    """`doubt` is of the whole evidence, empty for none. `identities` are those of the believed
    targets, `doubts` why the others are not; `notes` limit nothing, and are shown."""

    doubt: str
    identities: dict[str, str]
    doubts: dict[str, Doubt]
    notes: tuple[str, ...]


def is_pinned(settings: Settings) -> bool:
    """Whether the configuration alone tells which database the evidence must be of."""
    return settings.database.identity.pinned


def believe(
    evidence: Evidence,
    settings: Settings,
    options: Options,
    judged: float,
    known: Mapping[str, str],
) -> Belief:
    """What of the evidence can be used at `judged`; `known` are the identities that the judge
    itself found out, by target."""
    doubt = _doubt_of_all(evidence, settings, options, judged)
    targets = {target.name: target for target in evidence.targets}
    doubts: dict[str, Doubt] = {}
    for name in _expected(settings):
        found = targets.get(name)
        if found is None:
            doubts[name] = Doubt(Reason.SILENT, f"the exporter measures no target {name}")
        elif problem := _doubt_of(found, targets, settings, known):
            doubts[name] = problem
    identities = {
        name: target.identity
        for name, target in targets.items()
        if name in _expected(settings) and name not in doubts
    }
    notes = []
    if evidence.complete_since > options.since > 0:
        late = evidence.complete_since - options.since
        notes.append(f"evidence is complete only from {late:.0f} s after the begin of the window")
    if not settings.environment and evidence.environment:
        notes.append(f"environment {evidence.environment}, which the configuration does not demand")
    return Belief(doubt, identities, doubts, tuple(notes))


def _expected(settings: Settings) -> tuple[str, ...]:
    cache = (CACHE,) if settings.cache else ()
    return (DATABASE, *settings.database.replicas, *cache)


def _doubt_of_all(evidence: Evidence, settings: Settings, options: Options, judged: float) -> str:
    if evidence.version != EVIDENCE_VERSION:
        return f"evidence of version {evidence.version}, and only {EVIDENCE_VERSION} is known"
    if settings.environment and evidence.environment != settings.environment:
        stated = evidence.environment or "none"
        return f"it is of environment {stated}, not of {settings.environment}"
    age, oldest = judged - evidence.generated, options.max_age or MAX_AGE_SECONDS
    if not age >= -CLOCK_SKEW_SECONDS:
        return f"it was made {-age:.0f} s in the future; compare the clocks"
    if not age <= oldest:
        return f"it was made {age:.0f} s ago, older than {oldest:.0f} s"
    # Written with microseconds on its way.
    if not evidence.since <= options.since + 1e-3:
        late = evidence.since - options.since
        return f"it begins {late:.0f} s after the time that was asked for"
    if len({target.name for target in evidence.targets}) < len(evidence.targets):
        return "it holds one target twice"
    return ""


def _doubt_of(
    target: TargetState,
    targets: Mapping[str, TargetState],
    settings: Settings,
    known: Mapping[str, str],
) -> Doubt | None:
    if not target.identity:
        return Doubt(Reason.SILENT, f"{target.name} has not answered the exporter yet")
    if target.name == CACHE:
        if known.get(CACHE, "") == target.identity:
            return None
        asked = known.get(CACHE) or "an address that could not be read"
        what = f"the exporter measures the cache {target.identity}, the configuration names {asked}"
        return Doubt(Reason.OTHER, what)
    if target.name != DATABASE:
        first = targets.get(DATABASE)
        if first is not None and target.identity == first.identity:
            return _doubt_of(first, targets, settings, known)
        return Doubt(Reason.OTHER, f"{target.name} is no standby of the database: another server")
    return _doubt_of_database(target.identity, settings, known.get(DATABASE, ""))


def _doubt_of_database(identity: str, settings: Settings, known: str) -> Doubt | None:
    pinned = settings.database.identity
    # The name of a database may hold a slash.
    system, _, rest = identity.partition("/")
    _, _, name = rest.partition("/")
    for what, wanted, found in (
        ("system identifier", pinned.system_identifier, system),
        ("database", pinned.database, name),
    ):
        if wanted and wanted != found:
            return Doubt(Reason.OTHER, f"another server: {what} {found}, not {wanted}")
    if is_pinned(settings):
        return None
    if not known:
        return Doubt(Reason.UNKNOWN, f"which server it must be of is not known; {PIN}")
    if known != identity:
        return Doubt(Reason.OTHER, f"another server: the evidence is of {identity}, not of {known}")
    return None
