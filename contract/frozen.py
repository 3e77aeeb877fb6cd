"""Frozen dataclasses whose methods are not compiled for each class anew.

The settings and what reads them are some sixty classes. `dataclasses` writes and compiles six
methods for each, which was a seventh of a cold start of `validate`; these are the same for all.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class")


def _init(self: Any, /, *values: Any, **given: Any) -> None:
    fields = dataclasses.fields(self)
    if len(values) > len(fields):
        raise TypeError(f"{type(self).__name__} has {len(fields)} fields, got {len(values)} values")
    for field, value in zip(fields, values, strict=False):
        if field.name in given:
            raise TypeError(f"{type(self).__name__} got {field.name} twice")
        self.__dict__[field.name] = value
    for field in fields[len(values) :]:
        if field.name in given:
            value = given.pop(field.name)
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            value = field.default
        else:
            raise TypeError(f"{type(self).__name__} needs {field.name}")
        self.__dict__[field.name] = value
    if given:
        raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")


def _repr(self: Any) -> str:
    shown = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: object) -> bool:
    return type(self) is type(other) and self.__dict__ == other.__dict__


def _hash(self: Any) -> int:
    return hash(tuple(self.__dict__.values()))


def _refuse(self: Any, name: str, value: object = None) -> None:
    del value
    raise dataclasses.FrozenInstanceError(f"cannot change {name} of {type(self).__name__}")


_METHODS = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": _hash,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
}


@dataclass_transform(frozen_default=True)
def frozen(cls: type[_Class]) -> type[_Class]:
    """As `dataclass(frozen=True)`; what reads and replaces fields of dataclasses works on it."""
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    made = dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)
    return made(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def keyed(cls: type[_Class]) -> type[_Class]:
    """As `frozen`, for a section of the configuration, of which nobody knows an order of keys."""
    return frozen(cls)
