"""The form of a list that people sign: the keys of an item, each read strictly."""

from __future__ import annotations

from dataclasses import dataclass

from phasegate.contract.sections import ListOf, Section, setting
from phasegate.contract.shapes import Converted, Switch, Text
from phasegate.contract.times import parse_time


def _moment(text: str) -> float:
    if text.replace(".", "").isdigit():
        raise ValueError("it has no date")
    try:
        return parse_time(text)
    except ValueError:
        raise ValueError("it is no such time") from None


_TIME = Converted("a time such as 2026-01-01T00:00:00Z", convert=_moment)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of the list."""

    item: str = setting(Text("what is signed"), "What is signed.")
    checked: bool = setting(Switch(), "Whether it is done.")
    by: str | None = setting(Text("a name"), "Who checked it.", None)
    at: float | None = setting(_TIME, "When.", None)
    expires: float | None = setting(_TIME, "Until when that holds.", None)


ITEMS = ListOf(Section(Item, "item, checked, by, at, expires"), "items")
