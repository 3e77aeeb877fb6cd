"""The audit log's partitions kept in order: made ahead, and past their retention detached.

What a timer calls once a day. Partitions are made first, since a missing one refuses the writes of
the application, and an old one only takes room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from phasegate.contract.errors import Interrupted, PlanRefused
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit
from phasegate.migrate.catalog import PARTITIONED, Catalog, fetch_catalog, load_sql
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.control import RUNNER_LOCK
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Patience
from phasegate.migrate.operations.partition_audit import PartitionAudit
from phasegate.migrate.operations.premake import Premake
from phasegate.migrate.operations.retire_partitions import RetirePartitions
from phasegate.migrate.periods import before, write
from phasegate.migrate.sessions import set_patience

# Not the runner's, nor that of its sessions (SESSION_LOCK): a migration may wait days for a gate,
# and the log needs its partitions then too.
PARTITIONS_LOCK = RUNNER_LOCK + 2


def run_partitions(
    context: Context,
    connection: Connection,
    *,
    dry_run: bool = False,
    drop: bool = False,
    now: datetime | None = None,
) -> int:
    """Make what is missing and detach what is past; `drop` drops what was detached. The number of
    actions. `now` stands for the server's clock.

    `dry_run` says what would be done, with the rows of what would go, and changes nothing. Raises
    PlanRefused where the log is not there or not partitioned so, Interrupted where another is at
    it, and what the actions raise.
    """
    audit = context.settings.audit
    if audit is None:
        raise PlanRefused(("audit: is not configured; name the log in audit.table",))
    premake = Premake(audit.table, audit.partition, audit.premake)
    retire = (
        None if audit.retention is None else RetirePartitions(audit.table, audit.retention, drop)
    )

    def fetch() -> Catalog:
        catalog = fetch_partitions(connection, audit.table, retire)
        return catalog if now is None else replace(catalog, now=now.timestamp())

    _refuse(audit, premake, fetch())
    if dry_run:
        for line in describe_partitions(fetch(), audit, drop, lambda name: _count(context, name)):
            context.say(line)
        return 0
    with _alone(connection):
        done = apply_operation(premake, context, connection, fetch)
        if retire is not None:
            done += apply_operation(retire, context, connection, fetch)
    if not done:
        context.say(f"{premake.object}: nothing is missing, nothing is past its retention")
    return done


def fetch_partitions(
    connection: Connection, table: TableName, retire: RetirePartitions | None
) -> Catalog:
    """The catalog of the log, and of what was detached from it."""
    names = [table]
    if retire is not None:
        parameters = {"schema": table.schema, "mark": retire.mark}
        found = connection.execute(load_sql("catalog")["detached"].encode(), parameters).fetchall()
        names += [TableName(*one) for one in found]
    return fetch_catalog(connection, names)


def describe_partitions(
    catalog: Catalog, audit: Audit, drop: bool, count: Callable[[TableName], int]
) -> Iterator[str]:
    """What would be made and what would go, a line each; `count` counts the rows of a table."""
    premake = Premake(audit.table, audit.partition, audit.premake)
    made = premake.plan_remaining(catalog)
    yield f"{premake.object}: by {audit.partition}, {audit.premake} kept ready ahead"
    for action in made:
        yield f"would {action.what}"
    if not made:
        yield "none to make"
    if audit.retention is None:
        yield "none is past its retention: audit.retention is not set, rows are kept for ever"
        return
    retire = RetirePartitions(audit.table, audit.retention, drop)
    cutoff = before(datetime.fromtimestamp(catalog.now, UTC), audit.retention)
    yield f"kept for {audit.retention}: what ends by {write(cutoff)} is past it"
    past, detached = retire.past(catalog), retire.detached(catalog)
    for relation, period in past:
        how = "end the detach of" if relation.detaching else "detach"
        also = " and drop" if drop and period.end <= cutoff else ""
        rows = f"{count(relation.name):,} rows"
        yield f"would {how}{also} {qualify(relation.name)}, {period.text}: {rows}"
    for relation, period in detached:
        how = "would drop" if drop else "detached before, kept, --drop drops it:"
        rows = f"{count(relation.name):,} rows"
        yield f"{how} {qualify(relation.name)}, {period.text}: {rows}"
    if not past and not detached:
        yield "none is past its retention"


def _refuse(audit: Audit, premake: Premake, catalog: Catalog) -> None:
    name = qualify(audit.table)
    relation = catalog.get(audit.table)
    if relation is None or relation.kind != PARTITIONED:
        found = "there is no such table" if relation is None else "it is not partitioned"
        remedy = "phasegate migrate run --until infrastructure"
        raise PlanRefused((f"{name}: {found}; {remedy}",))
    partition = PartitionAudit(audit.table, audit.time_column, audit.partition)
    refusals = [*partition.find_refusals(catalog), *premake.find_refusals(catalog)]
    if refusals:
        raise PlanRefused(tuple(f"{one.object}: {one.found}; {one.remedy}" for one in refusals))


def _count(context: Context, name: TableName) -> int:
    with context.connect(Patience.SCAN) as connection:
        sql = f"SELECT count(*) FROM {qualify(name)}"  # noqa: S608
        row = connection.execute(sql.encode()).fetchone()
    return 0 if row is None else int(row[0])


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Two at once would make the same partition twice, and one of them fail."""
    set_patience(connection, Patience.BATCH)
    [[taken]] = connection.execute("SELECT pg_try_advisory_lock(%s)", (PARTITIONS_LOCK,)).fetchall()
    if not taken:
        raise Interrupted("another `phasegate migrate partitions` is at work in this database")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (PARTITIONS_LOCK,))
