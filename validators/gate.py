"""From criterion ids and a dossier to the verdicts: no evidence, no pass. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

import phasegate
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.evidence import Evidence
from phasegate.contract.judge import judge
from phasegate.contract.settings import SETTINGS, Settings
from phasegate.validators.verdict import (
    VERDICT_VERSION,
    Digests,
    EvidenceFacts,
    Report,
    combine,
    exit_code,
)

# What a judgement depends on; where evidence and servers are reached is no part of it.
_JUDGED_BY = ("environment", "tables", "audit", "health", "application", "criteria")
_JUDGED_BY_OF_EXPORTER = (
    *("probe_interval", "evidence_block", "exact_count_interval", "partition_max_age"),
)
# The address of a tracker's query is the question itself.
_JUDGED_BY_OF_ISSUES = {
    "alerts": ("name", "url", "api", "match", "watchdog"),
    "tracker": ("name", "url", "method", "body", "path"),
}


def assess(
    criteria: tuple[str, ...], dossier: Dossier, settings: Settings, options: Options
) -> Report:
    """Every criterion judged on the same dossier, in the order given."""
    judgements = tuple(judge(name, dossier, settings, options) for name in criteria)
    verdict = combine(judgements)
    return Report(
        version=VERDICT_VERSION,
        verdict=verdict,
        exit_code=exit_code(verdict),
        build=phasegate.__version__,
        judged=dossier.judged,
        environment=settings.environment,
        source=dossier.measurer,
        options=options,
        judgements=judgements,
        exporter=_facts(dossier.evidence),
        problems=dossier.problems,
        digests=Digests(digest(dossier), digest_settings(settings)),
    )


def digest(value: Any) -> str:
    """SHA-256 of a value in its one canonical JSON form."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def digest_settings(settings: Settings) -> str:
    """SHA-256 of the settings by which a dossier is judged; no secret is part of it."""
    plain = SETTINGS.plain(settings)
    chosen = {name: plain[name] for name in _JUDGED_BY}
    chosen["identity"] = plain["database"]["identity"]
    chosen["targets"] = [*settings.database.replicas, settings.cache is not None]
    chosen["exporter"] = {name: plain["exporter"][name] for name in _JUDGED_BY_OF_EXPORTER}
    issues = plain["issues"]
    chosen["issues"] = {
        kind: [{name: one[name] for name in names} for one in issues[kind]]
        for kind, names in _JUDGED_BY_OF_ISSUES.items()
    }
    chosen["signed"] = issues["signoff"] and issues["signoff"]["required"]
    return digest(chosen)


def _facts(evidence: Evidence | None) -> EvidenceFacts | None:
    if evidence is None:
        return None
    names = EvidenceFacts.__struct_fields__
    return EvidenceFacts(**{name: getattr(evidence, name) for name in names})
