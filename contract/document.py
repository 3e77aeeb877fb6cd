"""A YAML document as nodes with places: strict, bounded, with variables expanded.

Built from the parser's events and not from loaded objects, since only events tell where a value
stood, that a key came twice, and what was quoted. Every fault is gathered, none is raised. What a
variable of the environment holds never appears in a fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from phasegate.contract.errors import ConfigFault
from phasegate.contract.frozen import frozen
from phasegate.contract.secrets import redact

MAX_BYTES = 1_048_576
_MAX_DEPTH = 24
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VARIABLE = re.compile(
    r"\$(?P<escape>\$)(?=\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<broken>\$\{)"
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTHS = {
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ODD_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)|[-+]?0[xob][0-9a-fA-F_]+")


@frozen
class Node:
    """One value with its place. `key` is the dotted path from the top, with `[n]` in lists."""

    key: str
    line: int
    column: int


@frozen
class Scalar(Node):
    """`text` is what was written, with variables expanded; `quoted` as the file had it.

    `variables` names what came from the environment; such a value is shown in no fault.
    """

    text: str
    quoted: bool
    variables: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What a reader of YAML takes it for: text, number, boolean or nothing."""
        if self.quoted or self.variables:
            return "text"
        if self.text in _NULLS:
            return "nothing"
        if self.text in _TRUTHS:
            return "boolean"
        if _NUMBER.fullmatch(self.text) or _ODD_NUMBER.fullmatch(self.text):
            return "number"
        return "text"

    @property
    def truth(self) -> bool:
        """The value of a boolean. Raises KeyError for anything else."""
        return _TRUTHS[self.text]


@frozen
class Sequence(Node):
    items: tuple[Node, ...]


@frozen
class Entry:
    """A key of a mapping, the place of the key itself, and its value."""

    name: str
    place: Node
    value: Node


@frozen
class MappingNode(Node):
    entries: tuple[Entry, ...]

    def get(self, name: str) -> Node | None:
        return next((entry.value for entry in self.entries if entry.name == name), None)


@frozen
class Unusable(Node):
    """A value whose fault has been told already."""


@dataclass
class Reader:
    """Where the faults of one document are gathered, and what its values may refer to."""

    file: str
    base: Path
    environ: Mapping[str, str]
    faults: list[ConfigFault] = field(default_factory=list)

    def fault(self, place: Node, found: str, expected: str, hint: str = "") -> None:
        fault = ConfigFault(
            file=self.file,
            line=place.line,
            column=place.column,
            key=redact(place.key or "(document)"),
            found=redact(found),
            expected=expected,
            hint=hint,
        )
        if fault not in self.faults:
            self.faults.append(fault)


def describe_node(node: Node, secret: bool = False) -> str:
    """What was found, fit for a fault: never the text of a secret or of a variable."""
    if not isinstance(node, Scalar):
        return "a mapping" if isinstance(node, MappingNode) else "a list"
    if node.variables:
        return f"the value of ${{{'}, ${'.join(node.variables)}}}"
    if node.kind == "nothing":
        return "nothing"
    if secret:
        return f"a {node.kind}"
    shown = node.text if len(node.text) <= 60 else node.text[:57] + "…"
    return f"the {node.kind} {shown!r}"


def is_text(text: str) -> bool:
    """False for what neither UTF-8 nor a server can hold: bytes of a variable that were no text."""
    return "\0" not in text and not re.search("[\ud800-\udfff]", text)


def join_key(parent: str, name: str) -> str:
    """`a` and `b` -> `a.b`; a name with odd characters is quoted."""
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else repr(name[:60])
    return f"{parent}.{shown}" if parent else shown


_TOP = Node("", 1, 1)


def read_document(data: bytes, reader: Reader) -> Node | None:
    """The root node of one YAML document; None, with a fault, where there is none."""
    if len(data) > MAX_BYTES:
        reader.fault(_TOP, f"{len(data)} bytes", f"at most {MAX_BYTES} bytes")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reader.fault(Node("", line, 1), f"byte {error.start} is not UTF-8", "UTF-8 text")
        return None
    try:
        return _Builder(text, reader).document()
    except yaml.YAMLError as error:
        _fault_of_syntax(error, reader)
        return None


def _fault_of_syntax(error: yaml.YAMLError, reader: Reader) -> None:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "a character that YAML does not allow"
    # The parser quotes the offending text, which may be part of a password.
    problem = re.sub(r"'[^']{2,}'", "some text", str(problem))
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    hint = "indent with spaces; a tab is not allowed" if "\\t" in problem else ""
    reader.fault(Node("", line, column), problem, "valid YAML", hint)


class _TooDeep(yaml.YAMLError):
    def __init__(self, event: yaml.Event) -> None:
        self.problem = f"more than {_MAX_DEPTH} levels of nesting"
        self.problem_mark = event.start_mark


def _place(key: str, event: yaml.Event) -> Node:
    assert event.start_mark is not None  # only events that are made by hand have none
    return Node(key, event.start_mark.line + 1, event.start_mark.column + 1)


class _Builder:
    """Turns the events of one document into nodes."""

    def __init__(self, text: str, reader: Reader) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        self._reader = reader

    def document(self) -> Node | None:
        next(self._events)  # the start of the stream
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            self._reader.fault(_TOP, "an empty file", "a mapping of settings")
            return None
        root = self._node(next(self._events), "", 0)
        next(self._events)  # the end of the document
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._reader.fault(_place("", after), "a second document", "one document")
        return root

    def _node(self, event: yaml.Event, key: str, depth: int) -> Node:
        place = _place(key, event)
        if depth > _MAX_DEPTH:
            raise _TooDeep(event)
        refused = self._refused(event, place)
        node = Unusable(place.key, place.line, place.column)
        if isinstance(event, yaml.MappingStartEvent):
            mapping = self._mapping(place, depth)
            return node if refused else mapping
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = self._sequence(place, depth)
            return node if refused else sequence
        if isinstance(event, yaml.ScalarEvent) and not refused:
            return self._scalar(place, event)
        return node

    def _refused(self, event: yaml.Event, place: Node) -> bool:
        if isinstance(event, yaml.AliasEvent):
            self._reader.fault(place, "an alias", "the value itself", "aliases are not read")
            return True
        if getattr(event, "anchor", None):
            self._reader.fault(place, "an anchor", "a plain value", "anchors are not read")
            return True
        if getattr(event, "tag", None) is not None:
            self._reader.fault(place, "a tag", "a plain value", "tags are not read")
            return True
        return False

    def _sequence(self, place: Node, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, f"{place.key}[{len(items)}]", depth + 1))
        return Sequence(place.key, place.line, place.column, tuple(items))

    def _mapping(self, place: Node, depth: int) -> MappingNode:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._node(event, place.key, depth + 1)
                self._node(next(self._events), place.key, depth + 1)
                self._reader.fault(_place(place.key, event), "a key of many parts", "a word")
                continue
            name = event.value
            key = _place(join_key(place.key, name), event)
            value = self._node(next(self._events), key.key, depth + 1)
            if name in entries:
                first = entries[name].place.line
                self._reader.fault(key, "the same key again", f"one; the first is in line {first}")
            elif name == "<<":
                self._reader.fault(key, "a merge key", "the keys themselves")
            else:
                entries[name] = Entry(name, key, value)
        return MappingNode(place.key, place.line, place.column, tuple(entries.values()))

    def _scalar(self, place: Node, event: yaml.ScalarEvent) -> Node:
        if "${" not in event.value:
            quoted = event.style not in (None, "")
            return Scalar(place.key, place.line, place.column, event.value, quoted)
        return self._expanded(place, event.value)

    def _expanded(self, place: Node, text: str) -> Node:
        names: list[str] = []
        faults = len(self._reader.faults)

        def value_of(match: re.Match[str]) -> str:
            if match["escape"]:
                return "$"
            if match["broken"]:
                self._reader.fault(
                    place, "an unfinished ${", "${NAME} or ${NAME:-default}", "$${ is a literal ${"
                )
                return ""
            name, default = match["name"], match["default"]
            value = self._reader.environ.get(name)
            if value is None and default is None:
                self._reader.fault(
                    place, f"${{{name}}}, which is not set", f"the environment variable {name}"
                )
                return ""
            names.append(name)
            return (value or default) if default is not None else (value or "")

        expanded = _VARIABLE.sub(value_of, text)
        if not is_text(expanded):
            shown = ", ".join(f"${{{name}}}" for name in names)
            self._reader.fault(place, f"bytes that are no text in {shown}", "UTF-8 text")
        if len(self._reader.faults) > faults:
            return Unusable(place.key, place.line, place.column)
        return Scalar(place.key, place.line, place.column, expanded, not names, tuple(names))
