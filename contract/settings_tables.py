"""The key `tables`: what gains a UUID, and how."""

from __future__ import annotations

from collections.abc import Mapping

from phasegate.contract.frozen import keyed
from phasegate.contract.names import TableName
from phasegate.contract.sections import ListOf, MapOf, setting
from phasegate.contract.settings_kinds import COLUMN, TABLE
from phasegate.contract.shapes import Choice, Switch, Text


@keyed
class Table:
    """A table that gains a UUID key."""

    name: TableName = setting(TABLE, "Schema and table.", example="public.users")
    uuid_column: str = setting(COLUMN, "The column of the UUID.", "uuid")
    uuid_version: int = setting(Choice((4, 7)), "Version of the UUIDs that are generated.", 4)
    keys: str = setting(
        Choice(("alternate", "references", "primary")),
        "How far the table goes: a UUID beside the integer key, also beside each reference to it, "
        "or as the primary key.",
        "alternate",
    )
    references: Mapping[str, str] = setting(
        MapOf(COLUMN, "columns", Text("a column, as schema.table.column", r"[^.]+\.[^.]+\.[^.]+")),
        "Names of the UUID's columns beside references, where `<column>_uuid` (or `user_uuid` for "
        "`user_id`) is not wanted.",
        dict,
        example="{public.orders.customer_id: customer_ref}",
    )
    accept_triggers: tuple[str, ...] = setting(
        ListOf(Text("the name of a trigger"), "names of triggers", unique=True),
        "Triggers of others that may fire for every row while `migrate` gives the rows their "
        "UUIDs; any other that would is a reason not to begin.",
        (),
        example="[touch_updated_at]",
    )
    reorder: bool = setting(
        Switch(),
        "Write the table anew with its columns in the order that wastes least, where that spares "
        "a tenth of each row. Only for a table that nobody reads or writes by the place of a "
        "column: an INSERT without names, a COPY without names and a prepared SELECT * would not "
        "fit any more.",
        False,
    )
