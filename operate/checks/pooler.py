"""Whether a pooler stands in the way to the database, and whether it changes servers under us.

A pooler gives its own number for the server process, so the numbers differ. In transaction mode the
process that answered is free for others between two transactions: while another session of ours
holds it, ours is answered by a different one. In session mode it stays ours.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.operate.doctor import Finding, ok, problem, warning
from phasegate.operate.doctor_ground import Connection, Ground, fetch_rows

SUMMARY = "no pooler in transaction mode (PgBouncer) on the way to the database"
_ASK = "SELECT pg_backend_pid()"


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as one:
        first = _ask(one)
        claimed = one.info.backend_pid
        if first == claimed:
            yield ok("the server process that answers is the one that was connected to")
            return
        one.rollback()
        with ground.look() as other:
            _ask(other)
            moved = _ask(one) != first
    yield from evaluate_pooler(moved=moved)


def _ask(connection: Connection) -> int:
    [(pid,)] = fetch_rows(connection, _ASK)
    return int(pid)


def evaluate_pooler(*, moved: bool) -> Iterator[Finding]:
    """There is one; `moved`: two transactions of one session met two server processes."""
    remedy = (
        "name the server itself in database.url; the application may keep its pooler\n"
        'psql -d "$DATABASE_URL" -XAtc "SELECT pg_backend_pid(), inet_server_port()"'
    )
    if moved:
        yield problem(
            "a pooler in transaction mode: a session's transactions met two server processes",
            "locks of a session, settings and prepared statements are lost between transactions; "
            "phasegate migrate refuses it",
            remedy,
        )
    else:
        yield warning(
            "a pooler in session mode: the server process that answers is not the one that was "
            "connected to",
            "phasegate migrate refuses it, since it cannot tell it from one in transaction mode",
            remedy,
        )
