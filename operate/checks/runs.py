"""What a migration's run that is dead left: its lock, its sessions, its unfinished entry.

A session that the server has not missed yet may hold the lock of the one runner, and then no other
run begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from phasegate.migrate.catalog import load_sql
from phasegate.migrate.control import RUNNER_LOCK, SESSION_LOCK
from phasegate.migrate.status import Status, fetch_status
from phasegate.operate.doctor import Finding, ok, problem, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "no run of the migration that died, no lock or session that it left"
SILENT_SECONDS = 600.0
_STUCK = "migration.md#migrationphasestuck"
_SESSIONS = """
SELECT DISTINCT
    a.pid, (l.classid::bigint << 32 | l.objid::bigint) = %(runner)s, a.application_name,
    COALESCE(host(a.client_addr), 'local'), a.state,
    extract(epoch FROM clock_timestamp() - a.state_change)::double precision
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) IN (%(runner)s, %(session)s)
ORDER BY 1
"""


class Session(NamedTuple):
    """Of a run; `runs`: it holds the lock of the one runner. `silent` is the seconds since its last
    word."""

    pid: int
    runs: bool
    application: str
    host: str
    state: str
    silent: float | None


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error; what the journal tells needs the right to read it."""
    with ground.look() as connection:
        locks = {"runner": RUNNER_LOCK, "session": SESSION_LOCK}
        sessions = [Session(*row) for row in fetch_rows(connection, _SESSIONS, locks)]
        [(there,)] = fetch_rows(connection, load_sql("journal")["exists"])
        status = fetch_status(connection) if there else None
    yield from evaluate_runs(status, sessions)


def evaluate_runs(status: Status | None, sessions: list[Session]) -> Iterator[Finding]:
    """`status` is None without a journal."""
    holders = [one for one in sessions if one.runs]
    strays = [] if holders else sessions
    faults = [
        problem(
            f"{_tell(one)} holds the runner's lock, silent for {one.silent:.0f} s",
            "its process is dead or stopped, and the server has not noticed",
            f"SELECT pg_terminate_backend({one.pid});\nphasegate migrate resume",
            _STUCK,
        )
        for one in holders
        # Whoever runs asks the control table twice a second.
        if one.silent is not None and one.silent > SILENT_SECONDS
    ]
    faults += [
        warning(
            f"{_tell(one)}, {one.state}, is of a run whose runner is gone",
            "a run died, and the server still works for it",
            "phasegate migrate resume\n(it ends such sessions before it begins)",
            _STUCK,
        )
        for one in strays
    ]
    if status is not None and status.left_by and not holders:
        faults.append(
            problem(
                f"nobody is at work; {status.left_by}",
                "the runner was killed: a closed terminal, an evicted pod, kill -9",
                "phasegate migrate resume\n(or back: phasegate migrate rollback --dry-run)",
                _STUCK,
            )
        )
    if status is not None:
        faults += _evaluate_phases(status)
    if faults:
        yield from faults
    elif holders:
        yield ok(f"a runner is at work: {_tell(holders[0])}")
    elif status is None:
        yield ok("no migration has been begun")
    else:
        yield ok("nobody is at work, and the last run ended in order")


def _evaluate_phases(status: Status) -> Iterator[Finding]:
    if status.wanted != "run":
        yield warning(
            f"somebody asked the migration to {status.wanted}",
            "it stays so until it is resumed",
            "phasegate migrate resume",
            _STUCK,
        )
    for one in status.phases:
        if one.failed:
            yield problem(
                f"phase {one.phase}: step {one.failed} failed: {one.why}",
                "see the error; what was done before it stays",
                "phasegate migrate status\nphasegate migrate resume",
                "migration.md#migrationphasefailed",
            )


def _tell(one: Session) -> str:
    return f"pid {one.pid} ({one.application} on {one.host})"
