"""Decides what the probe looks up: pure, from the settings and what the catalog shows.

A row is drawn through an index, by a jump to a random place between the lowest and the highest
key; where no column has an index, by sampling pages. Never by a sequential scan: on a table of
any size that would be the slowest statement of the day, run by the one who measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg import sql

from phasegate.contract.settings import Settings

INTEGERS = frozenset({"smallint", "integer", "bigint"})
SAMPLED_ROWS = 1_000.0


@dataclass(frozen=True)
class Column:
    """A column as the catalog shows it. `rows` is the planner's estimate for the table."""

    name: str
    type: str
    indexed: bool
    key: bool
    rows: float
    readable: bool


@dataclass(frozen=True)
class Timed:
    """One statement to time, under the labels of its series."""

    query_type: str
    schema: str
    table: str
    sql: str
    column: str

    @property
    def labels(self) -> tuple[str, str, str]:
        """query_type, schema, table."""
        return self.query_type, self.schema, self.table


@dataclass(frozen=True)
class Group:
    """Statements that are timed on the same row, and how that row is drawn."""

    timed: tuple[Timed, ...]
    columns: tuple[str, ...]
    draw: str
    bounds: str
    kind: str


@dataclass(frozen=True)
class Absent:
    """A lookup that is not made, and why: a word for the label."""

    query_type: str
    schema: str
    table: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is looked up on one server, and what is not."""

    groups: tuple[Group, ...]
    absent: tuple[Absent, ...]

    @property
    def timed(self) -> list[Timed]:
        """Every lookup, group by group."""
        return [timed for group in self.groups for timed in group.timed]

    @property
    def session_settings(self) -> dict[str, str]:
        """What decides how the server understands and plans the lookups."""
        schemas = dict.fromkeys(["pg_catalog", *(timed.schema for timed in self.timed), "public"])
        return {
            "search_path": ", ".join(sql.Identifier(schema).as_string() for schema in schemas),
            "enable_indexonlyscan": "off",  # a lookup of a row reads the row
        }


Catalog = dict[tuple[str, str], dict[str, Column]]
Indexes = dict[tuple[str, str, str], list[int]]


def wanted_tables(settings: Settings) -> list[tuple[str, str]]:
    """Every table whose columns must be known."""
    named = [(t.name.schema, t.name.table) for t in settings.tables]
    named += [(e.parameter.schema, e.parameter.table) for e in settings.lookups]
    return list(dict.fromkeys(named))


def plan_lookups(settings: Settings, catalog: Catalog) -> Plan:
    """Per table its UUID and its integer key in pairs on one row; then each entry of `lookups`."""
    groups: list[Group] = []
    absent: list[Absent] = []
    for table in settings.tables:
        schema, name = table.name
        columns = catalog.get((schema, name), {})
        integer = next((c.name for c in columns.values() if c.key and c.type in INTEGERS), None)
        timed = []
        for query_type, column in (("uuid_lookup", table.uuid_column), ("id_lookup", integer)):
            reason = _why_not(columns, column, "uuid" if query_type == "uuid_lookup" else None)
            if reason:
                absent.append(Absent(query_type, schema, name, reason))
            elif column is not None:
                text = _select(schema, name, column)
                timed.append(Timed(query_type, schema, name, text, column))
        if timed:
            groups.append(_group(timed, columns))
    for entry in settings.lookups:
        schema, name, column = entry.parameter
        columns = catalog.get((schema, name), {})
        reason = _why_not(columns, column, None)
        if reason:
            absent.append(Absent(entry.query_type, schema, name, reason))
        else:
            timed = [Timed(entry.query_type, schema, name, entry.sql, column)]
            groups.append(_group(timed, columns))
    return Plan(tuple(groups), tuple(absent))


def _why_not(columns: dict[str, Column], name: str | None, kind: str | None) -> str:
    if not columns:
        return "no_table"
    column = columns.get(name) if name is not None else None
    if column is None:
        return "no_column"
    if kind is not None and column.type != kind:
        return "wrong_type"
    return "" if column.readable else "no_privilege"


def _select(schema: str, table: str, column: str) -> str:
    text = sql.SQL("SELECT {0} FROM {1} WHERE {0} = $1").format(
        sql.Identifier(column), sql.Identifier(schema, table)
    )
    return text.as_string()


def _group(timed: Sequence[Timed], columns: dict[str, Column]) -> Group:
    names = tuple(dict.fromkeys(t.column for t in timed))
    schema, table = timed[0].schema, timed[0].table
    axis = _axis(columns.values())
    parts = {
        "columns": sql.SQL(", ").join(map(sql.Identifier, names)),
        "table": sql.Identifier(schema, table),
        "axis": sql.Identifier(axis.name if axis else names[0]),
    }
    if axis is None:
        rows = max(1.0, *(c.rows for c in columns.values()))
        share = sql.Literal(round(min(100.0, 100.0 * SAMPLED_ROWS / rows), 6))
        draw = sql.SQL("SELECT {columns} FROM {table} TABLESAMPLE SYSTEM ({share}) LIMIT 1")
        text = draw.format(**parts, share=share).as_string()
        return Group(tuple(timed), names, text, "SELECT 1", "sample")
    draw = sql.SQL("SELECT {columns} FROM {table} WHERE {axis} >= $1 ORDER BY {axis} LIMIT 1")
    ends = sql.SQL(
        "SELECT (SELECT {axis} FROM {table} WHERE {axis} IS NOT NULL ORDER BY {axis} LIMIT 1),"
        " (SELECT {axis} FROM {table} WHERE {axis} IS NOT NULL ORDER BY {axis} DESC LIMIT 1)"
    )
    kind = "integer" if axis.type in INTEGERS else "uuid"
    bounds = ends.format(**parts).as_string()
    return Group(tuple(timed), names, draw.format(**parts).as_string(), bounds, kind)


def _axis(columns: Iterable[Column]) -> Column | None:
    """The column along which rows are drawn: an integer key first, since UUIDs of version 7 crowd
    at one end; then any indexed UUID."""
    usable = [c for c in columns if c.indexed and c.readable and c.type in INTEGERS | {"uuid"}]
    return min(usable, key=lambda c: (not c.key, c.type == "uuid", c.name), default=None)
