"""How much an action reads and writes, from the catalog's figures: rows, bytes on disk, WAL.

Upper bounds for the question whether the disk and the standbys take it; never seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Relation
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Action, LockMode

PAGE_BYTES = 8_192
# A UUID in a b-tree that is built sorted: 16 of data, 8 of tuple header, 4 of line pointer, at a
# fill of 90 %. Sorting it first takes as much again, in temporary files.
INDEX_ENTRY_BYTES = 32
# A new version of each row; VACUUM between the pieces lets later ones reuse the place of earlier
# ones, so that the table ends below 1.3 times its size.
GROWTH_BY_UPDATE = 0.3
_BUILDS = re.compile(r"^\s*CREATE (UNIQUE )?INDEX\b", re.IGNORECASE)


@dataclass(frozen=True)
class Size:
    """`rows` are read or written; `stays_bytes` more on disk afterwards, `meanwhile_bytes` on top
    of it while it runs, `wal_bytes` written to the log, at most. None knows what is not analyzed:
    `known` is false then, and the bytes are those of the pages alone."""

    rows: int
    stays_bytes: int = 0
    meanwhile_bytes: int = 0
    wal_bytes: int = 0
    known: bool = True


def estimate_size(action: Action, table: TableName | None, catalog: Catalog) -> Size:
    """From the relations that the action rewrites, indexes or, as a work, goes over."""
    by_name = {qualify(name): relation for name, relation in catalog.relations.items()}
    rewritten = [by_name[name] for name in action.rewrites if name in by_name]
    if rewritten:
        total = sum(relation.bytes for relation in rewritten)
        # The old files stay until the commit.
        return Size(action.rows, 0, total, total, _all_known(rewritten))
    if any(_BUILDS.match(statement) for statement in action.statements):
        scanned = [by_name[name] for name in action.scans if name in by_name]
        entries = max(action.rows, sum(max(0, one.rows) for one in scanned)) * INDEX_ENTRY_BYTES
        return Size(action.rows, entries, entries, entries, _all_known(scanned))
    relation = None if table is None else catalog.get(table)
    writes = any(lock.mode is LockMode.ROW_EXCLUSIVE for lock in action.locks)
    if action.work is not None and writes and relation is not None:
        tree = _tree(relation, catalog)
        heap = sum(one.pages for one in tree) * PAGE_BYTES
        growth = round(heap * GROWTH_BY_UPDATE)
        # Each page once as a whole after a checkpoint, and each row's new version.
        return Size(action.rows, growth, 0, 2 * heap, _all_known(tree))
    return Size(action.rows)


def _all_known(relations: list[Relation]) -> bool:
    return all(relation.rows >= 0 for relation in relations)


def _tree(relation: Relation, catalog: Catalog) -> list[Relation]:
    found = [relation]
    for name in relation.children:
        child = catalog.get(name)
        if child is not None:
            found += _tree(child, catalog)
    return found
