"""What the mover decides about keys from names and numbers alone."""

from __future__ import annotations

from typing import Any

import pytest

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Constraint, Place
from phasegate.migrate.operations.reorder import describe_decision, padding
from phasegate.migrate.operations.swap_primary import integer_unread, split_columns
from phasegate.migrate.references import mirror_actions, name_uuid


@pytest.mark.parametrize(
    ("column", "uuid"),
    [("user_id", "user_uuid"), ("buyer", "buyer_uuid"), ("id", "id_uuid"), ("_id", "_id_uuid")],
)
def test_a_uuid_is_named_after_its_integer(column: str, uuid: str) -> None:
    assert name_uuid(column) == uuid


def test_two_long_names_stay_apart() -> None:
    first, second = name_uuid("ä" * 31 + "x"), name_uuid("ä" * 31 + "y")
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= 63


@pytest.mark.parametrize(
    ("actions", "deferrable", "mirrored"),
    [
        ("aas", False, "ON UPDATE CASCADE ON DELETE NO ACTION"),
        ("ccf", False, "ON UPDATE CASCADE ON DELETE CASCADE"),
        ("rns", True, "ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY IMMEDIATE"),
        ("ads", False, "ON UPDATE CASCADE ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED"),
    ],
)
def test_a_foreign_key_deletes_and_defers_as_the_other_does(
    actions: str, deferrable: bool, mirrored: str
) -> None:
    fields: dict[str, Any] = dict.fromkeys(Constraint.__dataclass_fields__)
    key = Constraint(**{**fields, "actions": actions, "deferrable": deferrable, "deferred": False})
    assert mirror_actions(key) == mirrored


def test_a_small_share_is_no_reason_to_rewrite_a_table() -> None:
    large, text = Place(8, 8, True), Place(4, 200, False)
    facts = padding([("a", large), ("b", text), ("c", large)])
    assert describe_decision(TableName("public", "t"), facts, asked=True).startswith("skipped: ")


def test_unknown_is_no_evidence_that_the_integer_is_unread() -> None:
    assert integer_unread(12, 12)
    assert integer_unread(12, 14)
    assert integer_unread(15, 12, explained=3)
    assert not integer_unread(15, 12)
    assert not integer_unread(None, 0)
    assert not integer_unread(0, None)


def test_a_list_of_columns_is_read_as_the_server_quotes_it() -> None:
    assert split_columns('id, "Ü, ""b""", uuid') == ["id", 'Ü, "b"', "uuid"]
