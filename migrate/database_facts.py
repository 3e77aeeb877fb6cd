"""What a database has that no dump of it holds, and the statements that give it to another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.identifiers import literal, quote

_SQL = load_sql("restore")
# Settings that are lists of names (GUC_LIST_QUOTE): as one literal they would be one name.
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')
ICU, BUILTIN = "i", "b"


@dataclass(frozen=True)
class DatabaseFacts:
    """`grants`: to whom (None for everybody), what, and whether it may be passed on; None where
    nobody ever changed them. `settings`: of which role (None for all), name, value. `locale` is
    that of the provider, None where it has none of its own."""

    owner: str
    encoding: str
    tablespace: str
    connection_limit: int
    template: bool
    collate: str
    ctype: str
    provider: str
    locale: str | None
    icu_rules: str | None
    comment: str | None
    grants: tuple[tuple[str | None, str, bool], ...] | None
    settings: tuple[tuple[str | None, str, str], ...]


def fetch_facts(connection: Connection) -> DatabaseFacts:
    """Of the database that the session is in."""
    [(*rest, granted)] = connection.execute(_SQL["database"].encode()).fetchall()
    grants = connection.execute(_SQL["grants"].encode()).fetchall() if granted else None
    settings = connection.execute(_SQL["settings"].encode()).fetchall()
    given = None if grants is None else tuple(map(tuple, grants))
    return DatabaseFacts(*[*rest, given, tuple(map(tuple, settings))])


def plan_create(name: str, facts: DatabaseFacts, version: int) -> str:
    """An empty database that sorts and encodes as that one; `version` is the server's number."""
    parts = [
        f"CREATE DATABASE {quote(name)} TEMPLATE template0 OWNER {quote(facts.owner)}",
        f"ENCODING {literal(facts.encoding)} TABLESPACE {quote(facts.tablespace)}",
        f"LC_COLLATE {literal(facts.collate)} LC_CTYPE {literal(facts.ctype)}",
    ]
    if version >= 150_000:
        providers = {ICU: "icu", BUILTIN: "builtin"}
        parts.append(f"LOCALE_PROVIDER {providers.get(facts.provider, 'libc')}")
    if facts.locale is not None and facts.provider in (ICU, BUILTIN):
        word = "ICU_LOCALE" if facts.provider == ICU else "BUILTIN_LOCALE"
        parts.append(f"{word} {literal(facts.locale)}")
    if facts.icu_rules is not None:
        parts.append(f"ICU_RULES {literal(facts.icu_rules)}")
    return " ".join(parts)


def plan_copy(name: str, facts: DatabaseFacts) -> Iterator[str]:
    """What gives the database of that name the rest of it."""
    database = quote(name)
    yield f"ALTER DATABASE {database} CONNECTION LIMIT {facts.connection_limit}"
    if facts.template:
        yield f"ALTER DATABASE {database} IS_TEMPLATE true"
    if facts.comment is not None:
        yield f"COMMENT ON DATABASE {database} IS {literal(facts.comment)}"
    if facts.grants is not None:
        yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC, {quote(facts.owner)}"
        for grantee, privilege, grantable in facts.grants:
            to = "PUBLIC" if grantee is None else quote(grantee)
            option = " WITH GRANT OPTION" if grantable else ""
            yield f"GRANT {privilege} ON DATABASE {database} TO {to}{option}"
    for role, setting, value in facts.settings:
        who = f"DATABASE {database}"
        if role is not None:
            who = f"ROLE {quote(role)} IN {who}"
        yield f"ALTER {who} SET {_quote_setting(setting)} TO {_write_value(setting, value)}"


def _quote_setting(name: str) -> str:
    return ".".join(quote(part) for part in name.split("."))


def _write_value(setting: str, value: str) -> str:
    if setting not in _LISTS:
        return literal(value)
    names = [
        quoted.replace('""', '"') if plain == "" else plain
        for quoted, plain in _NAME.findall(value)
    ]
    return ", ".join(map(literal, names)) or "''"
