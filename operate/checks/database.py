"""Whether PostgreSQL lets us in, as a primary, in a version that is supported, with room left."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.operate.doctor import Finding, ok, problem, warning
from phasegate.operate.doctor_ground import Ground, fetch_rows

SUMMARY = "PostgreSQL answers, is the primary, and has connections left"
VERSIONS = range(13, 19)
FULL_SHARE = 0.9
# A role without pg_monitor sees every session here, and of others nothing but that they are.
_SERVER = """
SELECT
    current_setting('server_version_num')::integer, pg_is_in_recovery(),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer
"""
_PLACE = "exporter.md#targetdown"


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not let us in."""
    with ground.look() as connection:
        [(version, recovering, sessions, room)] = fetch_rows(connection, _SERVER)
    yield from evaluate_server(version, recovering=recovering, sessions=sessions, room=room)


def evaluate_server(
    version: int, *, recovering: bool, sessions: int, room: int
) -> Iterator[Finding]:
    """`sessions` of clients are there, and the server takes `room` of them."""
    major = version // 10_000
    told = f"PostgreSQL {major}.{version % 10_000}, {sessions} of {room} connections"
    if major not in VERSIONS:
        yield problem(
            f"{told}: this version is not supported",
            f"supported are {VERSIONS[0]} to {VERSIONS[-1]}",
            "update the server",
        )
    if recovering:
        yield problem(
            f"{told}: it is in recovery",
            "database.url leads to a standby, where nothing is counted and nothing can be changed",
            "name the primary in database.url, and the standby in database.replicas",
            _PLACE,
        )
    if sessions >= room * FULL_SHARE:
        yield warning(
            told,
            "connections are nearly used up, often by sessions that are idle in transaction",
            "SELECT pid, usename, application_name, pg_terminate_backend(pid)\n"
            "FROM pg_stat_activity\n"
            "WHERE state = 'idle in transaction' "
            "AND state_change < now() - interval '5 minutes';",
            _PLACE,
        )
    if major in VERSIONS and not recovering and sessions < room * FULL_SHARE:
        yield ok(told)
