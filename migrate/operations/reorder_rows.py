"""The rows of a table that is written anew: copied, kept in step, proved equal.

A trigger writes down the key of each row that anybody changes, and nothing more: no write of the
application waits for us, or can fail on the copy. What is written down is looked up again later, in
one snapshot: after that the copy is what the table was in that snapshot, whatever happened in
between, and in which order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Relation
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.identifiers import literal, qualify, quote
from phasegate.migrate.model import Patience
from phasegate.migrate.ranges import RangeUpdate, run_ranges

COPIED, PROVED, BROKEN = "phasegate: copied", "phasegate: proved", "phasegate: is another"
"""What the comment on the copy says of it."""
FEW = 1_000
"""Keys that may be left to be looked up under the lock of the swap: milliseconds."""
ROUNDS = 50
_BODY = """
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {log} (emptied) VALUES (true);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO {log} ({columns}) VALUES ({old});
    END IF;
    IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' AND ({old}) IS DISTINCT FROM ({new}) THEN
        INSERT INTO {log} ({columns}) VALUES ({new});
    END IF;
    RETURN NULL;
END
"""


@dataclass(frozen=True)
class Rewrite:
    """One table, its copy, and where keys are written down; `log` is a table, and a function of
    the same name writes to it."""

    table: TableName
    shadow: TableName
    log: TableName

    def make_log(self, relation: Relation) -> str:
        """The table of keys, of the same types and collations."""
        columns = ", ".join(f"t.{quote(name)} AS {k}" for k, name in _numbered(relation))
        return (
            f"CREATE TABLE {qualify(self.log)} AS SELECT {columns}, NULL::boolean AS emptied "
            f"FROM ONLY {qualify(self.table)} AS t WITH NO DATA"
        )

    def make_body(self, relation: Relation) -> str:
        """Of the trigger's function."""
        names = [quote(name) for name in relation.primary_key]
        return _BODY.format(
            log=qualify(self.log),
            columns=", ".join(k for k, _ in _numbered(relation)),
            old=", ".join(f"OLD.{name}" for name in names),
            new=", ".join(f"NEW.{name}" for name in names),
        )

    def make_apply(self, relation: Relation) -> tuple[str, ...]:
        """Statements after which the copy is what the table is, for all keys written down. They
        need one snapshot, or nobody else who writes."""
        table, shadow, log = map(qualify, (self.table, self.shadow, self.log))
        ks = ", ".join(k for k, _ in _numbered(relation))
        same = " AND ".join(f"s.{quote(name)} = l.{k}" for k, name in _numbered(relation))
        key = ", ".join(f"t.{quote(name)}" for name in relation.primary_key)
        columns = written(relation)
        kept = f"SELECT DISTINCT {ks} FROM {log} WHERE emptied IS NULL"
        return (
            f"DELETE FROM {shadow} WHERE EXISTS (SELECT FROM {log} WHERE emptied)",
            # All of them first: a unique value may have gone from one row to another.
            f"DELETE FROM {shadow} AS s USING ({kept}) AS l WHERE {same}",
            f"INSERT INTO {shadow} ({columns}) SELECT {columns} FROM ONLY {table} AS t "
            f"WHERE ({key}) IN ({kept})",
            f"DELETE FROM {log}",
        )

    def make_work(self, catalog: Catalog) -> RangeUpdate:
        """The loop that copies. Rows that move meanwhile are written down, so that it does not
        matter which version of them is found, or whether any is."""
        relation, shadow = catalog.relations[self.table], catalog.relations[self.shadow]
        columns, place = written(relation), qualify(self.shadow)
        key = ", ".join(quote(name) for name in relation.primary_key)
        same = " AND ".join(f"s.{quote(name)} = t.{quote(name)}" for name in relation.primary_key)
        known = " AND ".join(f"l.{k} = t.{quote(name)}" for k, name in _numbered(relation))
        log = qualify(self.log)
        return RangeUpdate(
            # Another copy begins anew.
            step_object=f"copy into {shadow.oid}",
            tables=(self.table,),
            update=lambda table, pages: (
                f"INSERT INTO {place} ({columns}) SELECT {columns} FROM ONLY {table} AS t "
                f"WHERE {pages} ON CONFLICT ({key}) DO NOTHING"
            ),
            left=lambda table: (
                f"SELECT count(*) FROM ONLY {table} AS t "
                f"WHERE NOT EXISTS (SELECT FROM {place} AS s WHERE {same}) "
                f"AND NOT EXISTS (SELECT FROM {log} AS l WHERE {known})"
            ),
            vacuums=False,
        )


@dataclass(frozen=True)
class CopyRows:
    """The work of copying."""

    rewrite: Rewrite

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        facts = run_ranges(self.rewrite.make_work(context.catalog), context)
        with context.connect(Patience.BATCH) as connection:
            mark(connection, self.rewrite.shadow, COPIED)
        return facts


@dataclass(frozen=True)
class CatchUp:
    """Looks up what was written down until few keys are left."""

    rewrite: Rewrite

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`. Raises StepFailed where the application writes faster."""
        rows = 0
        apply = self.rewrite.make_apply(context.catalog.relations[self.rewrite.table])
        log = qualify(self.rewrite.log)
        with context.connect(Patience.SCAN) as connection, context.control.watching(connection):
            for _ in range(ROUNDS):
                context.control.check()
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    found = catch_up(connection, apply)
                rows += found
                if found <= FEW:
                    return {"keys": rows}
                connection.execute(f"VACUUM (TRUNCATE false, SKIP_LOCKED) {log}".encode())
        table = qualify(self.rewrite.table)
        raise StepFailed(context.step, f"{table}: it is written to faster than it can be copied")


@dataclass(frozen=True)
class ProveCopy:
    """Compares every row of both in one snapshot, and lets the planner know the copy."""

    rewrite: Rewrite

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`. Raises StepFailed where they differ; the next run copies anew."""
        CatchUp(self.rewrite).run(context)
        relation = context.catalog.relations[self.rewrite.table]
        tables = (self.rewrite.table, self.rewrite.shadow)
        with context.connect(Patience.SCAN) as connection, context.control.watching(connection):
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                catch_up(connection, self.rewrite.make_apply(relation))
                found = [_summed(connection, relation, table) for table in tables]
            if found[0] != found[1]:
                mark(connection, self.rewrite.shadow, BROKEN)
                told = f"{found[1][0]:,} rows, or other values, where the table has {found[0][0]:,}"
                reason = f"{qualify(self.rewrite.shadow)} has {told}; run again to copy anew"
                raise StepFailed(context.step, reason)
            connection.execute(f"VACUUM (ANALYZE) {qualify(self.rewrite.shadow)}".encode())
            mark(connection, self.rewrite.shadow, PROVED)
        return {"rows": found[0][0], "checksum": found[0][1]}


def catch_up(connection: Connection, apply: tuple[str, ...]) -> int:
    """Within a transaction of one snapshot; how many entries there were."""
    found = 0
    for statement in apply:
        found = connection.execute(statement.encode()).rowcount
    return found


def mark(connection: Connection, shadow: TableName, said: str) -> None:
    """What is true of the copy from here on."""
    connection.execute(f"COMMENT ON TABLE {qualify(shadow)} IS {literal(said)}".encode())


def written(relation: Relation) -> str:
    """The columns that can be written, as SQL."""
    return ", ".join(quote(one.name) for one in relation.columns if not one.generated)


def _summed(connection: Connection, relation: Relation, table: TableName) -> tuple[int, str]:
    row = ", ".join(f"t.{quote(one.name)}" for one in relation.columns)
    hashed = f'sum(hashtextextended(ROW({row})::text COLLATE "C", 0)::numeric)'
    query = f"SELECT count(*), COALESCE({hashed}, 0)::text FROM ONLY {qualify(table)} AS t"
    [(rows, summed)] = connection.execute(query.encode()).fetchall()
    return rows, summed


def _numbered(relation: Relation) -> list[tuple[str, str]]:
    """A column of the log for each of the key."""
    return [(f"k{number}", name) for number, name in enumerate(relation.primary_key, 1)]
