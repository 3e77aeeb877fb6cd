"""The shapes of values that several sections of the settings share."""

from __future__ import annotations

from phasegate.contract.cache_address import parse_cache_url
from phasegate.contract.names import parse_column, parse_identifier, parse_table
from phasegate.contract.sections import ListOf
from phasegate.contract.shapes import ConnectionString, Converted, Text
from phasegate.contract.units import RETENTION_PATTERN, parse_retention

NAME = Text(
    "a name of letters, digits, dots, dashes and underscores", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
)
WORD = Text("a word of small letters, digits and underscores", r"[a-z][a-z0-9_]{0,62}")
METRIC_NAME = Text("the name of a metric", r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
TABLE = Converted("schema.table, as the catalog spells them", convert=parse_table)
COLUMN = Converted("the name of a column, as the catalog spells it", convert=parse_identifier)
COLUMN_OF_TABLE = Converted("table.column or schema.table.column", convert=parse_column)
COMMAND = ListOf(Text("a program or an argument"), "program and arguments", least=1)
RETENTION = Converted(
    "a span such as 90 days or 24 months", RETENTION_PATTERN[1:-1], convert=parse_retention
)
DATABASE_URL = ConnectionString(
    "a libpq connection string: postgresql://… or keyword=value pairs",
    r"postgres(?:ql)?://[\s\S]*|\s*[a-z_]+\s*=[\s\S]*",
)
CACHE_URL = ConnectionString(
    "a URL with redis://, rediss://, unix://, or with +sentinel or +cluster after redis or rediss",
    r"(?:rediss?(?:\+sentinel|\+cluster)?://\S+|unix:/\S+)",
    check=parse_cache_url,
)
