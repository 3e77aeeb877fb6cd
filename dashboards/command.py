"""`phasegate dashboards`: build the boards from a configuration, or check that files are those."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from phasegate.contract.built_files import diff_files, write_files
from phasegate.contract.lazy_group import LazyGroup
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.contract.settings_monitoring import RUNBOOKS
from phasegate.dashboards.export import (
    FOLDER,
    render_config_maps,
    render_git_sync,
    render_provisioning,
)

EPILOG = """\b
Example:
  phasegate dashboards build --config phasegate.yaml --output ./dashboards
  phasegate dashboards build --output ./dashboards --overlay ours.jsonnet
  phasegate dashboards build --config phasegate.yaml --format configmap
  phasegate dashboards check --config phasegate.yaml --output ./dashboards

An overlay is `function(board) board + {refresh: '1m'}`; it is asked for each board.

\b
Exit codes:
  0  written, or nothing differs
  1  a file differs from what is built; the difference is printed
  2  the flags, the configuration or the overlay cannot be used, or a file cannot be written
"""
FORMS: Mapping[str, Callable[[Mapping[str, str], str], Mapping[str, str]]] = {
    "json": lambda boards, folder: boards,  # noqa: ARG005
    "provisioning": render_provisioning,
    "configmap": render_config_maps,
    "gitsync": render_git_sync,
}
PLACES = {
    "preview": "phasegate.dashboards.preview.command:preview",
    "push": "phasegate.dashboards.push_command:push",
}
"""What is imported only when called."""


@click.group(cls=LazyGroup, places=PLACES, epilog=EPILOG)
def dashboards() -> None:
    """Grafana boards with the limits of phasegate.yaml."""


def _read_folder(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx, param
    if not value.strip() or not value.isprintable() or value.strip() in (".", ".."):
        raise click.BadParameter("expected the name of a folder")
    return value.strip()


_F = TypeVar("_F", bound=Callable[..., None])


def _options(function: _F) -> _F:
    for option in (
        click.option(
            "--folder", callback=_read_folder, default=FOLDER, show_default=True,
            help="The folder's name in Grafana.",
        ),
        click.option(
            "--format", "form", type=click.Choice(list(FORMS)), default="json", show_default=True,
            help="For importing, file provisioning, Kubernetes with Grafana's sidecar, Git Sync.",
        ),
        click.option(
            "--overlay", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonnet",
            help="Your own changes to each board.",
        ),
        click.option(
            "--output", type=click.Path(path_type=Path, file_okay=False),
            default=Path("dashboards"), show_default=True, help="The directory of the files.",
        ),
        click.option(
            "--config", type=click.Path(path_type=Path),
            help="phasegate.yaml. Default: the limits of the guide.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@dashboards.command(epilog=EPILOG)
@_options
def build(*, config: Path | None, output: Path, **how: Any) -> None:
    """Write the files."""
    settings = read_settings(config)
    files = _render(settings, **how)
    try:
        write_files(files, output)
    except OSError as error:
        raise click.UsageError(f"--output: {error.filename}: {error.strerror}") from error
    for name in files:
        click.echo(output / name)
    if settings.monitoring.runbooks == RUNBOOKS:
        click.echo("links to runbooks lead nowhere yet: set monitoring.runbooks", err=True)


@dashboards.command(epilog=EPILOG)
@_options
def check(*, config: Path | None, output: Path, **how: Any) -> None:
    """Print how the files differ from what would be built."""
    difference = "".join(diff_files(_render(read_settings(config), **how), output))
    click.echo(difference, nl=False)
    if difference:
        click.echo(f"{output} is not what is built: phasegate dashboards build", err=True)
        sys.exit(1)


def read_settings(config: Path | None) -> Settings:
    """Of what is named; without, those of the guide, whatever lies around. Raises ConfigError."""
    return Settings() if config is None else load_settings(config, os.environ, measures=False)


def _render(
    settings: Settings, *, overlay: Path | None, form: str, folder: str
) -> Mapping[str, str]:
    # grafanalib and jsonnet are loaded by who builds alone.
    from phasegate.dashboards.build import render_boards  # noqa: PLC0415

    if overlay is None:
        return FORMS[form](render_boards(settings), folder)
    from phasegate.dashboards.lint import lint_board  # noqa: PLC0415
    from phasegate.dashboards.overlay import Overlay  # noqa: PLC0415

    boards = render_boards(settings, Overlay(overlay).apply)
    for name, text in boards.items():
        for fault in lint_board(json.loads(text)):
            click.echo(f"{name}: {fault}", err=True)
    return FORMS[form](boards, folder)
