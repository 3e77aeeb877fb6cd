"""Which tables gain a UUID key, and why the others do not: decided from the facts. Pure.

Proposed is a table whose integer key others hold, since that key is what leaves the database; what
is only guessed at is written as a comment that can be turned into an entry. What `migrate` itself
would refuse is asked there, in `operate/init_trial.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count

from phasegate.contract.names import TableName
from phasegate.operate.init_facts import Column, Facts, Table
from phasegate.operate.init_frameworks import find_frameworks, framework_of
from phasegate.operate.init_links import Link, find_polymorphic, singulars, words_of

MOST_PROPOSED = 8
SMALL_ROWS = 1_000
LARGE_ROWS = 10_000
PEOPLE = frozenset({"user", "account", "member", "customer", "person"})
_OWN_NAMES = frozenset({"uuid", "guid", "uid", "public_id", "public_uuid"})


@dataclass(frozen=True)
class UuidColumn:
    """The one to use; `there` where the table has it already, with what is to be said of it."""

    name: str
    there: bool = False
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A table that could gain a UUID key. `optional` says why it is only offered, empty where it is
    proposed."""

    table: Table
    uuid: UuidColumn
    links: tuple[Link, ...]
    optional: str = ""


@dataclass(frozen=True)
class LeftOut:
    """A table that gains none, and why."""

    name: TableName
    reason: str


@dataclass(frozen=True)
class Choice:
    """Every table once; the candidates in order of weight."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[LeftOut, ...]


def plan_tables(facts: Facts, links: Iterable[Link], apart: Mapping[TableName, str]) -> Choice:
    """`apart` names tables with a part of their own (audit log, permissions), and says which."""
    frameworks = find_frameworks(facts)
    incoming: dict[TableName, list[Link]] = defaultdict(list)
    for link in links:
        if link.table != link.parent:
            incoming[link.parent].append(link)
    candidates, left_out = [], []
    for table in facts.tables:
        reason = _refuse(table, frameworks) or _set_apart(table, apart)
        if reason:
            left_out.append(LeftOut(table.name, reason))
        else:
            found = tuple(incoming[table.name])
            candidates.append(Candidate(table, plan_uuid_column(table), found))
    candidates.sort(key=_weight)
    return Choice(tuple(_offer(candidates, apart)), tuple(left_out))


def is_people(table: TableName) -> bool:
    """Whether it seems to hold the people whom the application knows."""
    words = words_of(table.table)
    return bool(words) and bool(singulars(words[-1]) & PEOPLE)


def _weight(one: Candidate) -> tuple[bool, int, int, TableName]:
    referring = len({link.table for link in one.links})
    return not is_people(one.table.name), -referring, -one.table.bytes, one.table.name


def _refuse(table: Table, frameworks: tuple[str, ...]) -> str:
    """What its shape alone says against it."""
    if table.locked:
        return "somebody holds, or waits for, ACCESS EXCLUSIVE on it: run init again later"
    if owner := framework_of(table.name.table, frameworks):
        return f"it belongs to {owner}, whose code expects it as it is"
    if table.kind == "f":
        return "a foreign table: its rows are elsewhere"
    if not table.key:
        return "it has no primary key"
    if len(table.key) > 1:
        return f"its key is of several columns: {', '.join(table.key)}"
    if not table.integer_key:
        column = table.column(table.key[0])
        kind = "unknown" if column is None else column.type
        known = " already" if kind == "uuid" else ", no integer"
        return f"its key {table.key[0]} is {kind}{known}"
    if not table.readable:
        return "our role may not read it"
    for one in table.references:
        if one.column == table.integer_key:
            return f"its key is a reference: it shares the one of {one.table}"
    return ""


def _set_apart(table: Table, apart: Mapping[TableName, str]) -> str:
    found = apart.get(table.name, "")
    return found if found.startswith("the audit log") else ""


def _offer(candidates: list[Candidate], apart: Mapping[TableName, str]) -> Iterator[Candidate]:
    largest = max((one.table.rows for one in candidates), default=0)
    referred = any(one.links for one in candidates)
    proposed = 0
    for place, one in enumerate(candidates):
        optional = apart.get(one.table.name, "")
        if is_people(one.table.name) and one.uuid.name:
            optional = ""
        elif optional:
            pass
        elif one.table.rows < SMALL_ROWS and largest >= LARGE_ROWS and not one.uuid.there:
            optional = f"about {one.table.rows:,} rows, perhaps reference data"
        elif referred and not one.links and not one.uuid.there:
            optional = "no other table holds its key"
        elif not referred and place > 0 and not one.uuid.there:
            optional = "no table holds the key of another one"
        if not optional and proposed >= MOST_PROPOSED:
            optional = f"after the first {MOST_PROPOSED}"
        proposed += not optional
        yield Candidate(one.table, one.uuid, one.links, optional)


def plan_uuid_column(table: Table) -> UuidColumn:
    """The column that is there by a name that says what it is, else the first free name.

    One of another name may be a token or somebody else's id, which no row must be given: asked.
    """
    referring = {one.column for one in table.references}
    found = [
        one
        for one in table.columns
        if one.type == "uuid" and not one.generated and one.name not in referring
    ]
    named = [one for one in found if _is_own(one, table)]
    asked = tuple(
        f"is {one.name} ({describe_uuid(one, table)}) the key that you show? Then uuid_column: "
        f"{one.name}."
        for one in found
        if one not in named[:1]
    )
    if named:
        return _adopt(named[0], table, asked)
    names = chain(("uuid", "uuid_key"), (f"uuid_key_{number}" for number in count(2)))
    name = next(one for one in names if table.column(one) is None)
    taken = table.column("uuid")
    notes = () if taken is None else (f"Its column uuid is {taken.type}: the new one is {name}.",)
    return UuidColumn(name, notes=notes, questions=asked)


def _is_own(column: Column, table: Table) -> bool:
    words = words_of(column.name)
    if "_".join(words) in _OWN_NAMES:
        return True
    of_table = words_of(table.name.table)
    if not of_table or not words or words[-1] not in ("uuid", "guid"):
        return False
    names = {"_".join([*of_table[:-1], one]) for one in singulars(of_table[-1])}
    return "_".join(words[:-1]) in names


def _adopt(column: Column, table: Table, asked: tuple[str, ...]) -> UuidColumn:
    notes = (
        f"Its column {column.name} is there: {describe_uuid(column, table)}. Migrate gives it what "
        "it lacks.",
    )
    if column.name not in table.uniques:
        unproved = (
            f"is {column.name} different in every row? Nothing proves it, and two alike would stop "
            "its unique index.",
        )
        return UuidColumn(column.name, True, notes, unproved + asked)
    return UuidColumn(column.name, True, notes, asked)


def describe_uuid(column: Column, table: Table) -> str:
    """Whether it may be NULL, how far it is filled, whether it is unique."""
    unique = "unique" if column.name in table.uniques else "not unique"
    if column.not_null:
        return f"uuid, never NULL, {unique}"
    filled = "not known how far it is filled (never analyzed, or not ours to read)"
    if column.nulls is not None:
        share = f"{column.nulls:.1%} NULL" if column.nulls else "no NULL"
        filled = f"{share} when ANALYZE last looked"
    return f"uuid, may be NULL, {filled}, {unique}"


def describe_links(one: Candidate) -> str:
    """Who holds its key, the first few by name."""
    if not one.links:
        return "no other table holds its key"
    listed = [
        f"{link.table}.{link.column}" + ("" if link.declared else " (by its name alone)")
        for link in one.links
    ]
    more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
    return f"its key is held by {', '.join(listed[:4])}{more}"


def polymorphic_columns(facts: Facts) -> tuple[str, ...]:
    """Columns that hold ids of several tables, as `table.column`."""
    return tuple(
        f"{table.name}.{column}" for table in facts.tables for _, column in find_polymorphic(table)
    )
