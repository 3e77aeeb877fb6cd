"""How many rows each table has and what is in them, so that a restored copy can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Control
from phasegate.migrate.identifiers import qualify

CHECKSUM_ROWS = 1_000_000
"""A table of more, by the planner's estimate, is only counted, unless it is migrated."""
_SQL = load_sql("backup")
_ROW = '"phasegate: a row"'


class RowFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One table. `digest` is a sum over hashes of its rows, empty where they were only counted;
    `changes` are the rows inserted and deleted, and `updates` those updated, as the statistics of
    the server tell."""

    schema: str
    table: str
    oid: int
    rows: int
    digest: str
    changes: int
    updates: int

    @property
    def name(self) -> TableName:
        """The table's."""
        return TableName(self.schema, self.table)


class TableSeen(msgspec.Struct, frozen=True):
    """What the catalog and the statistics say of a table, before anything is counted."""

    schema: str
    table: str
    oid: int
    estimate: int
    inserted: int
    updated: int
    deleted: int

    @property
    def name(self) -> TableName:
        """The table's."""
        return TableName(self.schema, self.table)


def fetch_tables(connection: Connection) -> list[TableSeen]:
    """Every table of users, in order of names."""
    return [TableSeen(*row) for row in connection.execute(_SQL["tables"].encode()).fetchall()]


def prepare_session(connection: Connection) -> None:
    """Values are written alike on every server, and counting takes as long as it takes."""
    connection.execute(_SQL["prepare"].encode())


def count_rows(
    connection: Connection,
    tables: Iterable[TableSeen],
    named: Sequence[TableName],
    control: Control,
    *,
    checksums: bool = True,
) -> tuple[RowFacts, ...]:
    """Count each, and take the checksums of those that are small or in `named`."""
    found = []
    for one in tables:
        control.check()
        summed = checksums and (one.estimate <= CHECKSUM_ROWS or one.name in named)
        rows, digest = count_table(connection, one.name, checksum=summed)
        found.append(
            RowFacts(
                schema=one.schema,
                table=one.table,
                oid=one.oid,
                rows=rows,
                digest=digest,
                changes=one.inserted + one.deleted,
                updates=one.updated,
            )
        )
    return tuple(found)


def count_table(connection: Connection, name: TableName, *, checksum: bool) -> tuple[int, str]:
    """Its rows, and their digest, empty where none is asked for."""
    hashed = f'sum(hashtextextended({_ROW}::text COLLATE "C", 0)::numeric)::text'
    digest = f"COALESCE({hashed}, '0')" if checksum else "''"
    query = f"SELECT count(*), {digest} FROM ONLY {qualify(name)} AS {_ROW}"  # noqa: S608
    [(rows, summed)] = connection.execute(query.encode()).fetchall()
    return rows, summed


def compare_rows(
    connection: Connection, expected: Sequence[RowFacts], control: Control
) -> list[str]:
    """What the database of `connection` has otherwise, a line each; empty where it is the same."""
    there = {one.name for one in fetch_tables(connection)}
    found = []
    for one in expected:
        control.check()
        if one.name not in there:
            found.append(f"{qualify(one.name)} is missing")
            continue
        rows, digest = count_table(connection, one.name, checksum=bool(one.digest))
        if rows != one.rows:
            found.append(f"{qualify(one.name)} has {rows:,} rows, {one.rows:,} when it was dumped")
        elif digest != one.digest:
            found.append(f"{qualify(one.name)} has other values than when it was dumped")
    return found


def digest_rows(facts: Iterable[RowFacts]) -> str:
    """One SHA-256 over all counts and checksums."""
    lines = (f"{one.schema}\0{one.table}\0{one.rows}\0{one.digest}\n" for one in facts)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sum_lost(then: Sequence[RowFacts], now: Sequence[RowFacts], ours: int) -> int | None:
    """Rows written between the two, without `ours`, which are updates; None where a table that
    was there is gone or its statistics began anew. What is ours in the database is no loss."""
    before = {one.oid: one for one in then}
    changes = updates = 0
    for one in now:
        if one.schema == SCHEMA:
            continue
        was = before.pop(one.oid, None)
        start = (0, 0, 0) if was is None else (was.changes, was.updates, was.rows)
        changed, updated = one.changes - start[0], one.updates - start[1]
        if changed < 0 or updated < 0:
            return None
        # TRUNCATE is in no counter of rows.
        changes += max(changed, abs(one.rows - start[2]))
        updates += updated
    if any(one.schema != SCHEMA for one in before.values()):
        return None
    return changes + max(0, updates - ours)
