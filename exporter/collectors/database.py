"""The state of the database: who is connected, who waits, what lags, what nears its end.

The primary tells of its sessions, of waits on the tables that the configuration names, and of its
standbys and slots; each replica tells how far its own replay is behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.contract.names import TableName
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.tables import table_parameters
from phasegate.exporter.targets import Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("database")

# As pg_stat_activity names them, blanks as underscores. `unknown`: none is reported.
STATES = (
    "active",
    "idle",
    "idle_in_transaction",
    "idle_in_transaction_aborted",
    "fastpath_function_call",
    "disabled",
    "unknown",
)


class DatabaseState(Collector):
    """The primary."""

    name = "database"

    def __init__(self, target: Target, tables: Sequence[TableName]) -> None:
        self.target = self._database = target
        self._named = table_parameters(tables)

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._database.fast.session(self.name, timeout) as session:
            [sessions], waiters, standbys, slots = await session.batch(
                (QUERIES["sessions"].sql, None),
                (QUERIES["waiters"].sql, self._named),
                (QUERIES["standbys"].sql, None),
                (QUERIES["slots"].sql, None),
            )
        samples = session_samples(Sessions(*sessions))
        for schema, table, waiting, blocking, longest in waiters:
            samples += [
                metrics.LOCK_WAITERS(waiting, schema, table),
                metrics.LOCK_BLOCKERS(blocking, schema, table),
                metrics.LOCK_LONGEST_WAIT(longest, schema, table),
            ]
        for standby, size, seconds in standbys:
            if size is not None:
                samples.append(metrics.REPLICATION_LAG_BYTES(size, standby))
            if seconds is not None:
                samples.append(metrics.REPLICATION_LAG(seconds, standby))
        for slot, active, size in slots:
            samples.append(metrics.SLOT_ACTIVE(float(active), slot))
            if size is not None:
                samples.append(metrics.SLOT_RETAINED(size, slot))
        return samples


class ReplicaReplay(Collector):
    """How far one replica is behind what it received; nothing once it has been promoted."""

    def __init__(self, target: Target) -> None:
        self.name = f"database/{target.name}"
        self.target = self._replica = target

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with self._replica.fast.session(self.name, timeout) as session:
            rows = await session.rows(QUERIES["replay"].sql)
        samples = []
        for size, seconds in rows:
            if size is not None:
                samples.append(metrics.REPLICA_LAG_BYTES(size, self._replica.name))
            if seconds is not None:
                samples.append(metrics.REPLICA_LAG(seconds, self._replica.name))
        return samples


class Sessions(NamedTuple):
    """One row of the query `sessions`; ages in seconds, None where there is none."""

    states: dict[str, int] | None
    longest: float | None
    prepared: int
    prepared_age: float
    transactions_age: int
    multixacts_age: int


def session_samples(row: Sessions) -> list[Sample]:
    """The samples of the row; every state has its series, also at 0."""
    counts = dict.fromkeys(STATES, 0) | (row.states or {})
    return [
        *(metrics.CONNECTIONS(count, state) for state, count in counts.items()),
        metrics.LONGEST_TRANSACTION(row.longest or 0.0),
        metrics.PREPARED_TRANSACTIONS(row.prepared),
        metrics.PREPARED_TRANSACTION_AGE(row.prepared_age),
        metrics.WRAPAROUND_AGE(row.transactions_age, "transaction"),
        metrics.WRAPAROUND_AGE(row.multixacts_age, "multixact"),
    ]


def build(wiring: Wiring) -> list[Collector]:
    """The primary's, and one for each replica."""
    state = DatabaseState(wiring.database, wiring.settings.named_tables)
    return [state, *(ReplicaReplay(t) for t in wiring.databases if t.kind == "replica")]
