"""State of the database."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

CONNECTIONS = gauge(
    "database",
    "phasegate_database_connections",
    "state",
    "",
    "Client sessions in the database by state, without the one that counts them",
)
LONGEST_TRANSACTION = gauge(
    "database",
    "phasegate_database_longest_transaction_seconds",
    "",
    "seconds",
    "Age of the oldest open transaction of a client session in the database; 0 without one",
)
PREPARED_TRANSACTIONS = gauge(
    "database",
    "phasegate_database_prepared_transactions",
    "",
    "",
    "Transactions in the database that are prepared for a two-phase commit",
)
PREPARED_TRANSACTION_AGE = gauge(
    "database",
    "phasegate_database_oldest_prepared_transaction_seconds",
    "",
    "seconds",
    "Age of the oldest prepared transaction in the database; 0 without one",
)
WRAPAROUND_AGE = gauge(
    "database",
    "phasegate_database_wraparound_age",
    "kind",
    "",
    "Transactions or multixacts since the oldest freeze of any database; near 2^31 writes stop",
)
LOCK_WAITERS = gauge(
    "database",
    "phasegate_lock_waiters",
    "schema table",
    "",
    "Sessions that wait for a lock on the table, its partitions or a row of them",
)
LOCK_BLOCKERS = gauge(
    "database",
    "phasegate_lock_blockers",
    "schema table",
    "",
    "Sessions that those waiters wait for, ahead of them in the queue or holding the lock",
)
LOCK_LONGEST_WAIT = gauge(
    "database",
    "phasegate_lock_longest_wait_seconds",
    "schema table",
    "seconds",
    "Longest of those waits; 0 on versions before 14, which do not tell it",
)
REPLICATION_LAG = gauge(
    "database",
    "phasegate_replication_lag_seconds",
    "standby",
    "seconds",
    "Replay lag of a connected standby as the primary sees it; absent while unknown",
)
REPLICATION_LAG_BYTES = gauge(
    "database",
    "phasegate_replication_lag_bytes",
    "standby",
    "bytes",
    "WAL that a connected standby has not replayed, as the primary sees it",
)
SLOT_ACTIVE = gauge(
    "database",
    "phasegate_replication_slot_active",
    "slot",
    "",
    "1 while somebody reads the replication slot, else 0",
)
SLOT_RETAINED = gauge(
    "database",
    "phasegate_replication_slot_retained_bytes",
    "slot",
    "bytes",
    "WAL that is kept for the replication slot",
)
REPLICA_LAG = gauge(
    "database",
    "phasegate_replica_lag_seconds",
    "target",
    "seconds",
    "Age of what a replica replayed last; 0 when all is replayed and the stream stands",
)
REPLICA_LAG_BYTES = gauge(
    "database",
    "phasegate_replica_lag_bytes",
    "target",
    "bytes",
    "WAL that a replica has received and not replayed",
)
