"""The kinds of value that a setting can have.

A shape is the one place that knows how such a value is read from the document, described to a
reader, written into the JSON Schema and printed back. `read` returns `INVALID` after it has told
the fault to the reader; it never raises.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from phasegate.contract import units
from phasegate.contract.document import Node, Reader, Scalar, Unusable, describe_node, is_text
from phasegate.contract.frozen import frozen
from phasegate.contract.secrets import HIDDEN, Dsn, Secret


class _Invalid:
    def __repr__(self) -> str:
        return "INVALID"


INVALID: Final = _Invalid()


class Shape(ABC):
    """One kind of value. `expected` completes "found …, expected …"."""

    expected: str
    secret: bool = False

    @abstractmethod
    def read(self, node: Node, reader: Reader) -> Any:
        """The value of `node`, or `INVALID`."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of what an editor may accept, variables of the environment included."""

    def plain(self, value: Any) -> Any:
        """`value` as YAML and JSON can hold it, without secrets."""
        return value

    @property
    def brief(self) -> str:
        """`expected` for a page that explains the kinds of value once."""
        return self.expected

    def refuse(self, node: Node, reader: Reader, hint: str = "") -> _Invalid:
        if not isinstance(node, Unusable):
            reader.fault(node, describe_node(node, self.secret), self.expected, hint)
        return INVALID


VARIABLE_SCHEMA = {"type": "string", "pattern": r"\$\{"}


def with_variable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, VARIABLE_SCHEMA]}


@frozen
class Text(Shape):
    """A text. `pattern` is matched whole; `expected` says it in words."""

    expected: str = "text"
    pattern: str = ""
    secret: bool = False

    def text(self, node: Node, reader: Reader) -> str | _Invalid:
        if not isinstance(node, Scalar):
            return self.refuse(node, reader)
        if node.kind != "text":
            hint = "" if node.kind == "nothing" else "write it in quotes"
            return self.refuse(node, reader, hint)
        if not is_text(node.text):
            return self.refuse(node, reader, "it is no text in UTF-8")
        if not node.text.strip():
            empty = f"nothing in ${{{node.variables[0]}}}" if node.variables else "an empty text"
            reader.fault(node, empty, self.expected)
            return INVALID
        if self.pattern and not re.fullmatch(self.pattern, node.text):
            return self.refuse(node, reader)
        return node.text

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        return Secret(text) if self.secret and isinstance(text, str) else text

    def json_schema(self) -> dict[str, Any]:
        if not self.pattern:
            return {"type": "string", "minLength": 1}
        return with_variable({"type": "string", "pattern": f"^(?:{self.pattern})$"})

    def plain(self, value: Any) -> Any:
        return HIDDEN if self.secret else value


@frozen
class Converted(Text):
    """A text that `convert` turns into a value of its own, or refuses by ValueError."""

    convert: Callable[[str], Any] = str

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        if not isinstance(text, str):
            return INVALID
        try:
            return self.convert(text)
        except ValueError as error:
            return self.refuse(node, reader, str(error))

    def plain(self, value: Any) -> Any:
        return str(value)


@frozen
class ConnectionString(Text):
    """Where a server is, perhaps with a password. `check` raises ValueError on a malformed one."""

    secret: bool = True
    check: Callable[[str], object] = str

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        if not isinstance(text, str):
            return INVALID
        try:
            self.check(text)
        except ValueError as error:
            return self.refuse(node, reader, str(error))
        return Dsn(text)


@frozen
class FilePath(Text):
    """A path; a relative one starts from the folder of the configuration file."""

    expected: str = "a path"

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        if not isinstance(text, str):
            return INVALID
        try:
            return reader.base / Path(text).expanduser()
        except RuntimeError:
            return self.refuse(node, reader, "the home directory of that user is not known")

    def plain(self, value: Any) -> Any:
        return str(value)


@frozen
class Regex(Text):
    """A regular expression, kept as text; it is matched whole."""

    expected: str = "a regular expression"

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        if not isinstance(text, str):
            return INVALID
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            return self.refuse(node, reader, f"it does not compile: {type(error).__name__}")
        return text


@frozen
class HttpUrl(Text):
    """An http or https URL without user and password, which have keys of their own."""

    expected: str = "an http:// or https:// URL"

    def read(self, node: Node, reader: Reader) -> Any:
        text = self.text(node, reader)
        if not isinstance(text, str):
            return INVALID
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable or re.search(r"\s", text):
            reader.fault(node, "a text that is no such URL", self.expected)
            return INVALID
        if "@" in parts.netloc:
            reader.fault(
                node, "a user or password in the URL", self.expected + " without them",
                "give them as basic_auth",
            )  # fmt: skip
            return INVALID
        return text

    def json_schema(self) -> dict[str, Any]:
        return with_variable({"type": "string", "pattern": r"^https?://[^\s@/?#]+([/?#]\S*)?$"})


@frozen
class Choice(Shape):
    """One of a few values, texts or whole numbers."""

    values: tuple[str | int, ...]

    @property
    def expected(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(str(value) for value in self.values)

    def read(self, node: Node, reader: Reader) -> Any:
        if isinstance(node, Scalar):
            for value in self.values:
                right_kind = (node.kind == "number") == isinstance(value, int)
                if node.text == str(value) and (right_kind or node.variables):
                    return value
        return self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        return with_variable({"enum": list(self.values)})


@frozen
class Switch(Shape):
    """On or off."""

    expected: str = "true or false"

    def read(self, node: Node, reader: Reader) -> Any:
        if isinstance(node, Scalar):
            if node.kind == "boolean":
                return node.truth
            if node.variables and node.text in ("true", "false"):
                return node.text == "true"
        return self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        return with_variable({"type": "boolean"})


@frozen
class Number(Shape):
    """A finite number between `least` and `most`, whole where `whole`."""

    what: str
    least: float
    most: float
    whole: bool = False

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"{self.what} from {self.least:.12g} to {self.most:.12g}"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(node, reader)
        if node.kind == "text" and not node.variables:
            quoted = re.fullmatch(r"[0-9.]+", node.text)
            return self.refuse(node, reader, "write it without quotes" if quoted else "")
        grammar = r"-?[0-9]{1,18}" if self.whole else r"-?[0-9]{1,18}(\.[0-9]*)?([eE]-?[0-9]{1,3})?"
        if not re.fullmatch(grammar, node.text):
            return self.refuse(node, reader)
        value = int(node.text) if self.whole else float(node.text)
        if not math.isfinite(value) or not self.least <= value <= self.most:
            return self.refuse(node, reader)
        return value

    def json_schema(self) -> dict[str, Any]:
        kind = "integer" if self.whole else "number"
        return with_variable({"type": kind, "minimum": self.least, "maximum": self.most})


@frozen
class Duration(Shape):
    """A duration, read into float seconds between `least` and `most`."""

    least: float = 0.001
    most: float = 10 * 365 * 86_400.0

    @property
    def brief(self) -> str:
        least, most = units.format_duration(self.least), units.format_duration(self.most)
        return f"a duration from {least} to {most}"

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"{self.brief}, such as 200ms, 10s, 15m, 24h or 7d"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(node, reader)
        try:
            value = units.parse_duration(node.text)
        except ValueError:
            bare = node.kind == "number"
            return self.refuse(node, reader, "a duration needs its unit" if bare else "")
        return value if self.least <= value <= self.most else self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        return with_variable({"type": "string", "pattern": units.DURATION_PATTERN})

    def plain(self, value: Any) -> Any:
        return units.format_duration(value)


@frozen
class Size(Shape):
    """A size, read into whole bytes between `least` and `most`."""

    least: int = 1
    most: int = 2**50

    @property
    def brief(self) -> str:
        return f"a size from {units.format_size(self.least)} to {units.format_size(self.most)}"

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"{self.brief}, such as 64MB, 10GiB or a number of bytes"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(node, reader)
        try:
            value = units.parse_size(node.text)
        except ValueError:
            return self.refuse(node, reader)
        return value if self.least <= value <= self.most else self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        size = {"type": "string", "pattern": units.SIZE_PATTERN}
        number = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [size, number, VARIABLE_SCHEMA]}

    def plain(self, value: Any) -> Any:
        return units.format_size(value)


@frozen
class JsonScalar(Shape):
    """Any text, number, boolean or null, as JSON would have it."""

    expected: str = "a text, a number, true, false or null"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, Scalar):
            return self.refuse(node, reader)
        match node.kind:
            case "nothing":
                return None
            case "boolean":
                return node.truth
            case "text":
                return node.text
        if re.fullmatch(r"-?[0-9]{1,18}", node.text):
            return int(node.text)
        try:
            value = float(node.text.replace("_", ""))
        except ValueError:
            return self.refuse(node, reader)
        return value if math.isfinite(value) else self.refuse(node, reader)

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "number", "boolean", "null"]}
