"""Which table refers to which: by foreign keys, and where there are none by the names of columns.

Many applications keep their references in the code alone, so a column `user_id` without a foreign
key counts as well, and is told apart. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from phasegate.contract.names import TableName
from phasegate.operate.init_facts import INTEGERS, Facts, Table


@dataclass(frozen=True)
class Link:
    """`column` of `table` holds values of `referenced` of `parent`; `declared` by a foreign key."""

    table: TableName
    column: str
    parent: TableName
    referenced: str
    declared: bool


def words_of(name: str) -> list[str]:
    """`auth_user`, `AuthUser` and `authUser` alike: auth, user."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3_\2", name)
    return [one for one in re.split(r"[^a-z0-9]+", spaced.lower()) if one]


def singulars(word: str) -> set[str]:
    """What the word may be the plural of, and the word itself."""
    found = {word}
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            found.add(word.removesuffix(ending) + instead)
    return found | ({"person"} if word == "people" else set())


def find_links(facts: Facts) -> tuple[Link, ...]:
    """Every one, declared ones first; a column that has a foreign key is not guessed at."""
    declared = tuple(
        Link(table.name, one.column, one.table, one.referenced, declared=True)
        for table in facts.tables
        for one in table.references
    )
    by_schema: dict[str, dict[str, list[Table]]] = {}
    for table in facts.tables:
        if not table.integer_key:
            continue
        words = words_of(table.name.table)
        for last in singulars(words[-1]) if words else ():
            named = "_".join([*words[:-1], last])
            by_schema.setdefault(table.name.schema, {}).setdefault(named, []).append(table)
    known = {(one.table, one.column) for one in declared}
    guessed = (
        link
        for table in facts.tables
        for link in _guess(table, by_schema.get(table.name.schema, {}))
        if (link.table, link.column) not in known
    )
    return declared + tuple(guessed)


def _guess(table: Table, parents: dict[str, list[Table]]) -> Iterator[Link]:
    for column in table.columns:
        words = words_of(column.name)
        if column.type not in INTEGERS or len(words) < 2 or words[-1] != "id":
            continue
        found = parents.get("_".join(words[:-1]), [])
        if len(found) == 1 and (found[0].name, column.name) != (table.name, table.integer_key):
            key = found[0].integer_key
            yield Link(table.name, column.name, found[0].name, key, declared=False)


def find_polymorphic(table: Table) -> tuple[tuple[str, str], ...]:
    """Pairs of columns that say together what is referred to: its type and its id."""
    texts = {one.name for one in table.columns if one.type.startswith(("character", "text"))}
    pairs = []
    for column in table.columns:
        if column.name.endswith("_id") and column.type in INTEGERS:
            kind = column.name.removesuffix("_id") + "_type"
            if kind in texts:
                pairs.append((kind, column.name))
    return tuple(pairs)
