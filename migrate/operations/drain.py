"""Wait until the application has let go: no transaction of others is open, prepared ones included.

Sockets do not show that: a connection may idle for ever, and a transaction may be open in one that
says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.errors import Interrupted
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Connection, Context, Control, NothingStops
from phasegate.migrate.model import Action, ChangesNoSchema, Patience

LIMIT_SECONDS = 300.0
POLL_SECONDS = 0.5
_SHOWN = 5
_OPEN = """
SELECT
    format('%s (pid %s, role %s, %s for %s s)',
        COALESCE(NULLIF(a.application_name, ''), 'unnamed'), a.pid, a.usename, a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)::int)
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.backend_type = 'client backend'
    AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
    AND a.application_name NOT LIKE 'phasegate%'
UNION ALL
SELECT format('prepared transaction %s of %s, for %s s', p.gid, p.owner,
    extract(epoch FROM clock_timestamp() - p.prepared)::int)
FROM pg_prepared_xacts AS p
WHERE p.database = current_database()
"""


@dataclass(frozen=True)
class Drain(ChangesNoSchema):
    """`limit` in seconds, after which the run stops, resumable."""

    kind: ClassVar[str] = "drain"
    limit: float = LIMIT_SECONDS

    @property
    def object(self) -> str:
        """What is drained."""
        return "the application's transactions"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Always the waiting."""
        return (Action("wait until no transaction of others is open", work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; Interrupted, with who is left, where the limit is over."""
        return {"seconds": await_drained(context.connect, context.control, self.limit)}


def await_drained(
    connect: Callable[[Patience], Connection],
    control: Control | None = None,
    limit: float = LIMIT_SECONDS,
) -> float:
    """Seconds until no transaction of others was open; Interrupted, with who is left, where the
    limit (seconds) is over."""
    control = control or NothingStops()
    began = time.monotonic()
    with connect(Patience.BATCH) as connection:
        while left := fetch_open(connection):
            if time.monotonic() - began >= limit:
                told = "; ".join(left[:_SHOWN])
                raise Interrupted(f"not drained within {limit:g} s: {told}")
            control.sleep(POLL_SECONDS)
    return time.monotonic() - began


def fetch_open(connection: Connection) -> list[str]:
    """Each open or prepared transaction of others in the database, as a sentence."""
    return [row[0] for row in connection.execute(_OPEN.encode()).fetchall()]
