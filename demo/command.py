"""`phasegate demo`: the command line of the demo."""

from __future__ import annotations

import sys

import click

from phasegate.demo.scenario import Options, run

EPILOG = """\b
Example:
  phasegate demo --rows 1000000 --keep

\b
Exit codes:
  0  everything was measured, and the gate was closed and open when it should be
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
@click.option("--keep", is_flag=True, help="Leave everything running after the summary.")
def demo(rows: int, seconds: float, keep: bool) -> None:
    """Measure a live legacy database before and after it gains UUIDs.

    Everything runs on embedded servers, or, with DATABASE_URL and REDIS_URL, in a database and
    under a key prefix of its own on yours; all of it goes when the demo ends.
    """
    sys.exit(run(Options(rows=rows, seconds=seconds, keep=keep)))
