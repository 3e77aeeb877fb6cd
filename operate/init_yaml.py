"""Texts as the reader of `phasegate.yaml` takes them back: whatever a name holds, it stays a name.

A table may be called `${X}`, `yes` or `a: b # c`, or hold a line break; none of that may become a
variable, another type, a key or a line of its own, in a comment neither.
"""

from __future__ import annotations

import re
import textwrap

from phasegate.contract.names import ColumnName

WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(text: str) -> str:
    """A text: plain where nothing of it could be misread, else in double quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return f'"{"".join(map(_escape, _literal(text)))}"'


def column(name: str) -> str:
    """The name of a column, as the settings spell one."""
    return scalar(str(ColumnName("", "", name)))


def block(text: str, indent: int) -> list[str]:
    """A text of several lines, each on a line of its own where that keeps it as it is; what comes
    after the key."""
    lines = text.split("\n")
    if all(line == line.strip() and line and shown(line) == line for line in lines):
        return ["|-", *(" " * indent + _literal(line) for line in lines)]
    return [scalar(text)]


def comment(text: str, indent: int = 0, mark: str = "# ") -> list[str]:
    """Lines of a comment, wrapped."""
    lead = " " * indent + mark
    return textwrap.wrap(
        shown(text),
        WIDTH,
        initial_indent=lead,
        subsequent_indent=lead,
        break_long_words=False,
        break_on_hyphens=False,
    )


def shown(text: str) -> str:
    """The text on one line, with what cannot be seen or would end it written as an escape."""
    return "".join(one if one.isprintable() else _coded(one) for one in text)


def _literal(text: str) -> str:
    """`${` would begin a variable."""
    return text.replace("${", "$${")


def _escape(one: str) -> str:
    return _ESCAPES.get(one) or (one if one.isprintable() else _coded(one))


def _coded(one: str) -> str:
    code = ord(one)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
