"""Which tables cannot be written anew in another order of columns: whatever a copy could not carry.

A table with the same name is another table: what is bound to the old one would follow that one, or
go with it. So each such thing is looked for, and whoever owns it is told what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, TABLE, Catalog, Relation
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Refusal
from phasegate.migrate.refusals import refuse_unowned

UNPROVED = "phasegate: to be proved again"
"""How the comment on a foreign key begins that was made again and is not proved yet."""
AFTERWARDS = "drop it, and make it again once the table is written anew, or take reorder away"
_WITHOUT = "take reorder away from this table"
_FOLLOWS = {
    *("view", "materialized view", "rule", "rule of its own", "policy", "row type"),
    *("bound function", "statistics", "user of the primary key"),
}
_PUBLISHES = {"publication", "publication of many", "publication of many by root"}


def refuse_reorder(
    relation: Relation, catalog: Catalog, shadow: TableName, *, begun: bool
) -> Iterator[Refusal]:
    """Why not this table; `begun` where the copy is there already and is ours."""
    name = qualify(relation.name)
    if relation.kind != TABLE or relation.persistence != "p" or relation.of_type:
        yield Refusal(name, "it is no plain, permanent table", _WITHOUT)
        return
    if relation.parents or relation.children:
        yield Refusal(name, "it takes part in inheritance, or is a partition", _WITHOUT)
    if not relation.may_create:
        schema = quote(relation.name.schema)
        remedy = f"GRANT CREATE ON SCHEMA {schema} TO {quote(catalog.role)}"
        yield Refusal(name, f"{catalog.role} may make no table beside it", remedy)
    if relation.row_security:
        yield Refusal(name, "it has row security, which a copy would not have", _WITHOUT)
    for what in relation.peculiar:
        yield Refusal(name, f"{what}, which the table written anew would not keep", _WITHOUT)
    if shadow in catalog.taken and not begun:
        yield Refusal(qualify(shadow), "the name is taken", "rename that table")
    yield from _refuse_key(relation)
    yield from _refuse_dependents(relation)
    yield from _refuse_constraints(relation)
    yield from _refuse_linked(relation, catalog)


def _refuse_key(relation: Relation) -> Iterator[Refusal]:
    name = qualify(relation.name)
    if not relation.primary_key:
        yield Refusal(name, "it has no primary key to find its rows by", "give it one")
    for one in relation.constraints:
        if one.type == "p" and one.deferrable:
            yield Refusal(f"{name}, {quote(one.name)}", "the key is deferrable", _WITHOUT)
    for column in relation.columns:
        # Whoever compares two of them must find the operator in any session.
        if column.name in relation.primary_key and "." in column.type:
            found = f"its key is of type {column.type}, which is none of PostgreSQL's own"
            yield Refusal(f"{name}.{quote(column.name)}", found, _WITHOUT)


def _refuse_dependents(relation: Relation) -> Iterator[Refusal]:
    for one in relation.dependents:
        if one.kind in _FOLLOWS:
            found = f"it is bound to {qualify(relation.name)} itself and not to its name"
            yield Refusal(f"{one.kind} {one.name}", found, AFTERWARDS)
        elif one.kind in _PUBLISHES:
            found = f"it publishes {qualify(relation.name)}; subscribers would see another table"
            remedy = "take the table, or the copy of it, out of the publication; " + _WITHOUT
            yield Refusal(f"publication {one.name}", found, remedy)


def _refuse_constraints(relation: Relation) -> Iterator[Refusal]:
    name = qualify(relation.name)
    for one in relation.constraints:
        at = f"{name}, {quote(one.name)}"
        if not one.validated and not is_ours(one.comment):
            remedy = f"ALTER TABLE {name} VALIDATE CONSTRAINT {quote(one.name)}"
            yield Refusal(at, "the constraint is not proved", remedy)
        if one.type == "x":
            yield Refusal(at, "it is an exclusion constraint", AFTERWARDS)
    for index in relation.indexes:
        at = qualify(index.name)
        if not (index.valid and index.ready):
            yield Refusal(at, "the index is invalid", f"REINDEX INDEX CONCURRENTLY {at}")
        elif index.constraint and index.method != "btree":
            yield Refusal(at, f"a constraint's index by {index.method}", AFTERWARDS)


def _refuse_linked(relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
    """Foreign keys to and fro are made again: their other ends must be ours, too."""
    for one in relation.constraints:
        parent = None if one.references is None else catalog.get(one.references)
        if one.type != "f" or parent is None or parent.name == relation.name or one.inherited:
            continue
        yield from refuse_unowned(parent, catalog)
        if parent.kind == PARTITIONED:
            at = f"{qualify(relation.name)}, {quote(one.name)}"
            yield Refusal(at, f"{qualify(parent.name)} is partitioned", AFTERWARDS)
    for child, key in catalog.references_to(relation.name):
        at = f"{qualify(child.name)}, {quote(key.name)}"
        if child.name == relation.name:
            continue
        yield from refuse_unowned(child, catalog)
        if child.kind == PARTITIONED:
            found = f"{qualify(child.name)} is partitioned: its foreign key would be proved under "
            yield Refusal(at, found + "a lock", AFTERWARDS)
        elif not key.validated and not is_ours(key.comment):
            remedy = f"ALTER TABLE {qualify(child.name)} VALIDATE CONSTRAINT {quote(key.name)}"
            yield Refusal(at, "the foreign key is not proved", remedy)


def is_ours(comment: str) -> bool:
    """Whether the constraint is one that we made and still prove."""
    return comment.startswith(UNPROVED)
