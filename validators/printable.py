"""Texts that others wrote, made fit to be shown: one line, and nothing that a screen obeys."""

from __future__ import annotations

MOST_CHARACTERS = 300
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def one_line(text: str) -> str:
    """The text with single spaces; what cannot be printed (controls, direction marks, halves of
    surrogate pairs) as the sign for an unknown character."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else _UNKNOWN for char in words)


def shorten(text: str) -> str:
    """`one_line`, cut where it is longer than any name."""
    line = one_line(text)
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"
