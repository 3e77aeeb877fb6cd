"""Where results go: files that are there whole or not at all, or the standard output."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import click

STANDARD_OUTPUT = "-"


def pair_outputs(
    formats: tuple[str, ...], outputs: tuple[str, ...], arguments: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Each format with its place; `arguments` are those of the call, in their order.

    As many places as formats go together one by one; fewer go each with the format that was given
    last before it. A format without a place goes to standard output. Raises UsageError where two
    would go to one place, or a place has no format.
    """
    formats = formats or ("text",)
    if len(outputs) == len(formats):
        places = list(outputs)
    else:
        places = _places_by_order(len(formats), arguments, outputs)
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        name = "the standard output" if twice == STANDARD_OUTPUT else twice
        raise click.UsageError(f"two formats go to {name}; give each its --output")
    return list(zip(formats, places, strict=True))


def check_attest(attest: str | None, save: str | None, others: list[str]) -> None:
    """Raises UsageError for a statement without the file that it is about, or in its place."""
    if attest is None:
        return
    if save is None or save == STANDARD_OUTPUT:
        raise click.UsageError("--attest goes with --save-evidence FILE, which it is about")
    if attest in (save, *others):
        raise click.UsageError(f"--attest and another output go to {attest}; give each its place")


def _places_by_order(
    formats: int, arguments: tuple[str, ...], outputs: tuple[str, ...]
) -> list[str]:
    places = [STANDARD_OUTPUT] * formats
    names = [word.partition("=")[0] for word in arguments]
    flags = [name for name in names if name in ("--format", "--output")]
    left = list(outputs)
    for number, (before, flag) in enumerate(pairwise(["", *flags])):
        if flag == "--output" and before != "--format":
            raise click.UsageError(f"--output {left[0]} has no --format before it")
        if flag == "--output":
            places[flags[:number].count("--format") - 1] = left.pop(0)
    return places


def write_output(data: bytes, place: str) -> None:
    """Write a whole file, or to standard output. Raises ClickException where it cannot be."""
    if place == STANDARD_OUTPUT:
        # A reader that went away (`| head`) changes no verdict.
        with suppress(BrokenPipeError):
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        return
    path = Path(place)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _write_whole(path, data)
    except OSError as error:
        raise click.FileError(place, error.strerror) from None


def append_summary(text: str, place: str) -> None:
    """Add to a file to which others add too, where there is one. Raises ClickException."""
    if not place:
        return
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise click.FileError(place, error.strerror) from None


def _write_whole(path: Path, data: bytes) -> None:
    """Beside it first, then in its place: a reader sees the old file or the new one."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
