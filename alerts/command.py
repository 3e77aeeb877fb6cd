"""`phasegate alerts`: build the rules from a configuration, or check that files are those."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from phasegate.alerts.build import render_all
from phasegate.alerts.targets import find_targets, load_target
from phasegate.contract.built_files import diff_files, write_files
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.contract.settings_monitoring import RUNBOOKS

EPILOG = """\b
Example:
  phasegate alerts build --config phasegate.yaml --output ./alerts
  phasegate alerts check --config phasegate.yaml --output ./alerts --target prometheus

\b
Exit codes:
  0  written, or nothing differs
  1  a file differs from what is built; the difference is printed
  2  the flags or the configuration cannot be used, or a file cannot be written
"""


def _describe_targets() -> str:
    lines = [
        line
        for name in find_targets()
        for line in textwrap.wrap(
            load_target(name).HELP,
            width=78,
            initial_indent=f"  {name:<13} ",
            subsequent_indent=" " * 16,
        )
    ]
    return "\n".join(["\b", "Targets:", *lines])


@click.group(epilog=f"{_describe_targets()}\n\n{EPILOG}")
def alerts() -> None:
    """Alerts and recording rules with the limits of phasegate.yaml, for the tool that you use."""


_F = TypeVar("_F", bound=Callable[..., None])


def _options(function: _F) -> _F:
    for option in (
        click.option(
            "--target", "targets", multiple=True, type=click.Choice(find_targets()),
            help="For which tool; repeatable. Default: all.",
        ),
        click.option(
            "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("alerts"),
            show_default=True, help="The directory of the files.",
        ),
        click.option(
            "--config", type=click.Path(path_type=Path),
            help="phasegate.yaml. Default: the limits of the guide.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@alerts.command(epilog=EPILOG)
@_options
def build(*, config: Path | None, output: Path, targets: tuple[str, ...]) -> None:
    """Write the files."""
    settings = _load(config)
    files = render_all(settings, targets)
    try:
        write_files(files, output)
    except OSError as error:
        raise click.UsageError(f"--output: {error.filename}: {error.strerror}") from error
    for name in files:
        click.echo(output / name)
    if settings.monitoring.runbooks == RUNBOOKS:
        click.echo("links to runbooks lead nowhere yet: set monitoring.runbooks", err=True)


@alerts.command(epilog=EPILOG)
@_options
def check(*, config: Path | None, output: Path, targets: tuple[str, ...]) -> None:
    """Print how the files differ from what would be built."""
    difference = list(diff_files(render_all(_load(config), targets), output))
    click.echo("".join(difference), nl=False)
    if difference:
        click.echo(f"{output} is not what is built: phasegate alerts build", err=True)
        sys.exit(1)


def _load(config: Path | None) -> Settings:
    """Of what is named; without, those of the guide, whatever lies around."""
    return Settings() if config is None else load_settings(config, os.environ, measures=False)
