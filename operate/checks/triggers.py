"""Triggers of the named tables that do not fire: what is written meanwhile lacks UUID or audit."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import TREE, Ground, fetch_rows, tables_of

SUMMARY = "no trigger of the named tables is disabled"
_PLACE = "database-operations.md#triggerdisabled"
_DISABLED = f"""
{TREE}
SELECT
    g.tgrelid::regclass::text, quote_ident(g.tgname), g.tgname LIKE 'phasegate\\_%%',
    g.tgisinternal, g.tgenabled::text
FROM pg_trigger AS g
WHERE g.tgenabled IN ('D', 'R') AND g.tgrelid IN (SELECT oid FROM tree)
ORDER BY 1, 2
"""  # noqa: S608  (both parts are ours)


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as connection:
        found = fetch_rows(connection, _DISABLED, tables_of(ground.settings))
    checks = sorted({table for table, _, _, internal, _ in found if internal})
    for table in checks:
        yield problem(
            f"checks of foreign keys of {table} are disabled",
            "DISABLE TRIGGER ALL for a load that broke off: rows may break the foreign keys",
            f"SET lock_timeout = '2s';\nALTER TABLE {table} ENABLE TRIGGER ALL;\n"
            "(it makes ours ordinary: ENABLE ALWAYS them after it, as the runbook says)",
            _PLACE,
        )
    for table, name, ours, internal, enabled in found:
        if not internal:
            word = "ALWAYS " if ours else ""
            state = "disabled" if enabled == "D" else "enabled for replication only"
            yield problem(
                f"{name} of {table} is {state}",
                "somebody disabled it for a load and forgot it; a UUID or an audit row is missing "
                "for what is written meanwhile",
                f"SET lock_timeout = '2s';\nALTER TABLE {table} ENABLE {word}TRIGGER {name};",
                _PLACE,
            )
    if not found:
        yield ok("every trigger of the named tables is enabled")
