"""`phasegate init`: what stands at the beginning of a project's life with Phasegate."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from phasegate.contract.settings_kinds import NAME
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.operate.grants import render_grants

EPILOG = """\b
Example:
  DATABASE_URL=postgresql://me@db/mono_prod phasegate init --environment production
  phasegate init --database-url postgresql://me@db/mono_prod --output - | less
  phasegate init --grants --config phasegate.yaml > grants.sql
  psql -v ON_ERROR_STOP=1 -d mono_prod -f grants.sql

\b
Exit codes:
  0  written, or printed
  2  the flags, a URL or the configuration cannot be used; the file is there already; the
     database is a standby, or behind a pooler
  4  the database could not be reached or read
  5  somebody locks a table that must be looked at: the same command again, later
"""


@click.command(epilog=EPILOG)
@click.option("--database-url", help="The database that is read.  [default: DATABASE_URL]")
@click.option("--redis-url", help="The cache that is sampled.  [default: REDIS_URL]")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The file; - prints it.  [default: phasegate.yaml]",
)
@click.option("--environment", help="What this place is called, such as production.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--grants", is_flag=True, help="Print the SQL of the three roles; no connection.")
@click.option("--config", type=click.Path(path_type=Path), help="phasegate.yaml, of --grants.")
def init(
    *,
    database_url: str | None,
    redis_url: str | None,
    output: Path | None,
    environment: str | None,
    force: bool,
    grants: bool,
    config: Path | None,
) -> None:
    """Read a live database and its cache, and write a commented phasegate.yaml for them.

    Nothing is changed, no table is locked or scanned, and the cache's hits and misses stay as they
    are. No password comes into the file: it names DATABASE_URL and REDIS_URL.
    """
    if grants:
        if database_url or redis_url or output or environment or force:
            raise click.UsageError(
                "--grants prints what --config asks for, and takes no other flag"
            )
        settings = load_settings(find_config(config, os.environ), os.environ)
        click.echo(render_grants(settings), nl=False)
        return
    if config is not None:
        raise click.UsageError("--config goes with --grants; --output names the file to write")
    database_url = database_url or os.environ.get("DATABASE_URL")
    if not database_url:
        raise click.UsageError("no database: give --database-url, or set DATABASE_URL")
    from phasegate.operate.init_command import refuse_existing, write_config  # noqa: PLC0415

    output = output or Path("phasegate.yaml")
    refuse_existing(output, force=force)
    write_config(
        database_url,
        redis_url or os.environ.get("REDIS_URL"),
        output,
        _environment(environment),
        force=force,
    )


def _environment(given: str | None) -> str:
    """The flag's, else the answer of whoever sits there; empty for none."""
    if given is None and sys.stdin.isatty() and sys.stderr.isatty():
        asked = "environment, such as production (empty: leave it open)"
        given = str(click.prompt(asked, default="", show_default=False, err=True))
    if given and not re.fullmatch(NAME.pattern, given):
        raise click.UsageError(f"--environment: found {given!r}, expected {NAME.expected}")
    return given or ""
