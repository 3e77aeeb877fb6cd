"""Reads a plan for what a person would mend: a large table that is read whole, and which index it
lacks. Pure.

EXPLAIN says what it filters and joins by as SQL text; a column that is compared by `=` there is one
that an index could lead. What is compared through a cast no plain index serves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phasegate.contract.names import TableName

_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_SIDE = re.compile(rf"\(*({_NAME})\.({_NAME})\)?(::[a-z_ ]+)?")
_CONDITIONS = ("Filter", "Hash Cond", "Merge Cond", "Join Filter", "Recheck Cond")


@dataclass(frozen=True)
class Scan:
    """A table that the plan reads whole. `filtered` and `joined` are its columns that are compared
    by `=` there and in the joins, the nearest first; `cast` those that are compared as another
    type."""

    table: TableName
    filtered: tuple[str, ...]
    joined: tuple[str, ...]
    cast: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All that an index could lead with."""
        return tuple(dict.fromkeys((*self.filtered, *self.joined)))

    def missing(self, led: Collection[str]) -> str:
        """The column that an index should lead with, given those that one leads; empty where one
        is there for the join, or nothing is compared."""
        bare = next((name for name in self.filtered if name not in led), "")
        if bare or any(name in led for name in self.columns):
            return bare
        return next(iter(self.joined), "")


def find_scans(root: Mapping[str, Any]) -> list[Scan]:
    """Every Seq Scan below EXPLAIN's topmost node (FORMAT JSON, VERBOSE)."""
    conditions = [
        (depth, node[key])
        for node, depth in _walk(root, 0)
        for key in _CONDITIONS
        if isinstance(node.get(key), str)
    ]
    found = []
    for node, _ in _walk(root, 0):
        if node["Node Type"] == "Seq Scan" and "Relation Name" in node:
            table = TableName(node.get("Schema", ""), node["Relation Name"])
            alias = node.get("Alias", table.table)
            own = [node[key] for key in _CONDITIONS if isinstance(node.get(key), str)]
            nearest = sorted(conditions, key=lambda one: -one[0])
            outer = [text for _, text in nearest if text not in own]
            filtered, cast = _compared(alias, own)
            joined, cast_too = _compared(alias, outer)
            found.append(Scan(table, filtered, joined, (*cast, *cast_too)))
    return found


def find_tables(root: Mapping[str, Any]) -> list[TableName]:
    """Every table that the plan reads, by whatever way, each once."""
    return list(
        dict.fromkeys(
            TableName(node["Schema"], node["Relation Name"])
            for node, _ in _walk(root, 0)
            if "Relation Name" in node and "Schema" in node
        )
    )


def describe(root: Mapping[str, Any]) -> str:
    """How each table is read, in the plan's order."""
    told = []
    for node, _ in _walk(root, 0):
        if "Relation Name" in node:
            using = f" using {node['Index Name']}" if "Index Name" in node else ""
            told.append(f"{node['Node Type']}{using} on {node['Relation Name']}")
    return ", ".join(told)


def _walk(node: Mapping[str, Any], depth: int) -> Iterator[tuple[Mapping[str, Any], int]]:
    yield node, depth
    for child in node.get("Plans", ()):
        yield from _walk(child, depth + 1)


def _compared(alias: str, texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of `alias` that are compared as they are, and those that are cast for it."""
    sides = [side for text in texts for side in _sides(text, alias)]
    plain = dict.fromkeys(name for name, kind in sides if not kind)
    cast = dict.fromkeys(name for name, kind in sides if kind)
    return tuple(plain), tuple(cast)


def _sides(text: str, alias: str) -> Iterator[tuple[str, str]]:
    """The columns of `alias` on either side of an `=`, with the cast that is put on them."""
    for match in re.finditer(r"(?<![<>!=])=(?![=>])", text):
        before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
        left = [one for one in _SIDE.finditer(before) if before[one.end() :].strip(") ") == ""]
        right = _SIDE.match(after)
        for side in (left[-1] if left else None, right):
            if side is not None and _unquote(side[1]) == alias:
                yield _unquote(side[2]), side[3] or ""


def _unquote(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
