"""Which tables the configuration names, as the parameters that the catalog queries take."""

from __future__ import annotations

from collections.abc import Sequence

from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings


def named_tables(settings: Settings) -> list[TableName]:
    """Each once: those that gain a UUID, the audit log, those whose changes it holds."""
    found = [table.name for table in settings.tables]
    if settings.audit is not None:
        found += [settings.audit.table, *(watch.table for watch in settings.audit.watch)]
    return list(dict.fromkeys(found))


def table_parameters(tables: Sequence[TableName]) -> dict[str, list[str]]:
    """`schemas` and `tables`, two lists side by side, for unnest()."""
    return {"schemas": [t.schema for t in tables], "tables": [t.table for t in tables]}
