"""`phasegate init`: what stands at the beginning of a project's life with Phasegate."""

from __future__ import annotations

import os
from pathlib import Path

import click

from phasegate.contract.settings_load import find_config, load_settings
from phasegate.operate.grants import render_grants

EPILOG = """\b
Example:
  phasegate init --grants --config phasegate.yaml > grants.sql
  psql -v ON_ERROR_STOP=1 -d mono_prod -f grants.sql

\b
Exit codes:
  0  printed
  2  the flags or the configuration cannot be used
"""


@click.command(epilog=EPILOG)
@click.option("--config", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option(
    "--grants", is_flag=True, required=True, help="Print the SQL of the three roles; no connection."
)
def init(*, config: Path | None, grants: bool) -> None:  # noqa: ARG001  (the only thing to do yet)
    """Print the SQL of the roles that Phasegate needs, with the least rights that suffice."""
    settings = load_settings(find_config(config, os.environ), os.environ)
    click.echo(render_grants(settings), nl=False)
