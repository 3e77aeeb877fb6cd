"""Runs the checks: a few at once, each within its own time, none able to spoil another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import psycopg

from phasegate.contract.errors import LockNotAcquired, PhasegateError, PlanRefused, SourceError
from phasegate.contract.secrets import redactor
from phasegate.operate.doctor import Cannot, Check, Finding, ok, unknown
from phasegate.operate.doctor_ground import Ground

AT_ONCE = 4
LIMIT_SECONDS = 10.0
_ASK = {
    "database": ('pg_isready -d "$DATABASE_URL" -t 5', "exporter.md#targetdown"),
    "cache": ('redis-cli -u "$REDIS_URL" PING', "exporter.md#targetdown"),
    "exporter": (
        "phasegate exporter --config.file phasegate.yaml --check-config --connect",
        "exporter.md#exporterdown",
    ),
    "prometheus": ("see prometheus.url in phasegate.yaml", "exporter.md#watchdog"),
}
"""How a person asks a source that does not answer, and where its section is."""
_GRANTS = "phasegate init --grants > grants.sql; psql -v ON_ERROR_STOP=1 -f grants.sql"


def examine_all(
    checks: Sequence[Check], ground: Ground, limit_seconds: float = LIMIT_SECONDS
) -> list[Finding]:
    """Every finding, in the order of the checks; each check has at least one."""
    found: dict[str, list[Finding]] = {}
    left = deque(checks)

    def work() -> None:
        with suppress(IndexError):  # popleft of none: all are taken
            while True:
                check = left.popleft()
                found[check.name] = _examine_within(check, ground, limit_seconds)

    # Daemons, that nothing at the end of the process waits for them.
    workers = [threading.Thread(target=work, daemon=True) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [finding for check in checks for finding in found[check.name]]


def _examine_within(check: Check, ground: Ground, limit: float) -> list[Finding]:
    """In a thread that is left alone where it does not come back: nothing waits for it at the
    end of the process."""
    found: list[list[Finding]] = []
    worker = threading.Thread(
        target=lambda: found.append(_examine(check, ground)), daemon=True, name=check.name
    )
    worker.start()
    worker.join(limit)
    if found:
        return found[0]
    late = unknown(
        f"no answer within {limit:g} s",
        f"see what holds it up, then: phasegate doctor --check {check.name}",
    )
    return [replace(late, check=check.name)]


def _examine(check: Check, ground: Ground) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(check.examine(ground))
    except Exception as error:  # whatever it is, it stops no other check
        findings.append(_tell(error, check.name))
    if not findings:
        findings.append(ok("nothing of it is configured"))
    return [replace(one, check=check.name, evidence=redactor(one.evidence)) for one in findings]


def _tell(error: Exception, check: str) -> Finding:
    """What it means that a check ended with this error."""
    told = " ".join(str(error).split())
    match error:
        case SourceError():
            ask, place = _ASK.get(error.source, ("see the error", "exporter.md#targetdown"))
            return unknown(told, f"{ask}\nphasegate doctor --check {check}", place, Cannot.REACH)
        case psycopg.errors.InsufficientPrivilege():
            return unknown(
                f"our role lacks a right: {told}", _GRANTS, "exporter.md#collectorfailing"
            )
        case psycopg.errors.QueryCanceled() | psycopg.errors.LockNotAvailable() | LockNotAcquired():
            remedy = f"see who holds it up, then: phasegate doctor --check {check}"
            return unknown(told, remedy, "database-operations.md#lockqueue")
        case PlanRefused():
            return unknown("; ".join(error.refusals), "phasegate doctor --check pooler")
        case psycopg.Error():
            remedy = f"see the error; phasegate doctor --check {check}"
            return unknown(told, remedy, "exporter.md#targetdown")
        case PhasegateError():
            return unknown(told, f"see the error; phasegate doctor --check {check}")
    told = f"{type(error).__name__}: {told}"
    return unknown(told, "this is a bug of Phasegate; please report it", cannot=Cannot.FAILED)


def apply_fixes(findings: Sequence[Finding], ground: Ground) -> list[tuple[Finding, str, bool]]:
    """Each finding with what its fix did or why it did nothing, and whether it was applied."""
    told = []
    for one in findings:
        assert one.fix is not None
        try:
            told.append((one, redactor(one.fix.apply(ground)), True))
        except (PhasegateError, psycopg.Error) as error:
            told.append((one, redactor(f"not done: {' '.join(str(error).split())}"), False))
    return told
