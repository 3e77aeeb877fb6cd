"""What the person in front of the demo sees: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import click


class View(Protocol):
    """Shows how one measurement stands."""

    def __call__(self, seconds: float, of: float, said: Mapping[str, str]) -> None: ...


class Screen:
    """Plain lines, for logs and pipes."""

    def say(self, text: str) -> None:
        """One line, at once."""
        click.echo(text)

    @contextmanager
    def measuring(self, title: str) -> Iterator[View]:
        """While a measurement lasts, the view shows each new state of it."""

        def show(seconds: float, of: float, said: Mapping[str, str]) -> None:
            text = " | ".join(f"{name} {value}" for name, value in said.items())
            self.say(f"  {title} {seconds:3.0f}/{of:.0f} s | {text}")

        yield show

    def compare(self, said: Mapping[str, tuple[str, str]]) -> None:
        """Every measure before and after."""
        name_width = max(map(len, said))
        width = max(len("before"), *(len(before) for before, _ in said.values()))
        self.say(f"  {'':{name_width}}  {'before':{width}}  after")
        for name, (before, after) in said.items():
            self.say(f"  {name:{name_width}}  {before:{width}}  {after}")

    def summarise(self, title: str, lines: Sequence[str]) -> None:
        """A heading and its sentences."""
        self.say(f"\n{title}")
        for line in lines:
            self.say(f"  - {line}")


class TerminalScreen(Screen):
    """One table, redrawn in place; all else as lines above it."""

    @contextmanager
    def measuring(self, title: str) -> Iterator[View]:
        # 60 ms that nobody pays whose output is no terminal.
        from rich.live import Live  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        with Live(auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:

            def show(seconds: float, of: float, said: Mapping[str, str]) -> None:
                table = Table(title=f"{title}  {seconds:.0f} of {of:.0f} s", title_justify="left")
                table.add_column("measure")
                table.add_column("as the exporter says", min_width=44)
                for name, value in said.items():
                    table.add_row(name, value)
                live.update(table, refresh=True)

            yield show


def open_screen() -> Screen:
    """The one that fits standard output."""
    return TerminalScreen() if sys.stdout.isatty() else Screen()
