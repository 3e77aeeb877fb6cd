"""Names as SQL needs them written: plain where that is safe, quoted where not."""

from __future__ import annotations

import hashlib
import re

from phasegate.contract.names import TableName

MAX_BYTES = 63  # NAMEDATALEN - 1; the server would cut a longer name without an error
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
# What PostgreSQL 18 takes for no column's or table's name, or only where nothing is ambiguous
# (pg_get_keywords, categories R, T and C); more quoting than an older server needs hurts nobody.
_WORDS = """
all analyse analyze and any array as asc asymmetric authorization between bigint binary bit
boolean both case cast char character check coalesce collate collation column concurrently
constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user dec decimal default deferrable desc distinct do else end except
exists extract false fetch float for foreign freeze from full grant greatest group grouping
having ilike in initially inner inout int integer intersect interval into is isnull join json
json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar
json_serialize json_table json_value lateral leading least left like limit localtime
localtimestamp merge_action national natural nchar none normalize not notnull null nullif
numeric offset on only or order out outer overlaps overlay placing position precision primary
real references returning right row select session_user setof similar smallint some substring
symmetric system_user table tablesample then time timestamp to trailing treat trim true union
unique user using values varchar variadic verbose when where window with xmlattributes
xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize
xmltable
"""
_RESERVED = frozenset(_WORDS.split())


def quote(name: str) -> str:
    """One name as an SQL identifier."""
    if _PLAIN.fullmatch(name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualify(table: TableName) -> str:
    """Schema and name of a table (an index, a function) as SQL identifiers."""
    return f"{quote(table.schema)}.{quote(table.table)}"


def literal(text: str) -> str:
    """A text as an SQL literal, whatever standard_conforming_strings says."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if "\\" not in text else " E'" + quoted.replace("\\", "\\\\") + "'"


def derive(*parts: str) -> str:
    """A name made of parts, at most 63 bytes; a long one is cut and told apart by a hash."""
    name = "_".join(parts)
    if len(name.encode()) <= MAX_BYTES:
        return name
    mark = "_" + _hash(name)
    return name.encode()[: MAX_BYTES - len(mark)].decode(errors="ignore") + mark


def derive_apart(prefix: str, *parts: str) -> str:
    """As `derive`, and another name for other parts: a_b and c are not taken for a and b_c."""
    if not any("_" in part for part in parts):
        return derive(prefix, *parts)
    return derive(prefix, *parts, _hash("\0".join(parts)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
