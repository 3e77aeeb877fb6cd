"""`phasegate demo`: the command line of the demo."""

from __future__ import annotations

import sys
from typing import Any

import click

from phasegate.demo.scenario import Options, run

EPILOG = """\b
Example:
  phasegate demo --rows 1000000 --keep

\b
Exit codes:
  0  everything was measured, and each gate was closed and open when it should be
  1  something that must be measured was not, a gate erred, or a part of the demo failed
  4  the server of DATABASE_URL or REDIS_URL could not be used
  5  interrupted before the end; nothing is left behind
"""


@click.command(epilog=EPILOG)
@click.option(
    "--rows",
    type=click.IntRange(100, 20_000_000),
    default=200_000,
    show_default=True,
    help="Users of the legacy database.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(2, 3600),
    default=12,
    show_default=True,
    help="Length of each of the two measurements.",
)
@click.option(
    "--limit",
    default="10ms",
    show_default=True,
    metavar="DURATION",
    help="What a lookup may take; a busy machine keeps no 10 ms.",
)
@click.option("--fail-gate", is_flag=True, help="Show a gate that fails, and the way back.")
@click.option("--kill", is_flag=True, help="Kill the migration in the middle, and go on.")
@click.option("--keep", is_flag=True, help="Leave everything running after the summary.")
def demo(**options: Any) -> None:
    """Migrate a live legacy database under traffic, each phase gated on what is measured.

    Everything runs on embedded servers, or, with DATABASE_URL and REDIS_URL, in a database and
    under a key prefix of its own on yours; all of it goes when the demo ends.
    """
    sys.exit(run(Options(**options)))
