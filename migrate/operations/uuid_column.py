"""A UUID column, its default and the trigger that guards it, in one transaction.

Without a default at its birth the column is no rewrite. A default alone is no dual write: an
explicit NULL beats it, and a partition that is written directly does not inherit one; a trigger
that is enabled always lets neither. Both come in the transaction of the column, so no row can slip
through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import (
    FOREIGN,
    MATERIALIZED,
    PARTITIONED,
    TABLE,
    Catalog,
    Column,
    Relation,
    Trigger,
)
from phasegate.migrate.identifiers import derive, derive_apart, literal, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Refusal
from phasegate.migrate.refusals import refuse_hidden_rows, refuse_unowned

UUIDV7_VERSION = 180_000
_KINDS = {FOREIGN: "a foreign table", MATERIALIZED: "a materialized view"}
_BEFORE_ROW = 1 + 2 + 4 + 16  # pg_trigger.tgtype: a row, before, insert, update
_ONLY_WHEN_NULL = r'(?s)BEFORE INSERT OR UPDATE ON .* WHEN \(\(new\.("?){}\1 IS NULL\)\) EXECUTE'
_SYSTEM_COLUMNS = frozenset({"tableoid", "ctid", "xmin", "cmin", "xmax", "cmax"})
_ADDED = "-- The column came with this function, and goes with it."
_ADOPTED = "-- The column was there before this function, and stays without it."
_FORBADE_NULL = "-- The column was NOT NULL before."
_DEFAULTED = "-- So it is with the default of the column."
_SEARCH_PATH = "pg_catalog, pg_temp"
_BODY = """
BEGIN
    {marks}
    IF NEW.{column} IS NULL THEN
        NEW.{column} := {generate};
    END IF;
    RETURN NEW;
END
"""
# RFC 9562, 5.7: 48 bits of milliseconds, and of a random UUID all but the version, which the two
# bits turn from 4 into 7.
_UUIDV7 = f"""CREATE FUNCTION {SCHEMA}.uuidv7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = {_SEARCH_PATH} AS $body$
SELECT encode(set_bit(set_bit(overlay(
    uuid_send(gen_random_uuid())
    PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
    FROM 1 FOR 6
), 52, 1), 53, 1), 'hex')::uuid
$body$"""


@dataclass(frozen=True)
class UuidColumn:
    """`version` of the UUIDs is 4 or 7. A column that is there already, of the right type, is
    adopted: it gets what it lacks, and an undo leaves it."""

    kind: ClassVar[str] = "uuid_column"
    loss: ClassVar[str] = "the UUIDs of every row, which nothing can make again"
    table: TableName
    column: str
    version: int = 4

    @property
    def object(self) -> str:
        """The column, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.column)}"

    @property
    def function(self) -> TableName:
        """The function of the trigger."""
        return TableName(SCHEMA, derive_apart("fill", *self.table, self.column))

    @property
    def trigger(self) -> str:
        """The trigger's name, the same on every table."""
        return derive("phasegate_fill", self.column)

    def was_not_null(self, catalog: Catalog) -> bool:
        """Whether the column was there, and NOT NULL, before us: then an undo leaves it so."""
        function = catalog.functions.get(self.function)
        return function is not None and _FORBADE_NULL in function.source

    def generate(self, catalog: Catalog) -> str:
        """The SQL of one new UUID on that server."""
        if self.version == 4:
            return "gen_random_uuid()"
        return "uuidv7()" if catalog.version >= UUIDV7_VERSION else f"{SCHEMA}.uuidv7()"

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        if relation is None:
            remedy = "correct its name in tables, or create it"
            return (Refusal(qualify(self.table), "there is no such table", remedy),)
        return tuple(self._refusals(relation, catalog))

    def _refusals(self, relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
        name = qualify(self.table)
        if relation.kind not in (TABLE, PARTITIONED):
            found = _KINDS.get(relation.kind, "a view")
            yield Refusal(name, f"it is {found}", "name the table that holds the rows")
            return
        if relation.persistence == "t":
            yield Refusal(name, "it is a temporary table", "name a permanent one")
        if relation.of_type:
            yield Refusal(
                name,
                f"it is a typed table, of {relation.of_type}: no column can be added to it",
                f"ALTER TABLE {name} NOT OF",
            )
        for one in _family(relation, catalog):
            yield from self._of_one(one, catalog)
        yield from refuse_hidden_rows(relation, catalog)
        if relation.parents and relation.bound:
            parents = ", ".join(qualify(parent) for parent in relation.parents)
            yield Refusal(name, f"it is a partition of {parents}", "name the partitioned table")
        yield from self._of_column(relation)

    def _of_one(self, relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
        name = qualify(relation.name)
        if relation.kind == FOREIGN:
            found = "it holds rows of it elsewhere, where no column would be added"
            yield Refusal(name, f"{found}: {qualify(self.table)}", "detach the foreign table")
        yield from refuse_unowned(relation, catalog)

    def _of_column(self, relation: Relation) -> Iterator[Refusal]:
        if self.column in _SYSTEM_COLUMNS:
            yield Refusal(self.object, "every table has it", "give another uuid_column")
        column = relation.column(self.column)
        if column is not None and column.inherited and relation.parents:
            parents = ", ".join(qualify(parent) for parent in relation.parents)
            remedy = f"name {parents} alone: what inherits goes with it"
            yield Refusal(self.object, f"the column is inherited from {parents}", remedy)
        if column is not None and column.type != "uuid":
            yield Refusal(
                self.object,
                f"the column is there already and is of type {column.type}",
                "give another uuid_column, or change its type to uuid",
            )
        if column is not None and column.generated:
            yield Refusal(self.object, "the column is generated", "give another uuid_column")

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        statements = [*self._make_generator(catalog), *self._make_column(relation, catalog)]
        statements += self._make_grants(relation)
        for one in self._guarded(relation, catalog):
            statements += self._make_trigger(one)
        for one in _family(relation, catalog):
            clone = one.trigger(self.trigger)
            if clone is not None and clone.cloned and clone.enabled != "A":
                statements.append(self._always(one))
        if not statements:
            return ()
        what = f"add {self.object}, its default and the trigger that fills it"
        if relation.column(self.column) is not None:
            what = f"give {self.object} what it lacks: default, or the trigger that fills it"
        locks = self._locks(relation, catalog)
        return (Action(what, tuple(statements), locks=locks),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        guarded = self._guarded(relation, catalog)
        statements = [
            f"DROP TRIGGER {quote(self.trigger)} ON {qualify(one.name)}"
            for one in guarded
            for trigger in one.triggers
            if trigger.name == self.trigger and trigger.function == self.function
        ]
        function = catalog.functions.get(self.function)
        if function is None:
            return ()
        statements.append(f"DROP FUNCTION {qualify(self.function)}()")
        added = _ADDED in function.source
        if relation.column(self.column) is not None:
            table, name = qualify(self.table), quote(self.column)
            if added:
                statements.append(f"ALTER TABLE {table} DROP COLUMN {name}")
            elif _DEFAULTED in function.source:
                statements.append(f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT")
        what = f"drop {self.object}" if added else f"let {self.object} alone"
        locks = self._locks(relation, catalog)
        return (Action(f"{what}, and the trigger that fills it", tuple(statements), locks=locks),)

    def _locks(self, relation: Relation, catalog: Catalog) -> tuple[Lock, ...]:
        return tuple(
            Lock(LockMode.ACCESS_EXCLUSIVE, qualify(one.name)) for one in _family(relation, catalog)
        )

    def _make_generator(self, catalog: Catalog) -> list[str]:
        own = TableName(SCHEMA, "uuidv7")
        needed = self.generate(catalog).startswith(f"{SCHEMA}.") and own not in catalog.functions
        # The default runs with the rights of whoever writes the table; a database may give nobody
        # the right to call what is new in it.
        grant = f"GRANT EXECUTE ON FUNCTION {qualify(own)}() TO PUBLIC"
        return [_UUIDV7, grant] if needed else []

    def _make_column(self, relation: Relation, catalog: Catalog) -> list[str]:
        table, name = qualify(self.table), quote(self.column)
        column = relation.column(self.column)
        statements = []
        body = self._body(column, catalog)
        function = catalog.functions.get(self.function)
        if function is None or (function.source, function.definer, function.settings) != (
            body,
            True,
            (f"search_path={_SEARCH_PATH}",),
        ):
            # Whoever may write the table need not be allowed to do what the default does.
            statements.append(
                f"CREATE OR REPLACE FUNCTION {qualify(self.function)}() RETURNS trigger\n"
                f"LANGUAGE plpgsql SECURITY DEFINER SET search_path = {_SEARCH_PATH} AS "
                f"{literal(body)}"
            )
        if column is None:
            statements.append(f"ALTER TABLE {table} ADD COLUMN {name} uuid")
        if column is None or not column.default:
            generate = self.generate(catalog)
            statements.append(f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {generate}")
        return statements

    def _body(self, column: Column | None, catalog: Catalog) -> str:
        """Of the function. It also tells an undo what of the column is ours, as it stands and falls
        with the transaction that made it."""
        function = catalog.functions.get(self.function)
        known = "" if function is None else function.source
        marks = [_ADDED if column is None or _ADDED in known else _ADOPTED]
        if column is None or not column.default or _DEFAULTED in known:
            marks.append(_DEFAULTED)
        if _FORBADE_NULL in known or (function is None and column is not None and column.not_null):
            marks.append(_FORBADE_NULL)
        return _BODY.format(
            marks="\n    ".join(marks), column=quote(self.column), generate=self.generate(catalog)
        )

    def _make_grants(self, relation: Relation) -> list[str]:
        """Who was given the key's columns alone is given this one too: it is another key of the
        same row, and the exporter's role could not measure what it may not read."""
        column = relation.column(self.column)
        has = () if column is None else column.grants
        keys = [one for one in relation.columns if one.name in relation.primary_key]
        wanted = dict.fromkeys(grant for key in keys for grant in key.grants)
        return [
            f"GRANT {privilege} ({quote(self.column)}) ON {qualify(self.table)} "
            f"TO {quote(grantee) if grantee else 'PUBLIC'}"
            for grantee, privilege in wanted
            if (grantee, privilege) not in has
        ]

    def _guarded(self, relation: Relation, catalog: Catalog) -> list[Relation]:
        """The tables that need a trigger of their own: partitions get the parent's, tables that
        merely inherit do not."""
        return _family(relation, catalog) if relation.kind == TABLE else [relation]

    def _make_trigger(self, relation: Relation) -> list[str]:
        table, name = qualify(relation.name), quote(self.trigger)
        trigger = relation.trigger(self.trigger)
        statements = []
        if trigger is not None and not self._stands(trigger):
            statements.append(f"DROP TRIGGER {name} ON {table}")
            trigger = None
        if trigger is None:
            statements.append(
                f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table}\n"
                f"FOR EACH ROW WHEN (NEW.{quote(self.column)} IS NULL) "
                f"EXECUTE FUNCTION {qualify(self.function)}()"
            )
        if trigger is None or trigger.enabled != "A":
            statements.append(self._always(relation))
        return statements

    def _always(self, relation: Relation) -> str:
        table, name = qualify(relation.name), quote(self.trigger)
        return f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"

    def _stands(self, trigger: Trigger) -> bool:
        return (
            trigger.function == self.function
            and trigger.type == _BEFORE_ROW
            # Without OF columns, and with just this condition, which spares the call for others.
            and re.search(
                _ONLY_WHEN_NULL.format(re.escape(self.column.replace('"', '""'))),
                trigger.definition,
            )
            is not None
        )


def _family(relation: Relation, catalog: Catalog) -> list[Relation]:
    """The table and all that inherits from it, each once, at every depth."""
    found = {relation.name: relation}
    for name in relation.children:
        child = catalog.get(name)
        if child is not None:
            found |= {one.name: one for one in _family(child, catalog)}
    return list(found.values())
