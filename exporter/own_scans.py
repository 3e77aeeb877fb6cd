"""Asks a question of a table, and counts how often the question scanned the keys' indexes.

So that our own scans can be subtracted from those by which one sees who still reads. The server
reports a backend's scans when a transaction ends; inside it, two looks at what is not yet reported
differ by just what was scanned between them.
"""

from __future__ import annotations

from typing import Any

from phasegate.contract import metrics
from phasegate.contract.names import TableName
from phasegate.exporter.backends import Session, Text
from phasegate.exporter.counters import Counters
from phasegate.exporter.queries import load_queries
from phasegate.exporter.targets import Target

QUERIES = load_queries("key_scans")


async def fetch_counted(
    session: Session, target: Target, counters: Counters, table: TableName, query: Text
) -> list[tuple[Any, ...]]:
    """The rows of a query that reads `table`.

    Before the keys' scans have a base line nothing is counted: there is nothing to subtract from.
    """
    look = QUERIES["own"].sql, {"schema": table.schema, "table": table.table}
    before, rows, after = await session.batch(look, (query, None), look)
    if target.keys_counted.is_set():
        base = dict(before)
        for key, scans in after:
            # The two looks see the catalog as it was at each: an index can come or go between.
            gained = max(0, int(scans - base.get(key, 0)))
            counters.add(metrics.KEY_OWN_SCANS, gained, *table, key)
    return rows
