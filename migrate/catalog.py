"""What the server's catalog says of the tables of a migration, read in one snapshot.

Operations decide on this alone, so they are pure; whoever needs another fact of the catalog adds it
here and to `sql/catalog.sql`. Names are bare, never quoted, as in the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg

from phasegate.contract.errors import LockNotAcquired
from phasegate.contract.names import TableName

TABLE, PARTITIONED, VIEW, MATERIALIZED, FOREIGN = "r", "p", "v", "m", "f"


@dataclass(frozen=True)
class Column:
    """`type` as format_type writes it; `default` as SQL, empty for none; `identity` is a, d or
    empty; `generated` is s, v or empty. `sequence` is the one that the column owns: its schema, its
    name, its options as SQL writes them; empty for none. `grants` are those on the column alone:
    to whom (empty for everybody), and what. `definition` makes another like it, but for NOT NULL
    and identity, and `settings` are what ALTER COLUMN adds to that. Of the named tables alone:
    `place`, how it lies in a row."""

    name: str
    type: str
    number: int
    not_null: bool
    default: str
    identity: str
    generated: str
    collation: str
    inherited: bool
    grants: tuple[tuple[str, str], ...]
    sequence: tuple[str, ...] = ()
    sequence_grants: tuple[tuple[str, str, bool], ...] = ()
    """Those on that sequence, as `Relation.grants`."""
    comment: str = ""
    definition: str = ""
    settings: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True)
class Place:
    """How a column lies in a row: `alignment` in bytes (1, 2, 4, 8), `width` the type's fixed
    length or, as far as ANALYZE has seen it, the average of what is stored; `fixed` whether it is
    the former; `nulls` the share of rows in which it is NULL."""

    alignment: int
    width: float
    fixed: bool
    nulls: float = 0.0


@dataclass(frozen=True)
class Index:
    """`columns` are those of the key, None for an expression; `constraint` is the name of the one
    that it serves, empty for none. `body` is what of the definition comes after the table's name;
    `replica` says that it is the table's replica identity."""

    name: TableName
    columns: tuple[str | None, ...]
    unique: bool
    primary: bool
    valid: bool
    ready: bool
    partial: bool
    immediate: bool
    constraint: str
    definition: str
    method: str
    body: str = ""
    comment: str = ""
    replica: bool = False


@dataclass(frozen=True)
class Constraint:
    """`type` is pg_constraint's contype: p, u, f, c, n (not null, from 18), x. `references` and
    `referenced` are set for foreign keys; `actions` are its update, delete and match types."""

    name: str
    type: str
    columns: tuple[str, ...]
    validated: bool
    deferrable: bool
    deferred: bool
    definition: str
    references: TableName | None
    referenced: tuple[str, ...]
    actions: str
    inherited: bool
    comment: str = ""


@dataclass(frozen=True)
class Trigger:
    """One that users see. `enabled` is O, A, R or D; `type` is pg_trigger's bit set tgtype;
    `source` is the body of its function."""

    name: str
    function: TableName
    enabled: str
    type: int
    definition: str
    source: str
    cloned: bool
    comment: str = ""

    @property
    def before(self) -> bool:
        """Whether it fires before the change."""
        return bool(self.type & 2)

    @property
    def on_update(self) -> bool:
        """Whether it fires for updates."""
        return bool(self.type & 16)


@dataclass(frozen=True)
class Dependent:
    """Something that names the table: `kind` is view, materialized view, rule, policy, publication,
    function (that names it in its body), bound function (that would follow it to another name),
    rule of its own, publication of many (or of many by root), statistics, generated column, foreign
    table's child, user of the primary key (which goes with the key) …"""

    kind: str
    name: str
    definition: str


@dataclass(frozen=True)
class Relation:
    """One table. `kind` is pg_class's relkind, `persistence` p, u or t. `rows` is the planner's
    estimate, -1 before the first ANALYZE; `bytes` its size with indexes and TOAST, `pages` of the
    heap alone. `grants` are those of others than the owner: to whom (empty for everybody), what,
    and whether it may be passed on. `bound` is that of a partition, `partition_key` that of a
    partitioned table; `detaching`, a partition whose detach was begun and not ended."""

    name: TableName
    oid: int
    kind: str
    persistence: str
    owner: str
    rows: int
    bytes: int
    pages: int
    row_security: bool
    forced_row_security: bool
    replica_identity: str
    grants: tuple[tuple[str, str, bool], ...]
    options: tuple[str, ...]
    tablespace: str
    comment: str
    partition_key: str
    bound: str
    parents: tuple[TableName, ...]
    children: tuple[TableName, ...]
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    constraints: tuple[Constraint, ...]
    triggers: tuple[Trigger, ...]
    dependents: tuple[Dependent, ...] = ()
    of_type: str = ""
    """The composite type that a typed table is of; empty for others."""
    may_create: bool = True
    """Whether we may make something (an index, a table) in its schema."""
    detaching: bool = False
    peculiar: tuple[str, ...] = ()
    """Of a named table, in words: what another one made from these facts would lack."""

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((one for one in self.columns if one.name == name), None)

    def index(self, name: str) -> Index | None:
        """The index of that bare name; it stands in the table's schema."""
        return next((one for one in self.indexes if one.name.table == name), None)

    def constraint(self, name: str) -> Constraint | None:
        """The constraint of that name."""
        return next((one for one in self.constraints if one.name == name), None)

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of that name."""
        return next((one for one in self.triggers if one.name == name), None)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """Its columns; empty without one."""
        found = [one.columns for one in self.constraints if one.type == "p"]
        return found[0] if found else ()


@dataclass(frozen=True)
class Function:
    """A function in schema phasegate or one that a trigger calls; `hash` is the SHA-256 of its
    definition (pg_get_functiondef), `source` its body. `definer` is SECURITY DEFINER, `settings`
    what it sets while it runs."""

    name: TableName
    arguments: str
    hash: str
    owner: str
    source: str = ""
    definer: bool = False
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """`version` is server_version_num, `now` the server's time in Unix seconds. `relations` holds
    the named tables, their partitions and children, and every table with a foreign key from or to
    one of them; `taken` every name beside a named table that one made of its name could meet.
    `role` is ours, `bypasses` whether row security does not concern it, `member_of` the roles
    whose rights we have, `standby` whether the server only replays another one."""

    version: int
    database: str
    now: float
    role: str
    superuser: bool
    bypasses: bool
    relations: Mapping[TableName, Relation]
    functions: Mapping[TableName, Function] = field(default_factory=dict)
    event_triggers: tuple[str, ...] = ()
    member_of: frozenset[str] = frozenset()
    standby: bool = False
    taken: frozenset[TableName] = frozenset()
    default_grantees: tuple[str, ...] = ()
    """Who gets a right on each table that we make (ALTER DEFAULT PRIVILEGES); empty for
    everybody."""

    def get(self, name: TableName) -> Relation | None:
        """The relation of that name, None where there is none."""
        return self.relations.get(name)

    def references_to(self, name: TableName) -> tuple[tuple[Relation, Constraint], ...]:
        """Every foreign key that points to the table, with the table that has it."""
        return tuple(
            (relation, constraint)
            for relation in self.relations.values()
            for constraint in relation.constraints
            if constraint.type == "f" and constraint.references == name and not constraint.inherited
        )


@cache
def load_sql(topic: str) -> dict[str, str]:
    """The statements of `sql/<topic>.sql` by name; each begins with a line `-- name: …`."""
    text = files("phasegate.migrate").joinpath("sql", f"{topic}.sql").read_text("utf-8")
    found = {}
    for part in text.split("-- name:")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip().rstrip(";")
    return found


@contextmanager
def _telling_locks() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise LockNotAcquired(
            "the catalog cannot be read: somebody holds ACCESS EXCLUSIVE on one of the tables; "
            "pg_locks tells who; the same command goes on when it is free"
        ) from None


def fetch_catalog(connection: psycopg.Connection[Any], names: Iterable[TableName]) -> Catalog:
    """Read it all in one snapshot. `connection` is in autocommit; raises psycopg.Error, and
    LockNotAcquired while somebody holds a lock that forbids even to look at a table's size."""
    named = list(names)
    parameters = {
        "schemas": [name.schema for name in named],
        "tables": [name.table for name in named],
    }
    queries = load_sql("catalog")
    with _telling_locks(), connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        [server] = cursor.execute(queries["server"].encode()).fetchall()
        rows = cursor.execute(queries["relations"].encode(), parameters).fetchall()
        found = cursor.execute(queries["functions"].encode()).fetchall()
        taken = cursor.execute(queries["names"].encode(), parameters).fetchall()
        grantees = cursor.execute(queries["default_grantees"].encode()).fetchall()
    functions = {one.name: one for one in map(_function, found)}
    relations = (_relation(row[0]) for row in rows)
    version, database, now, role, superuser, bypasses, event_triggers, member_of, standby = server
    return Catalog(
        version=version,
        database=database,
        now=now,
        role=role,
        superuser=superuser,
        bypasses=bypasses,
        relations={one.name: one for one in relations},
        functions=functions,
        event_triggers=tuple(event_triggers),
        member_of=frozenset(member_of),
        taken=frozenset(TableName(*one) for one in taken),
        default_grantees=tuple(one for (one,) in grantees),
        standby=standby,
    )


def _function(row: tuple[Any, ...]) -> Function:
    schema, name, arguments, digest, owner, source, definer, settings = row
    return Function(
        TableName(schema, name), arguments, digest, owner, source, definer, tuple(settings)
    )


def _relation(data: dict[str, Any]) -> Relation:
    """From one JSON object of the query `relations`, whose keys are the fields."""
    return Relation(
        **{
            **data,
            "name": TableName(*data["name"]),
            "grants": tuple(map(tuple, data["grants"])),
            "options": tuple(data["options"]),
            "peculiar": tuple(data["peculiar"]),
            "parents": tuple(TableName(*one) for one in data["parents"]),
            "children": tuple(TableName(*one) for one in data["children"]),
            "columns": tuple(
                Column(
                    **{
                        **one,
                        "grants": tuple(map(tuple, one["grants"])),
                        "sequence": tuple(one["sequence"]),
                        "sequence_grants": tuple(map(tuple, one["sequence_grants"])),
                        "settings": tuple(one["settings"]),
                        "place": None if one["place"] is None else Place(**one["place"]),
                    }
                )
                for one in data["columns"]
            ),
            "indexes": tuple(
                Index(**{**one, "name": TableName(*one["name"]), "columns": tuple(one["columns"])})
                for one in data["indexes"]
            ),
            "constraints": tuple(_constraint(one) for one in data["constraints"]),
            "triggers": tuple(
                Trigger(**{**one, "function": TableName(*one["function"])})
                for one in data["triggers"]
            ),
            "dependents": tuple(Dependent(**one) for one in data["dependents"]),
        }
    )


def _constraint(data: dict[str, Any]) -> Constraint:
    references = data["references"]
    return Constraint(
        **{
            **data,
            "columns": tuple(data["columns"]),
            "referenced": tuple(data["referenced"]),
            "references": None if references is None else TableName(*references),
        }
    )
