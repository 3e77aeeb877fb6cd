"""Reads a plan as EXPLAIN gives it: its shape, and whether it reads a whole table. Pure.

A shape is what makes one plan another: kinds of nodes and names of indexes. Costs and estimates
move with every ANALYZE and are left out. Below an Append stand partitions, which come and go: their
names are left out too, and equal ones count once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

APPENDS = frozenset({"Append", "Merge Append"})


@dataclass(frozen=True)
class PlanShape:
    """`text` is the shape in words; `whole_reads` the nodes that read a whole looked-up table."""

    text: str
    whole_reads: tuple[str, ...] = ()


class PlanLine(NamedTuple):
    """The plan of one lookup, as it was last seen at `time` (Unix seconds), for a page."""

    target: str
    query_type: str
    schema: str
    table: str
    shape: PlanShape
    time: float


def read_plan(root: Mapping[str, Any], members: Collection[tuple[str, str]]) -> PlanShape:
    """The shape of EXPLAIN's topmost node (FORMAT JSON, VERBOSE).

    `members` are schema and name of the looked-up table and of its partitions.
    """
    reads = dict.fromkeys(
        f"{_kind(node)} on {node['Schema']}.{node['Relation Name']}"
        for node in _nodes(root)
        if node["Node Type"] == "Seq Scan"
        and (node.get("Schema"), node.get("Relation Name")) in members
    )
    return PlanShape(_shape(root, named=True), tuple(reads))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _kind(node: Mapping[str, Any]) -> str:
    return f"Parallel {node['Node Type']}" if node.get("Parallel Aware") else node["Node Type"]


def _shape(node: Mapping[str, Any], *, named: bool) -> str:
    text = _kind(node)
    if named and "Index Name" in node:
        text += f" using {node['Index Name']}"
    if named and "Relation Name" in node:
        text += f" on {node['Relation Name']}"
    below = named and node["Node Type"] not in APPENDS
    children = [_shape(child, named=below) for child in node.get("Plans", ())]
    if not below:
        children = list(dict.fromkeys(children))
    return f"{text} ({', '.join(children)})" if children else text
