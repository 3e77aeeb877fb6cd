"""The shapes of values that several sections of the settings share."""

from __future__ import annotations

from typing import Any

from phasegate.contract.cache_address import parse_cache_url
from phasegate.contract.document import Node, Reader
from phasegate.contract.names import parse_column, parse_identifier, parse_table
from phasegate.contract.sections import ListOf
from phasegate.contract.shapes import INVALID, ConnectionString, Converted, Text
from phasegate.contract.units import RETENTION_PATTERN, parse_retention


class Command(tuple[str, ...]):
    """A program and its arguments; these may be secrets, so that it prints as the program alone."""

    __slots__ = ()

    @property
    def shown(self) -> list[str]:
        """What may be seen of it."""
        hidden = len(self) - 1
        plural = "s" if hidden > 1 else ""
        return [self[0], *([f"… {hidden} argument{plural} hidden"] if hidden else ())]

    def __repr__(self) -> str:
        return repr(tuple(self.shown))


class _Argument(Text):
    def read(self, node: Node, reader: Reader) -> Any:
        return self.text(node, reader)


class _Argv(ListOf):
    def read(self, node: Node, reader: Reader) -> Any:
        values = super().read(node, reader)
        return values if values is INVALID or INVALID in values else Command(values)

    def plain(self, value: Any) -> Any:
        return value.shown


NAME = Text(
    "a name of letters, digits, dots, dashes and underscores", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
)
WORD = Text("a word of small letters, digits and underscores", r"[a-z][a-z0-9_]{0,62}")
METRIC_NAME = Text("the name of a metric", r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
TABLE = Converted("schema.table, as the catalog spells them", convert=parse_table)
FUNCTION = Converted("schema.function, as the catalog spells them", convert=parse_table)
COLUMN = Converted("the name of a column, as the catalog spells it", convert=parse_identifier)
COLUMN_OF_TABLE = Converted("table.column or schema.table.column", convert=parse_column)
COMMAND = _Argv(
    _Argument("a program or an argument", secret=True), "program and arguments", least=1
)
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
