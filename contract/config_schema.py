"""The JSON Schema of `phasegate.yaml`, for editors, and its reference page, for people.

Both are pure renderings of `contract/settings.py`; `make generate` writes them and `make check`
compares them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import yaml

from phasegate.contract.sections import Key, ListOf, MapOf, Section, default_of, keys_of
from phasegate.contract.settings import SETTINGS
from phasegate.contract.shapes import Shape

_ADDRESS = "https://json-schema.org/draft/2020-12/schema"
_HEAD = """\
<!-- Generated from contract/settings.py by `make generate`; do not edit. -->

# Configuration

One file, `phasegate.yaml`: named by `--config` (`--config.file` for the exporter) or by
`PHASEGATE_CONFIG`, else the one in the working directory. `DATABASE_URL` and `REDIS_URL` alone are
enough to start; they also fill in for a `url` that the file leaves out.

- **Variables.** `${NAME}` and `${NAME:-default}` in any value are taken from the environment; the
  default also stands in for an empty variable. A variable that is not set and has no default is a
  fault. `$${` is a literal `${`.
- **Durations** need their unit: `200ms`, `10s`, `15m`, `24h`, `7d`, `2w`, `1h30m`.
- **Sizes**: `64MB` is decimal, `10GiB` binary; a number alone is bytes.
- **Names of tables and columns** are written as the catalog shows them, without folding of case. A
  part that holds a dot, a blank or a quote is put in double quotes, and its quotes are doubled.
- **Paths** that are relative start from the folder of the file.
- **Faults.** Unknown keys, wrong types, keys that come twice and values that contradict each other
  are refused, all at once, each with line and column. Anchors, aliases and tags are not read.
- **Secrets** are hidden in every log, page and error. A password shorter than four characters is
  hidden only where its place tells that it is one.

Keys marked *no effect yet* are read and checked in this release, and used by a later one;
`phasegate exporter --check-config` lists those of your file. An editor that reads the line
`# yaml-language-server: $schema=phasegate.schema.json` checks the file by
[phasegate.schema.json](phasegate.schema.json) while you type.
"""


def render_json_schema() -> str:
    """The JSON Schema (draft 2020-12), with a newline at its end."""
    definitions = {of.__name__: _definition(of) for of in _sections(SETTINGS)}
    schema = {
        "$schema": _ADDRESS,
        "$comment": "Generated from contract/settings.py by `make generate`; do not edit.",
        "title": "phasegate.yaml",
        **definitions.pop(SETTINGS.of.__name__),
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _definition(of: type) -> dict[str, Any]:
    keys = keys_of(of)
    properties = {}
    for name, known in keys.items():
        properties[name] = {"description": known.doc, **known.shape.json_schema()}
        default = default_of(of, name)
        if _shows_default(default):
            properties[name]["default"] = known.shape.plain(default)
    required = [name for name, known in keys.items() if known.required]
    return {
        "type": "object",
        "description": (of.__doc__ or "").partition("\n")[0],
        "additionalProperties": False,
        "properties": properties,
        **({"required": required} if required else {}),
    }


def _shows_default(default: Any) -> bool:
    """A default that says something: neither nothing nor a whole section of defaults."""
    return (
        default is not dataclasses.MISSING
        and not dataclasses.is_dataclass(default)
        and default not in (None, "", (), {})
    )


def _sections(shape: Shape) -> dict[type, Section]:
    """Every section below `shape`, itself first, each once."""
    found: dict[type, Section] = {}
    waiting = [shape]
    while waiting:
        match waiting.pop(0):
            case Section() as section if section.of not in found:
                found[section.of] = section
                waiting += [known.shape for known in keys_of(section.of).values()]
            case ListOf(item=item) | MapOf(item=item):
                waiting.append(item)
    return found


def render_configuration() -> str:
    """The reference page, in Markdown, with a newline at its end."""
    parts = [_HEAD, "## Top level\n", _table(SETTINGS.of)]
    for path, of in _headed(SETTINGS, ""):
        parts += [f"## `{path}`\n", f"{(of.__doc__ or '').strip()}\n", _table(of)]
    return "\n".join(parts)


def _headed(shape: Shape, path: str) -> list[tuple[str, type]]:
    """Path and class of every section in the file's order; a class that repeats comes once."""
    found: list[tuple[str, type]] = []
    waiting = [(path, shape)]
    while waiting:
        path, shape = waiting.pop(0)
        if isinstance(shape, ListOf):
            waiting.insert(0, (f"{path}[]", shape.item))
        elif isinstance(shape, MapOf):
            waiting.insert(0, (f"{path}.<name>", shape.item))
        elif isinstance(shape, Section) and shape.of not in [of for _, of in found]:
            found.append((path, shape.of))
            below = [
                (f"{path}.{name}".lstrip("."), known.shape)
                for name, known in keys_of(shape.of).items()
            ]
            waiting = below + waiting
    return found[1:]


def _table(of: type) -> str:
    rows = ["| key | default | what |", "| --- | --- | --- |"]
    rows += [_row(of, name, known) for name, known in keys_of(of).items()]
    return "\n".join(rows) + "\n"


def _row(of: type, name: str, known: Key) -> str:
    shown = _default_text(default_of(of, name), known)
    text = known.doc
    if not isinstance(known.shape, Section):
        text += f" *{known.shape.brief[:1].upper()}{known.shape.brief[1:]}.*"
    if known.example:
        text += f" Example: `{known.example}`."
    if known.effect_later:
        text += " *No effect yet.*"
    return f"| `{name}` | {shown} | {text.replace('|', chr(92) + '|')} |"


def _default_text(default: Any, known: Key) -> str:
    if default is dataclasses.MISSING:
        return "**required**"
    if not _shows_default(default):
        return ""
    plain = known.shape.plain(default)
    if isinstance(plain, str):
        return f"`{plain}`"
    return f"`{yaml.safe_dump(plain, default_flow_style=True, width=1000).split(chr(10))[0]}`"
