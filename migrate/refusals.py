"""Why a role cannot change a table: what several operations ask alike."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.migrate.catalog import Catalog, Relation
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Refusal


def refuse_unowned(relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
    """Only an owner changes a table's shape."""
    if catalog.superuser or relation.owner in catalog.member_of:
        return
    yield Refusal(
        qualify(relation.name),
        f"it is owned by {relation.owner}, and {catalog.role} is no member of that role",
        f"GRANT {quote(relation.owner)} TO {quote(catalog.role)}; where that is a superuser, give "
        "the table another owner",
    )


def refuse_hidden_rows(relation: Relation, catalog: Catalog) -> Iterator[Refusal]:
    """Rows that we do not see would get no UUID, and would not be found by a trigger of ours."""
    if relation.forced_row_security and not catalog.bypasses:
        yield Refusal(
            qualify(relation.name),
            "its row security is forced on its owner too: rows could be hidden from "
            f"{catalog.role}, and from the triggers that run as it",
            f"ALTER ROLE {quote(catalog.role)} BYPASSRLS",
        )
