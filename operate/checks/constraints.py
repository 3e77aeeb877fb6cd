"""Constraints of the named tables, and towards them, that nobody has proved for the old rows."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import TREE, Ground, fetch_rows, tables_of

SUMMARY = "no constraint that is NOT VALID on the named tables"
_PLACE = "database-operations.md#unvalidatedconstraint"
_NOT_VALID = f"""
{TREE}
SELECT k.conrelid::regclass::text, quote_ident(k.conname), pg_get_constraintdef(k.oid)
FROM pg_constraint AS k
WHERE NOT k.convalidated AND k.conparentid = 0
    AND (k.conrelid IN (SELECT oid FROM tree) OR k.confrelid IN (SELECT oid FROM tree))
ORDER BY 1, 2
"""  # noqa: S608  (both parts are ours)


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as connection:
        found = fetch_rows(connection, _NOT_VALID, tables_of(ground.settings))
    if not found:
        yield ok("every constraint of the named tables is validated")
    for table, name, definition in found:
        if "NOT ENFORCED" in definition:
            remedy = f"ALTER TABLE {table} ALTER CONSTRAINT {name} ENFORCED;"
            cause = "somebody made it so: it holds for no row, and cannot be validated"
        else:
            remedy = (
                "SET lock_timeout = '2s'; SET statement_timeout = 0;\n"
                f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};"
            )
            cause = "VALIDATE was stopped, or failed because rows break it, or was forgotten"
        yield problem(f"{name} of {table} is not validated: {definition}", cause, remedy, _PLACE)
