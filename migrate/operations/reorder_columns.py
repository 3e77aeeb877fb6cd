"""A table written anew with its columns in the order that wastes least, beside the traffic.

A copy in the other order is filled by ranges of pages and kept in step; it gets the indexes, is
proved equal, and takes the name in one transaction in which the old table goes. That is dropped
without CASCADE: what still depends on it, and nobody foresaw, lets the whole swap fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import TABLE, Catalog, Constraint, Index, Relation, Trigger
from phasegate.migrate.identifiers import derive, derive_apart, literal, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.reorder import WORTH, measure_padding
from phasegate.migrate.operations.reorder_refusals import UNPROVED, is_ours, refuse_reorder
from phasegate.migrate.operations.reorder_rows import (
    BROKEN,
    COPIED,
    PROVED,
    CatchUp,
    CopyRows,
    ProveCopy,
    Rewrite,
)
from phasegate.migrate.operations.reorder_swap import (
    TRIGGERS,
    foreign_keys,
    index_name,
    make_swap,
)

_SEARCH_PATH = "pg_catalog, pg_temp"


@dataclass(frozen=True)
class ReorderColumns:
    """Only where another order spares enough. Once the table has it nothing is left to do, and
    nothing to take back: whoever names columns sees no difference."""

    kind: ClassVar[str] = "reorder_columns"
    loss: ClassVar[str] = ""
    follows: ClassVar[bool] = True
    table: TableName

    @property
    def object(self) -> str:
        """The table, as SQL writes it."""
        return qualify(self.table)

    @property
    def rewrite(self) -> Rewrite:
        """The table, its copy, and where keys are written down."""
        shadow = TableName(self.table.schema, derive(self.table.table, "phasegate_reorder"))
        log = TableName(SCHEMA, derive_apart("reorder", *self.table))
        return Rewrite(self.table, shadow, log)

    def names(self) -> tuple[TableName, ...]:
        """Every table that the catalog must know of."""
        return self.table, self.rewrite.shadow, self.rewrite.log

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`: none where nothing would be rewritten."""
        relation = catalog.get(self.table)
        if relation is None or not (self._begun(catalog) or self._worth(relation)):
            return ()
        shadow, begun = self.rewrite.shadow, self._begun(catalog)
        return tuple(refuse_reorder(relation, catalog, shadow, begun=begun))

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind != TABLE:
            return ()
        proofs = tuple(self._prove_keys(relation, catalog))
        if not self._begun(catalog):
            # What is worth it only since it was measured anew was not asked for refusals.
            if not self._worth(relation) or self.find_refusals(catalog):
                return proofs
            return (*proofs, self._make(relation, catalog), *self._go_on(relation, None, catalog))
        shadow = catalog.get(self.rewrite.shadow)
        if shadow is None or not self._fits(relation, shadow, catalog):
            made = (self._make(relation, catalog), *self._go_on(relation, None, catalog))
            what = f"drop the copy of {self.object}, which is no longer like it"
            return (self._discard(what, relation, catalog), *made)
        return tuple(self._go_on(relation, shadow, catalog))

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: before the swap the copy goes; after it the new order
        stays, with its foreign keys proved."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        if not self._begun(catalog):
            return tuple(self._prove_keys(relation, catalog))
        what = f"drop the copy of {self.object}, and what keeps it in step"
        return (self._discard(what, relation, catalog),)

    def describe_staying(self, catalog: Catalog) -> str:
        """What no roll-back takes away, in words; empty where nothing of it is there."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind != TABLE or self._begun(catalog):
            return ""
        names = tuple(one.name for one in relation.columns)
        return (
            f"the order of {self.object}'s columns"
            if names == measure_padding(relation).order
            else ""
        )

    def _worth(self, relation: Relation) -> bool:
        return relation.kind == TABLE and measure_padding(relation).saved >= WORTH

    def _begun(self, catalog: Catalog) -> bool:
        """The function comes and goes with all the rest."""
        return self.rewrite.log in catalog.functions

    def _fits(self, relation: Relation, shadow: Relation, catalog: Catalog) -> bool:
        """Whether going on with the copy makes what the table is now."""
        function = catalog.functions.get(self.rewrite.log)
        if function is None or shadow.comment == BROKEN or catalog.get(self.rewrite.log) is None:
            return False
        body = self.rewrite.make_body(relation)
        return (
            function.source == body
            and function.definer
            and all(self._stands(relation.trigger(name), name) for name in TRIGGERS)
            and tuple(one.name for one in shadow.columns) == measure_padding(relation).order
            and describe_columns(shadow) == describe_columns(relation)
            and describe_checks(shadow) == describe_checks(relation)
            and shadow.owner == relation.owner
            and shadow.options == relation.options
            and shadow.primary_key == relation.primary_key
        )

    def _stands(self, trigger: Trigger | None, name: str) -> bool:
        """As we made it, and enabled always."""
        if trigger is None or trigger.enabled != "A":
            return False
        when, each = TRIGGERS[name]
        called = f"EXECUTE FUNCTION {self.rewrite.log.schema}."
        head = f"CREATE TRIGGER {name} {when} ON "
        return (
            trigger.definition.startswith(head)
            and f" {each} {called}" in trigger.definition
            and trigger.function == self.rewrite.log
        )

    def _make(self, relation: Relation, catalog: Catalog) -> Action:
        """The copy, empty, and what writes down the changes from here on; the triggers last."""
        shadow, log = qualify(self.rewrite.shadow), qualify(self.rewrite.log)
        statements = [
            _create(shadow, relation),
            *_describe(shadow, relation),
            *(f"REVOKE ALL ON {shadow} FROM {_to(one)}" for one in catalog.default_grantees),
            f"ALTER TABLE {shadow} OWNER TO {quote(relation.owner)}",
            *(
                statement
                for index in relation.indexes
                if index.primary
                for statement in self.build(index, relation)
            ),
            self.rewrite.make_log(relation),
            f"CREATE FUNCTION {log}() RETURNS trigger\nLANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {_SEARCH_PATH} AS {literal(self.rewrite.make_body(relation))}",
        ]
        for name, (when, each) in TRIGGERS.items():
            statements += [
                f"CREATE TRIGGER {name} {when} ON {self.object}\n{each} EXECUTE FUNCTION {log}()",
                f"ALTER TABLE {self.object} ENABLE ALWAYS TRIGGER {name}",
            ]
        return Action(
            f"make a copy of {self.object} without rows, its columns in the order "
            f"{', '.join(measure_padding(relation).order)}, and write down from here on whose rows "
            "change",
            tuple(statements),
            locks=(Lock(LockMode.SHARE_ROW_EXCLUSIVE, self.object),),
            suppressions=_OF_THE_COPY,
        )

    def _go_on(
        self, relation: Relation, shadow: Relation | None, catalog: Catalog
    ) -> Iterator[Action]:
        said = "" if shadow is None else shadow.comment
        place = qualify(self.rewrite.shadow)
        if said not in (COPIED, PROVED):
            yield Action(
                f"copy the rows of {self.object}",
                patience=Patience.BATCH,
                work=CopyRows(self.rewrite),
                locks=(Lock(LockMode.ACCESS_SHARE, self.object),),
                scans=(self.object,),
                rewrites=(self.object,),
                rows=max(0, relation.rows),
            )
        yield from self._index(relation, shadow)
        if said != PROVED or (shadow is not None and self._lacks(relation, shadow)):
            yield Action(
                f"prove that the copy of {self.object} has the same rows",
                patience=Patience.SCAN,
                work=ProveCopy(self.rewrite),
                locks=(Lock(LockMode.ACCESS_SHARE, self.object),),
                scans=(self.object, place),
                rows=2 * max(0, relation.rows),
            )
        yield make_swap(self.rewrite, relation, catalog, CatchUp(self.rewrite))
        yield from self._prove_later(relation, catalog)

    def _index(self, relation: Relation, shadow: Relation | None) -> Iterator[Action]:
        """Nobody but us reads or writes the copy, so its indexes are built as fast as can be."""
        place = qualify(self.rewrite.shadow)
        wanted = {index_name(self.table, one): one for one in relation.indexes if not one.primary}
        for index in () if shadow is None else shadow.indexes:
            name = index.name.table
            if index.primary or (name in wanted and index.body == wanted[name].body):
                continue
            drop = f"DROP INDEX {qualify(index.name)}"
            if index.constraint:
                drop = f"ALTER TABLE {place} DROP CONSTRAINT {quote(index.constraint)}"
            what = f"drop the index {quote(name)} of the copy, which the table does not have"
            yield Action(what, (drop,), locks=(Lock(LockMode.ACCESS_EXCLUSIVE, place),))
        for name, index in wanted.items():
            known = None if shadow is None else shadow.index(name)
            if known is None or known.body != index.body:
                yield Action(
                    f"index the copy of {self.object} as {quote(index.name.table)}",
                    tuple(self.build(index, relation)),
                    Patience.SCAN,
                    locks=(Lock(LockMode.SHARE, place),),
                    scans=(place,),
                    rows=max(0, relation.rows),
                    suppressions=_OF_THE_COPY,
                )

    def _lacks(self, relation: Relation, shadow: Relation) -> bool:
        return any(True for _ in self._index(relation, shadow))

    def build(self, index: Index, relation: Relation) -> Iterator[str]:
        """That index on the copy, under the name that it has until the swap."""
        place, name = qualify(self.rewrite.shadow), quote(index_name(self.table, index))
        unique = "UNIQUE " if index.unique else ""
        yield f"CREATE {unique}INDEX {name} ON {place} {index.body}"
        one = relation.constraint(index.constraint) if index.constraint else None
        if one is not None:
            what = "PRIMARY KEY" if index.primary else "UNIQUE"
            deferrable = " DEFERRABLE" if one.deferrable else ""
            deferrable += " INITIALLY DEFERRED" if one.deferred else ""
            yield (
                f"ALTER TABLE {place} ADD CONSTRAINT {name} {what} USING INDEX {name}{deferrable}"
            )

    def _discard(self, what: str, relation: Relation, catalog: Catalog) -> Action:
        """Whatever of it is there."""
        shadow, log = self.rewrite.shadow, self.rewrite.log
        statements = [f"LOCK TABLE {self.object} IN ACCESS EXCLUSIVE MODE"]
        statements += [
            f"DROP TRIGGER {name} ON {self.object}"
            for name in TRIGGERS
            if (trigger := relation.trigger(name)) is not None and trigger.function == log
        ]
        for table in (shadow, log):
            if catalog.get(table) is not None:
                statements.append(f"DROP TABLE {qualify(table)}")
        statements.append(f"DROP FUNCTION {qualify(log)}()")
        locks = (Lock(LockMode.ACCESS_EXCLUSIVE, self.object),)
        return Action(what, tuple(statements), locks=locks, suppressions=_OF_THE_COPY)

    def _prove_later(self, relation: Relation, catalog: Catalog) -> Iterator[Action]:
        """What will be to prove once the foreign keys are made again."""
        for child, key in foreign_keys(relation, catalog):
            yield _validate(child, key, key.comment)

    def _prove_keys(self, relation: Relation, catalog: Catalog) -> Iterator[Action]:
        """The foreign keys that were made again, and are not proved yet."""
        for child, key in foreign_keys(relation, catalog):
            if is_ours(key.comment):
                yield _validate(child, key, key.comment.removeprefix(UNPROVED).removeprefix("\n"))


_OF_THE_COPY = {
    "require-concurrent-index-creation": "nobody but this migration reads or writes the copy",
    "prefer-robust-stmts": "it is asked of the catalog before, and stands in one transaction",
    "disallowed-unique-constraint": "the copy is this migration's own",
    "ban-drop-table": "the copy is this migration's own",
    "prefer-text-field": "as the table has it",
    "prefer-bigint-over-int": "as the table has it",
    "prefer-bigint-over-smallint": "as the table has it",
    "prefer-timestamp-tz": "as the table has it",
    "prefer-identity": "as the table has it",
    "ban-char-field": "as the table has it",
}


def describe_columns(relation: Relation) -> dict[str, tuple[object, ...]]:
    """What must be the same of each column, by name; identity and sequence come with the swap."""
    return {
        one.name: (one.definition, one.not_null, one.settings, one.comment)
        for one in relation.columns
    }


def describe_checks(relation: Relation) -> set[tuple[str, str, str]]:
    """What must be the same of constraints that are no index's."""
    found = (one for one in relation.constraints if one.type in "cn")
    return {(one.name, one.definition, one.comment) for one in found}


def _validate(child: Relation, key: Constraint, comment: str) -> Action:
    table, name = qualify(child.name), quote(key.name)
    parent = "" if key.references is None else qualify(key.references)
    said = literal(comment) if comment else "NULL"
    return Action(
        f"prove the foreign key {name} of {table} again",
        (
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}",
            f"COMMENT ON CONSTRAINT {name} ON {table} IS {said}",
        ),
        Patience.SCAN,
        locks=(Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),),
        scans=(table, parent),
        rows=max(0, child.rows),
    )


def _create(shadow: str, relation: Relation) -> str:
    named = {one.columns: one for one in relation.constraints if one.type == "n"}
    by_name = {one.name: one for one in relation.columns}
    parts = []
    for name in measure_padding(relation).order:
        column = by_name[name]
        bare = column.not_null and (name,) not in named
        parts.append(column.definition + (" NOT NULL" if bare else ""))
    parts += [
        f"CONSTRAINT {quote(one.name)} {one.definition}"
        for one in relation.constraints
        if one.type in "cn"
    ]
    pairs = [option.partition("=") for option in relation.options]
    listed = ", ".join(f"{quote(name)} = {literal(value)}" for name, _, value in pairs)
    options = f" WITH ({listed})" if listed else ""
    # On one line, where alone the linter reads that a rule does not apply.
    return f"CREATE TABLE {shadow} ({', '.join(parts)}){options}"


def _describe(shadow: str, relation: Relation) -> Iterator[str]:
    for column in relation.columns:
        name = quote(column.name)
        yield from (f"ALTER TABLE {shadow} ALTER COLUMN {name} {one}" for one in column.settings)
        if column.comment:
            yield f"COMMENT ON COLUMN {shadow}.{name} IS {literal(column.comment)}"
    for one in relation.constraints:
        if one.type in "cn" and one.comment:
            comment = literal(one.comment)
            yield f"COMMENT ON CONSTRAINT {quote(one.name)} ON {shadow} IS {comment}"


def _to(grantee: str) -> str:
    return quote(grantee) if grantee else "PUBLIC"
