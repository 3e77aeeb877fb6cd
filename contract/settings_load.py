"""From `phasegate.yaml` and the environment to `Settings`: all faults at once, or none.

The only I/O is reading the one file. Secrets that were read are taught to the process's redactor
before anything can log them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phasegate.contract.document import (
    Entry,
    MappingNode,
    Node,
    Reader,
    Scalar,
    Sequence,
    join_key,
    read_document,
)
from phasegate.contract.errors import ConfigError
from phasegate.contract.secrets import Secret, redactor
from phasegate.contract.sections import ListOf, MapOf, Section, keys_of, tell
from phasegate.contract.settings import SETTINGS, Settings
from phasegate.contract.settings_rules import NO_DATABASE
from phasegate.contract.shapes import INVALID, Shape

_NOWHERE = "the environment"
_FROM_ENVIRONMENT = (("database", "DATABASE_URL"), ("cache", "REDIS_URL"))


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one that is named, else PHASEGATE_CONFIG, else ./phasegate.yaml."""
    if path is not None:
        return path
    if named := environ.get("PHASEGATE_CONFIG"):
        return Path(named)
    usual = Path("phasegate.yaml")
    return usual if usual.is_file() else None


def load_settings(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    connects: bool = True,
    measures: bool = True,
) -> Settings:
    """The settings of a file, or of DATABASE_URL and REDIS_URL alone where `path` is None.

    Raises ConfigError with every fault of the file. Whoever `connects` must know where to; who
    does not must know at least which database it is; who does not even say what was measured, as
    rules and boards do not, needs none.
    """
    reader = Reader(
        file=str(path) if path else _NOWHERE,
        base=(path.parent if path else Path()).absolute(),
        environ=environ,
    )
    written = MappingNode("", 0, 0, ()) if path is None else _read(path, reader)
    settings: Any = INVALID
    if written is not None:
        settings = SETTINGS.read(_with_environment(written, environ), reader)
    if written is not None and settings is not INVALID and measures:
        _demand_database(settings, written, reader, connects=connects)
    if reader.faults:
        faults = sorted(reader.faults, key=lambda fault: (fault.line, fault.column, fault.key))
        raise ConfigError(tuple(faults))
    assert written is not None
    assert isinstance(settings, Settings)
    redactor.learn(secrets_of(settings))
    unused = tuple(_unused(written, SETTINGS))
    return dataclasses.replace(_resolved(settings, reader.base), file=path, without_effect=unused)


def _demand_database(settings: Settings, written: Node, reader: Reader, *, connects: bool) -> None:
    database = settings.database
    # Whose identity is pinned can be judged by who cannot connect.
    if not (database.configured or (database.identity.pinned and not connects)):
        tell(NO_DATABASE, written, reader)


def _read(path: Path, reader: Reader) -> Node | None:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "an odd name"
        reader.fault(Node("", 0, 0), f"a file that cannot be read ({reason})", "a readable file")
        return None
    return read_document(data, reader)


def _with_environment(written: Node, environ: Mapping[str, str]) -> Node:
    """The document with DATABASE_URL and REDIS_URL where it does not say itself where to go."""
    if not isinstance(written, MappingNode):
        return written
    entries = {entry.name: entry for entry in written.entries}
    for section, variable in _FROM_ENVIRONMENT:
        value = environ.get(variable)
        place = Node(section, 0, 0)
        old = entries.get(section, Entry(section, place, MappingNode(section, 0, 0, ()))).value
        if not value or not isinstance(old, MappingNode) or old.get("url") or old.get("url_file"):
            continue
        key = join_key(section, "url")
        url = Entry("url", Node(key, 0, 0), Scalar(key, 0, 0, value, False, (variable,)))
        filled = dataclasses.replace(old, entries=(*old.entries, url))
        entries[section] = Entry(section, place, filled)
    return dataclasses.replace(written, entries=tuple(entries.values()))


def _resolved(settings: Settings, base: Path) -> Settings:
    """With what needs more than its own section: schemas of parameters, defaults of paths."""
    schemas = {table.name.table: table.name.schema for table in settings.tables}
    lookups = tuple(
        lookup
        if lookup.parameter.schema
        else dataclasses.replace(
            lookup,
            parameter=lookup.parameter._replace(schema=schemas[lookup.parameter.table]),
        )
        for lookup in settings.lookups
    )
    backup = settings.migrate.backup
    backup = dataclasses.replace(backup, directory=base / backup.directory)
    migrate = dataclasses.replace(settings.migrate, backup=backup)
    return dataclasses.replace(settings, lookups=lookups, migrate=migrate)


def _unused(node: Node, shape: Shape) -> Iterator[str]:
    """The keys below `node` that have no effect yet; nothing below one of them."""
    if isinstance(node, Sequence) and isinstance(shape, ListOf):
        for item in node.items:
            yield from _unused(item, shape.item)
    elif isinstance(node, MappingNode) and isinstance(shape, MapOf):
        for entry in node.entries:
            yield from _unused(entry.value, shape.item)
    elif isinstance(node, MappingNode) and isinstance(shape, Section):
        keys = keys_of(shape.of)
        for entry in node.entries:
            if keys[entry.name].effect_later:
                yield entry.place.key
            else:
                yield from _unused(entry.value, keys[entry.name].shape)


def secrets_of(value: Any) -> set[str]:
    """Every text within settings, or a part of them, that must not be seen."""
    if isinstance(value, Secret):
        return value.parts()
    if dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, tuple):
        parts = list(value)
    else:
        return set()
    return {text for part in parts for text in secrets_of(part)}
