"""`phasegate migrate rehearse`: all of it on a copy, measured; the target is only read."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from phasegate.contract.errors import StepFailed
from phasegate.migrate.command import config_option, read_settings

RATE, ALONE_SECONDS = 50.0, 5.0
EPILOG = """\b
Example:
  phasegate migrate rehearse --config phasegate.yaml
  phasegate migrate rehearse --database-url "$SCRATCH_DATABASE_URL" --rate 200

\b
Exit codes:
  0  every step was done on the copy; the record and its page are in the folder of the backups
  1  the dump, its restore or a step failed; a step that failed is in the record
  2  the flags or the configuration cannot be used, or the plan is refused
  3  no server is at hand that can hold the copy
  4  the database or the server of --database-url could not be reached
  5  stopped by a signal: nothing of the copy is left; the same command begins anew
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--database-url",
    envvar="PHASEGATE_REHEARSAL_URL",
    metavar="URL",
    help="A server like the target's, where a database is made for the copy and dropped again; "
    "without it a throw-away server here, whose seconds say nothing. Better in "
    "PHASEGATE_REHEARSAL_URL, where nobody sees its password.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 10_000),
    default=RATE,
    show_default=True,
    help="Statements of the load beside it, a second; 0 for none.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86_400),
    default=ALONE_SECONDS,
    show_default=True,
    help="How long the load is alone before and after, to compare with.",
)
def rehearse(*, config: Path | None, database_url: str | None, rate: float, seconds: float) -> None:
    """Do every step on a restored copy beside a load, without gates and hooks; tell of each its
    seconds, rows, write-ahead log, disk, and the longest that anybody waited."""
    settings = read_settings(config)
    from phasegate.contract.secrets import Dsn, redactor  # noqa: PLC0415
    from phasegate.migrate.control import RunControl  # noqa: PLC0415
    from phasegate.migrate.prove_backup import Inconclusive  # noqa: PLC0415
    from phasegate.migrate.rehearsal import write_rehearsal  # noqa: PLC0415
    from phasegate.migrate.rehearsal_copy import FLAG, open_copy  # noqa: PLC0415
    from phasegate.migrate.rehearsal_page import render_lines, render_page  # noqa: PLC0415
    from phasegate.migrate.rehearse import rehearse as rehearse_on  # noqa: PLC0415
    from phasegate.migrate.screen import Screen  # noqa: PLC0415

    scratch = None
    if database_url:
        scratch = Dsn(database_url)
        redactor.learn(scratch.parts())
        _refuse_malformed(database_url, FLAG)
    control, say = RunControl(None), Screen().say
    try:
        with control.running(), open_copy(settings, scratch, control, say) as copy:
            found = rehearse_on(settings, copy, rate=rate, alone=seconds, control=control, say=say)
    except Inconclusive as reason:
        click.echo(f"phasegate: not rehearsed: {redactor(str(reason))}", err=True)
        sys.exit(3)
    record, page = write_rehearsal(settings.migrate.backup.directory, found, render_page(found))
    for line in render_lines(found):
        click.echo(line)
    click.echo(f"{record}\n{page}")
    if found.failed:
        step, _, why = found.failed.partition(": ")
        raise StepFailed(step, f"it failed in the rehearsal, and would in the database: {why}")


def _refuse_malformed(url: str, flag: str) -> None:
    """UsageError, which does not quote it."""
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        reason = f"{flag}: no connection string that libpq can read; expected a URI or keywords"
        raise click.UsageError(reason) from None
