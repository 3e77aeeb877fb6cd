"""Names of tables as the parameters that the catalog queries take."""

from __future__ import annotations

from collections.abc import Sequence

from phasegate.contract.names import TableName


def table_parameters(tables: Sequence[TableName]) -> dict[str, list[str]]:
    """`schemas` and `tables`, two lists side by side, for unnest()."""
    return {"schemas": [t.schema for t in tables], "tables": [t.table for t in tables]}
