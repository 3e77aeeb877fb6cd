"""Frozen classes behave as the frozen dataclasses that they stand in for."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from phasegate.contract.frozen import frozen, keyed


@frozen
class Ours:
    """By `frozen`."""

    a: int
    b: tuple[int, ...] = (1,)


@frozen
class OursBelow(Ours):
    """With a field more."""

    c: list[int] = dataclasses.field(default_factory=list, repr=False)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """By `dataclass`."""

    a: int
    b: tuple[int, ...] = (1,)


@dataclasses.dataclass(frozen=True)
class TheirsBelow(Theirs):
    """With a field more."""

    c: list[int] = dataclasses.field(default_factory=list, repr=False)


@keyed
class Keyed:
    """A section; a key without a default may follow one with."""

    a: int = 1
    b: int


PAIRS: list[Any] = [(Ours, Theirs), (OursBelow, TheirsBelow)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize(
    ("values", "given"),
    [((1,), {}), ((1, (2,)), {}), ((), {"a": 1}), ((1,), {"b": (3,)}), ((), {"b": (), "a": 0})],
)
def test_alike(ours: Any, theirs: Any, values: tuple[Any, ...], given: dict[str, Any]) -> None:
    mine, other = ours(*values, **given), theirs(*values, **given)
    assert repr(mine) == repr(other).replace("Theirs", "Ours")
    assert dataclasses.asdict(mine) == dataclasses.asdict(other)
    assert mine == ours(*values, **given) == copy.deepcopy(mine)
    assert mine != other
    assert mine != dataclasses.replace(mine, a=9)
    assert dataclasses.replace(mine, a=9).a == 9
    assert not isinstance(mine, Theirs)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize(
    ("values", "given"),
    [((), {}), ((1, 2, 3, 4), {}), ((1,), {"a": 1}), ((1,), {"d": 1})],
    ids=["missing", "too many", "twice", "unknown"],
)
def test_wrong_calls(
    ours: Any, theirs: Any, values: tuple[Any, ...], given: dict[str, Any]
) -> None:
    for made in (ours, theirs):
        with pytest.raises(TypeError):
            made(*values, **given)


def test_nothing_of_it_changes() -> None:
    one: Any = Ours(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot change a of Ours"):
        one.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot change a of Ours"):
        del one.a
    assert hash(one) == hash(Ours(1)) != hash(Ours(2))
    with pytest.raises(TypeError):
        hash(OursBelow(1))
    first, second = OursBelow(1), OursBelow(1)
    first.c.append(1)
    assert second.c == []


def test_keys_have_no_order() -> None:
    assert (Keyed(b=2).a, Keyed(b=2).b) == (1, 2)
    with pytest.raises(TypeError, match="Keyed needs b"):
        Keyed()  # type: ignore[call-arg]
