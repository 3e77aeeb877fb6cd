"""The key `tables`: what gains a UUID, and how."""

from __future__ import annotations

from phasegate.contract.frozen import keyed
from phasegate.contract.names import TableName
from phasegate.contract.sections import ListOf, setting
from phasegate.contract.settings_kinds import COLUMN, TABLE
from phasegate.contract.shapes import Choice, Text


@keyed
class Table:
    """A table that gains a UUID key."""

    name: TableName = setting(TABLE, "Schema and table.", example="public.users")
    uuid_column: str = setting(COLUMN, "The column of the UUID.", "uuid")
    uuid_version: int = setting(
        Choice((4, 7)), "Version of the UUIDs that are generated.", 4, effect_later=True
    )
    keys: str = setting(
        Choice(("alternate", "references", "primary")),
        "How far the table goes: a UUID beside the integer key, also beside each reference to it, "
        "or as the primary key.",
        "alternate",
        effect_later=True,
    )
    accept_triggers: tuple[str, ...] = setting(
        ListOf(Text("the name of a trigger"), "names of triggers", unique=True),
        "Triggers of others that may fire for every row while `migrate` gives the rows their "
        "UUIDs; any other that would is a reason not to begin.",
        (),
        example="[touch_updated_at]",
    )
