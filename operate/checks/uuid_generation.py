"""Whether the server can make UUIDs, and whether anything calls what only an extension has.

The guide's remedy, `CREATE EXTENSION pgcrypto`, mends nothing on a server that has
`gen_random_uuid()` itself, which is every one since version 13; pgcrypto is needed there for its
other functions alone. What is missing is told by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phasegate.operate.doctor import Finding, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Connection, Ground, fetch_rows

SUMMARY = "gen_random_uuid() is there, may be called, and nothing calls a missing extension"
CORE_SINCE = 130_000
_PLACE = "database-operations.md#missinguuids"
_FUNCTIONS = {
    "pgcrypto": (
        *("digest", "hmac", "crypt", "gen_salt", "gen_random_bytes", "encrypt", "decrypt"),
        *("pgp_sym_encrypt", "pgp_sym_decrypt", "pgp_pub_encrypt", "pgp_pub_decrypt", "armor"),
    ),
    "uuid-ossp": (
        *("uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v3", "uuid_generate_v4"),
        "uuid_generate_v5",
    ),
}
"""What only that extension has; a function's body may name it, and keeps no DROP from it."""
_HAVE = """
SELECT
    current_setting('server_version_num')::integer,
    (SELECT array_agg(extname::text) FROM pg_extension),
    (SELECT array_agg(name::text) FROM pg_available_extensions),
    to_regprocedure('pg_catalog.gen_random_uuid()') IS NOT NULL,
    ARRAY(
        SELECT p.oid::regprocedure::text
        FROM pg_proc AS p
        JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE p.proname = 'gen_random_uuid' AND p.pronargs = 0 AND n.nspname <> 'pg_catalog'
            AND NOT EXISTS (
                SELECT FROM pg_depend AS d
                WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
            )
    ),
    (
        SELECT p.proacl IS NULL OR EXISTS (
            SELECT FROM aclexplode(p.proacl) AS a
            WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
        )
        FROM pg_proc AS p
        WHERE p.oid = to_regprocedure('pg_catalog.gen_random_uuid()')
    )
"""
# A body in SQL's standard form is resolved when it is made, and holds its extension by itself.
_CALLERS = """
SELECT p.oid::regprocedure::text, called.name
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
CROSS JOIN unnest(%s::text[]) AS called (name)
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND p.prosrc ~* ('\\m' || called.name || '\\s*\\(')
    AND NOT EXISTS (SELECT FROM pg_proc AS f WHERE f.proname = called.name)
ORDER BY 1, 2
"""


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError, psycopg.Error."""
    with ground.look() as connection:
        [(version, installed, available, core, others, executable)] = fetch_rows(connection, _HAVE)
        callers = {
            extension: fetch_rows(connection, _CALLERS, (list(names),))
            for extension, names in _FUNCTIONS.items()
        }
        tried = _try(connection) if core and executable else ""
    there = set(installed or ())
    yield from evaluate_own(version, core=core, pgcrypto="pgcrypto" in there, tried=tried)
    yield from _evaluate_rights(core=core, executable=bool(executable), others=others)
    for extension, found in callers.items():
        yield from evaluate_callers(
            extension, found, installed=extension in there, available=extension in (available or ())
        )


def _try(connection: Connection) -> str:
    [(made,)] = fetch_rows(connection, "SELECT pg_catalog.gen_random_uuid()::text")
    return str(made)


def evaluate_own(version: int, *, core: bool, pgcrypto: bool, tried: str) -> Iterator[Finding]:
    """`core`: the function is in pg_catalog; `tried` is the UUID that it made, empty for none."""
    major = version // 10_000
    if core and tried:
        also = "pgcrypto is installed as well" if pgcrypto else "pgcrypto is not, and need not be"
        yield ok(f"gen_random_uuid() is PostgreSQL {major}'s own and made a UUID; {also}")
    elif not core and version < CORE_SINCE and not pgcrypto:
        yield problem(
            f"PostgreSQL {major} has no gen_random_uuid() of its own, and pgcrypto is missing",
            "the server has it itself since version 13; before, only pgcrypto has it",
            "CREATE EXTENSION IF NOT EXISTS pgcrypto;",
            _PLACE,
        )
    elif not core and version >= CORE_SINCE:
        yield problem(
            f"pg_catalog.gen_random_uuid() is missing, though PostgreSQL {major} brings it along",
            "somebody dropped it from the catalog; pgcrypto does not bring it back in this place",
            "restore the cluster's catalog: dump the databases and load them into a new cluster",
            _PLACE,
        )
    elif not core:
        yield ok(f"gen_random_uuid() is pgcrypto's on PostgreSQL {major}")


def _evaluate_rights(*, core: bool, executable: bool, others: Sequence[str]) -> Iterator[Finding]:
    if core and not executable:
        yield problem(
            "EXECUTE on gen_random_uuid() is not given to everybody",
            "somebody revoked it: whatever makes UUIDs fails for the application",
            "GRANT EXECUTE ON FUNCTION pg_catalog.gen_random_uuid() TO PUBLIC;",
            _PLACE,
        )
    if others and core:
        named = ", ".join(others)
        yield warning(
            f"there is another function of that name: {named}",
            "it comes first for whoever has its schema before pg_catalog in search_path",
            "\n".join(f"DROP FUNCTION {one};" for one in others),
            _PLACE,
        )


def evaluate_callers(
    extension: str, callers: Sequence[Sequence[str]], *, installed: bool, available: bool
) -> Iterator[Finding]:
    """`callers` are a function and what it calls that is nowhere."""
    if not callers:
        return
    told = "; ".join(f"{function} calls {name}()" for function, name in callers)
    create = f'CREATE EXTENSION IF NOT EXISTS "{extension}";'
    if not available and not installed:
        create = f"install the server's contrib package (postgresql-contrib), then\n{create}"
    if installed:
        yield unknown(f"{told}, which {extension} has in another version", f"\\dx+ {extension}")
        return
    yield problem(
        f"{told}, which only {extension} has, and it is not installed",
        "the extension was dropped or not restored: what a function's body names does not keep it",
        create,
        _PLACE,
    )
