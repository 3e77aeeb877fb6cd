"""Names of tables and columns as the configuration writes them.

Written as the catalog shows them, so without folding of case; a name that holds a dot, a blank or
a quote is put in double quotes and its quotes are doubled, as in SQL.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PART = re.compile(r'"((?:[^"\0]|"")+)"|([^\s".\0]+)')
_PLAIN = re.compile(r"[^\s\".]+")
_MAX_BYTES = 63  # NAMEDATALEN - 1; the server would cut a longer name without an error


class TableName(NamedTuple):
    """Schema and table, bare, as `pg_namespace` and `pg_class` hold them."""

    schema: str
    table: str

    def __str__(self) -> str:
        return ".".join(_written(part) for part in self)


class ColumnName(NamedTuple):
    """A column of a table; `schema` is empty until the table is looked up by its bare name."""

    schema: str
    table: str
    column: str

    def __str__(self) -> str:
        return ".".join(_written(part) for part in self if part)


def _written(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'


def split_name(text: str) -> tuple[str, ...]:
    """The parts of a dotted, perhaps quoted name. Raises ValueError."""
    parts: list[str] = []
    position = 0
    while match := _PART.match(text, position):
        parts.append(match[1].replace('""', '"') if match[1] else match[2])
        position = match.end()
        if position == len(text):
            break
        if text[position] != ".":
            raise ValueError("a name with blanks or quotes is put in double quotes")
        position += 1
    else:
        raise ValueError("a part of the name is missing")
    if any(len(part.encode()) > _MAX_BYTES for part in parts):
        raise ValueError(f"a name has at most {_MAX_BYTES} bytes")
    return tuple(parts)


def parse_table(text: str) -> TableName:
    """`schema.table`. Raises ValueError."""
    parts = split_name(text)
    if len(parts) != 2:
        raise ValueError("give the schema too, for example public.users")
    return TableName(*parts)


def parse_identifier(text: str) -> str:
    """One name. Raises ValueError."""
    parts = split_name(text)
    if len(parts) != 1:
        raise ValueError("a single name; put it in double quotes if it holds a dot")
    return parts[0]


def parse_column(text: str) -> ColumnName:
    """`table.column` or `schema.table.column`. Raises ValueError."""
    parts = split_name(text)
    if len(parts) not in (2, 3):
        raise ValueError("give table and column, for example users.uuid")
    return ColumnName("", *parts) if len(parts) == 2 else ColumnName(*parts)
