"""How the server plans the configured lookups, the permission query first among them.

EXPLAIN of the generic plan, inside a read-only transaction: nothing is executed. A small table is
rightly read whole, so only larger ones count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.exporter.lookups import Column, Plan, Timed, plan_lookups, wanted_tables
from phasegate.exporter.queries import load_queries
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.operate.doctor import Finding, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Connection, Ground, fetch_rows
from phasegate.operate.doctor_plans import Scan, describe, find_scans, find_tables

SUMMARY = "the permission query and every lookup use an index (EXPLAIN, nothing is executed)"
LARGE_BYTES = 512 * 1024
_PLACE = "database-operations.md#highuuidlookuplatency"
_ABSENT = {
    "no_table": "its table is not there",
    "no_column": "its column is not there yet",
    "wrong_type": "its column is no uuid",
}
_PLANNED_UNDER = {
    "plan_cache_mode": "force_generic_plan",
    "enable_partition_pruning": "off",
    "row_security": "on",
}
_FACTS = """
SELECT
    c.relkind::text,
    COALESCE(pg_relation_size(c.oid), 0),
    ARRAY(
        SELECT a.attname::text
        FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
    ),
    ARRAY(
        SELECT i.indexrelid::regclass::text
        FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND NOT i.indisvalid AND a.attname = ANY (%(columns)s)
    )
FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = %(table)s
"""


class Facts(NamedTuple):
    """Of a table that is read whole: relkind, bytes, the columns that a valid index leads, and the
    invalid indexes on what it is looked up by."""

    kind: str
    size: int
    led: list[str]
    invalid: list[str]


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    settings = ground.settings
    if not wanted_tables(settings):
        yield ok("no tables and no lookups are configured")
        return
    with ground.look() as connection:
        plan = fetch_lookups(connection, settings)
        for absent in plan.absent:
            what = f"{absent.query_type} on {absent.schema}.{absent.table}"
            if absent.reason == "no_privilege":
                remedy = "phasegate init --grants > grants.sql"
                yield unknown(
                    f"{what}: our role may not read it", remedy, "exporter.md#collectorfailing"
                )
            else:
                yield ok(f"{what}: {_ABSENT.get(absent.reason, absent.reason)}")
        for timed in plan.timed:
            yield from _examine_one(connection, timed, plan, settings)


def fetch_lookups(connection: Connection, settings: Settings) -> Plan:
    """What the exporter looks up. Raises psycopg.Error."""
    tables = wanted_tables(settings)
    parameters = {"schemas": [s for s, _ in tables], "tables": [t for _, t in tables]}
    catalog: dict[tuple[str, str], dict[str, Column]] = {}
    query = load_queries("latency")["columns"].sql
    for schema, table, *facts in fetch_rows(connection, query, parameters):
        column = Column(*facts)
        catalog.setdefault((schema, table), {})[column.name] = column
    return plan_lookups(settings, catalog)


def fetch_plan(connection: Connection, timed: Timed, plan: Plan) -> Mapping[str, Any]:
    """EXPLAIN's topmost node of the lookup's generic plan, in a savepoint that is rolled back, so
    that one lookup that cannot be planned spoils no other. Raises psycopg.Error."""
    queries = load_queries("plans")
    with connection.transaction(force_rollback=True):
        for name, value in {**plan.session_settings, **_PLANNED_UNDER}.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        connection.execute(
            sql.SQL(queries["prepare"].sql).format(lookup=sql.SQL(timed.sql)), prepare=False
        )
        [[[explained]]] = fetch_rows(connection, queries["explain"].sql)
        connection.execute(queries["deallocate"].sql.encode())
    root: Mapping[str, Any] = explained["Plan"]
    return root


def fetch_tables_read(connection: Connection, settings: Settings) -> list[TableName]:
    """The tables that gain UUIDs, and every one that a lookup reads. Raises psycopg.Error."""
    plan, found = fetch_lookups(connection, settings), [one.name for one in settings.tables]
    for timed in plan.timed:
        try:
            found += find_tables(fetch_plan(connection, timed, plan))
        except psycopg.Error:
            continue  # told by this check
    return list(dict.fromkeys(found))


def _examine_one(
    connection: Connection, timed: Timed, plan: Plan, settings: Settings
) -> Iterator[Finding]:
    what = f"{timed.query_type} on {timed.schema}.{timed.table}"
    try:
        root = fetch_plan(connection, timed, plan)
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "phasegate init --grants > grants.sql"
        yield unknown(f"{what}: {_primary(error)}", remedy, "exporter.md#collectorfailing")
        return
    except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
        raise
    except psycopg.Error as error:
        cause = "the lookup does not fit the schema as it is"
        yield problem(
            f"{what}: it cannot be planned: {_primary(error)}",
            cause,
            "correct `lookups` in phasegate.yaml",
            _PLACE,
        )
        return
    found: list[Finding] = []
    for scan in find_scans(root):
        columns = {"columns": list(scan.columns)}
        names = {"schema": scan.table.schema, "table": scan.table.table}
        rows = fetch_rows(connection, _FACTS, {**columns, **names})
        if rows:
            found += evaluate_scan(what, describe(root), scan, Facts(*rows[0]), settings)
    yield from found or [ok(f"{what}: {describe(root)}")]


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip()


def evaluate_scan(
    what: str, shape: str, scan: Scan, facts: Facts, settings: Settings
) -> Iterator[Finding]:
    """What a table that is read whole lacks; nothing where it is small."""
    if facts.size < LARGE_BYTES:
        return
    table = qualify(scan.table)
    told = f"{what}: Seq Scan on {table} ({facts.size // 1024:,} KiB); the plan: {shape}"
    missing = scan.missing(facts.led)
    if facts.invalid:
        named = ", ".join(facts.invalid)
        rebuild = "\n".join(f"REINDEX INDEX CONCURRENTLY {one};" for one in facts.invalid)
        yield problem(told, f"the index that would serve is invalid: {named}", rebuild, _PLACE)
    elif scan.cast:
        cast = scan.cast[0]
        yield problem(
            told,
            f"{quote(cast)} is compared as another type, which no plain index on it serves",
            f"compare {quote(cast)} with a value of its own type in the query, without a cast",
            _PLACE,
        )
    elif missing:
        create = render_index(scan.table, missing, facts.kind, settings)
        cause = f"no index leads with {quote(missing)}"
        yield problem(told, cause, create, _PLACE)
    else:
        yield warning(
            told,
            "an index is there, and the server does not take it: old statistics, or a query that "
            "reads most of the table",
            f"ANALYZE {table};",
            _PLACE,
        )


def render_index(table: TableName, column: str, kind: str, settings: Settings) -> str:
    """The statement that builds the index beside the traffic; the migration's own where it is the
    UUID of a configured table."""
    if any(one.name == table and one.uuid_column == column for one in settings.tables):
        name = UniqueIndex(table, column).name
        made = (
            f"CREATE UNIQUE INDEX CONCURRENTLY {quote(name)} ON {qualify(table)} ({quote(column)});"
        )
        return f"{made}\nwhich is what this does: phasegate migrate resume --until schema"
    name = derive(table.table, column, "idx")
    if kind == "p":
        only = f"CREATE INDEX {quote(name)} ON ONLY {qualify(table)} ({quote(column)});"
        return f"{only}\nthen CREATE INDEX CONCURRENTLY on each partition, and ATTACH each to it"
    return f"CREATE INDEX CONCURRENTLY {quote(name)} ON {qualify(table)} ({quote(column)});"
