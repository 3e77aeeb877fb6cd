"""Proofs of the audit log that the user asked for, made on the configured database itself.

They are made once a call: an earlier look's are kept. Which server they are of is read on the very
connection that makes them, and judged together with the evidence.
"""

from __future__ import annotations

from msgspec.structs import replace

from phasegate.contract.audit_proofs import AuditProofs
from phasegate.contract.coverage import AUDIT_COVERAGE
from phasegate.contract.dossier import Dossier
from phasegate.contract.judge import AUDIT_PROOFS
from phasegate.contract.settings import Settings
from phasegate.validators.sources import Request
from phasegate.validators.sources.targets import connected

CANARY_SECONDS = 10.0
"""Of all on one connection, beyond the limits that the server itself has for it."""


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the proofs that are configured; none where none is."""
    settings = request.settings
    canaries = settings.audit and [one for one in settings.audit.watch if one.canary]
    decoded = settings.audit and settings.audit.watch and settings.criteria.audit_coverage.decoding
    if AUDIT_COVERAGE not in request.criteria or not (canaries or decoded):
        return dossier
    if request.earlier is not None and request.earlier.proofs is not None:
        return replace(dossier, proofs=request.earlier.proofs)
    return replace(dossier, proofs=make_proofs(settings))


def make_proofs(settings: Settings) -> AuditProofs:
    """All that are configured, one after the other. Raises SourceUnavailable."""
    # Only where a proof is asked for: psycopg is heavy.
    from phasegate.validators.audit_canary import try_canary  # noqa: PLC0415
    from phasegate.validators.audit_decoding import LATEST_SECONDS, decode  # noqa: PLC0415

    audit = settings.audit
    assert audit is not None
    identities, canaries, decoding = set(), [], None
    for watch in audit.watch:
        if watch.canary:
            with connected(settings, AUDIT_PROOFS, CANARY_SECONDS) as (connection, identity):
                identities.add(identity)
                canaries.append(try_canary(connection, watch, audit))
    seconds = settings.criteria.audit_coverage.decoding
    if seconds:
        with connected(settings, AUDIT_PROOFS, seconds + LATEST_SECONDS) as (connection, identity):
            identities.add(identity)
            decoding = decode(connection, audit, seconds)
    # Of two servers none is the one; the judge then believes nothing.
    identity = identities.pop() if len(identities) == 1 else ""
    return AuditProofs(identity, tuple(canaries), decoding)
