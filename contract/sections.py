"""Shapes that hold others: lists, maps by name, and sections with known keys.

A section is a `keyed` class whose fields are made by `setting(…)`: the field's name is the key in
the file, its metadata the sentence, the shape and the example that the reader, the JSON Schema, the
reference and `/config` all share.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from phasegate.contract.document import Entry, MappingNode, Node, Reader, Sequence, join_key
from phasegate.contract.frozen import frozen
from phasegate.contract.shapes import INVALID, Shape, Text

_METADATA = "setting"


@frozen
class Key:
    """What is known of one key. `effect_later`: read and checked, but nothing uses it yet."""

    shape: Shape
    doc: str
    example: str
    required: bool
    effect_later: bool


def setting(
    shape: Shape,
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    example: str = "",
    effect_later: bool = False,
) -> Any:
    """A dataclass field for one key; without `default` the file must give it."""
    required = default is dataclasses.MISSING
    metadata = {_METADATA: Key(shape, doc, example, required, effect_later)}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def without_effect_yet(section: type, name: str) -> Any:
    """The inherited key `name` once more, marked as one that nothing uses yet."""
    field = next(field for field in dataclasses.fields(section) if field.name == name)
    known = dataclasses.replace(field.metadata[_METADATA], effect_later=True)
    return dataclasses.field(default=field.default, metadata={_METADATA: known})


def keys_of(section: type) -> dict[str, Key]:
    """The keys of a section, in the order of the class."""
    return {
        field.name: field.metadata[_METADATA]
        for field in dataclasses.fields(section)
        if _METADATA in field.metadata
    }


def default_of(section: type, name: str) -> Any:
    """The value of an absent key; `dataclasses.MISSING` where it must be given."""
    field = next(field for field in dataclasses.fields(section) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


class Contradiction(NamedTuple):
    """Values that are fine alone and wrong together. `path` leads to the one to point at."""

    path: tuple[str | int, ...]
    found: str
    expected: str
    hint: str = ""


Rule = Callable[[Mapping[str, Any]], Iterator[Contradiction]]


@frozen
class ListOf(Shape):
    """A list, read into a tuple; an item with a fault is `INVALID` in it."""

    item: Shape
    what: str
    least: int = 0
    unique: bool = False
    secret = True  # a text in its place may be one of the secrets that belong below it

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a list of {self.what}" + (f", at least {self.least}" if self.least else "")

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, Sequence):
            return self.refuse(node, reader)
        if len(node.items) < self.least:
            reader.fault(node, "an empty list" if not node.items else "too few", self.expected)
            return INVALID
        values: list[Any] = []
        for item in node.items:
            value = self.item.read(item, reader)
            if self.unique and value is not INVALID and value in values:
                reader.fault(item, f"{self.item.plain(value)} a second time", "each once")
            values.append(value)
        return tuple(values)

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array", "items": self.item.json_schema()}
        schema |= {"minItems": self.least} if self.least else {}
        return schema | ({"uniqueItems": True} if self.unique else {})

    def plain(self, value: Any) -> Any:
        return [self.item.plain(item) for item in value]


@frozen
class MapOf(Shape):
    """A mapping from names of the user's choice to one shape; one with a fault is `INVALID`."""

    item: Shape
    what: str
    name: Text
    secret = True

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a mapping of {self.what}"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, MappingNode):
            return self.refuse(node, reader)
        values: dict[str, Any] = {}
        for entry in node.entries:
            if not re.fullmatch(self.name.pattern or r"[\s\S]+", entry.name):
                reader.fault(entry.place, "this name", self.name.expected)
            values[entry.name] = self.item.read(entry.value, reader)
        return values

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "additionalProperties": self.item.json_schema(),
        }
        if self.name.pattern:
            schema["propertyNames"] = {"pattern": f"^(?:{self.name.pattern})$"}
        return schema

    def plain(self, value: Any) -> Any:
        return {name: self.item.plain(item) for name, item in value.items()}


@frozen
class Section(Shape):
    """A mapping with known keys, read into the dataclass `of`."""

    of: type
    what: str
    rules: tuple[Rule, ...] = ()
    secret = True

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a mapping: {self.what}"

    def read(self, node: Node, reader: Reader) -> Any:
        if not isinstance(node, MappingNode):
            return self.refuse(node, reader)
        keys = keys_of(self.of)
        values: dict[str, Any] = {}
        complete = True
        for entry in node.entries:
            if entry.name not in keys:
                _refuse_unknown(entry, keys, reader)
                complete = False
                continue
            values[entry.name] = keys[entry.name].shape.read(entry.value, reader)
        for name, known in keys.items():
            if known.required and name not in values:
                hint = f"for example {name}: {known.example}" if known.example else ""
                place = Node(join_key(node.key, name), node.line, node.column)
                reader.fault(place, "nothing", known.shape.expected, hint)
                complete = False
            elif not known.required:
                values.setdefault(name, default_of(self.of, name))
        usable = {name: value for name, value in values.items() if value is not INVALID}
        for rule in self.rules:
            for contradiction in rule(usable):
                tell(contradiction, node, reader)
        complete = complete and len(usable) == len(keys)
        return self.of(**usable) if complete else INVALID

    def json_schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.of.__name__}"}

    def plain(self, value: Any) -> Any:
        return {
            name: None if (part := getattr(value, name)) is None else known.shape.plain(part)
            for name, known in keys_of(self.of).items()
        }


def _refuse_unknown(entry: Entry, keys: Mapping[str, Key], reader: Reader) -> None:
    near = difflib.get_close_matches(entry.name, keys, n=1)
    hint = f"did you mean {near[0]}?" if near else ""
    reader.fault(entry.place, "an unknown key", "one of " + ", ".join(keys), hint)


def tell(contradiction: Contradiction, node: Node, reader: Reader) -> None:
    """Points at the deepest node that the path leads to: an absent key has no place."""
    place, name = node, node.key
    for step in contradiction.path:
        child: Node | None = None
        if isinstance(step, int):
            name = f"{name}[{step}]"
            if isinstance(place, Sequence) and step < len(place.items):
                child = place.items[step]
        else:
            name = join_key(name, step)
            child = place.get(step) if isinstance(place, MappingNode) else None
        place = child or place
    reader.fault(
        Node(name, place.line, place.column),
        contradiction.found,
        contradiction.expected,
        contradiction.hint,
    )
