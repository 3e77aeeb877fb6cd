"""`phasegate migrate plan`: what would be sent, with its locks; nothing is changed."""

from __future__ import annotations

from pathlib import Path

import click

from phasegate.contract.connection import database_conninfo
from phasegate.contract.times import format_time
from phasegate.migrate.command import config_option, read_settings
from phasegate.migrate.rendering import format_names, render

EPILOG = """\b
Example:
  phasegate migrate plan --config phasegate.yaml
  phasegate migrate plan --format sql > plan.sql

\b
Exit codes:
  0  printed; nothing speaks against it
  2  the flags or the configuration cannot be used, or the plan is refused: each reason with its
     object, what was found, and the remedy
  4  the database could not be reached
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--format", "form", type=click.Choice(format_names()), default="text", show_default=True
)
@click.option(
    "--measure/--no-measure",
    default=True,
    show_default=True,
    help="Measure the locks on an empty clone, in a throw-away server.",
)
def plan(*, config: Path | None, form: str, measure: bool) -> None:
    """Print what is left to do: exact SQL, locks, sizes, time-outs, and the way back."""
    settings = read_settings(config)
    from phasegate.migrate.catalog import fetch_catalog  # noqa: PLC0415
    from phasegate.migrate.frameworks import find_refusals  # noqa: PLC0415
    from phasegate.migrate.lock_trace import measure_plan  # noqa: PLC0415
    from phasegate.migrate.model import Patience  # noqa: PLC0415
    from phasegate.migrate.opening import connector, fetch_identity, migrated_names  # noqa: PLC0415
    from phasegate.migrate.phases import find_others, make_steps  # noqa: PLC0415
    from phasegate.migrate.plan import make_plan, refuse  # noqa: PLC0415
    from phasegate.migrate.rehearsal import find_predicting, seconds_by_step  # noqa: PLC0415
    from phasegate.migrate.sessions import unreachable  # noqa: PLC0415

    with unreachable(), connector(settings)(Patience.BATCH) as connection:
        connection.execute("SET default_transaction_read_only = on")
        catalog = fetch_catalog(connection, migrated_names(settings))
        steps = make_steps(settings, catalog)
        others = (*find_refusals(connection), *find_others(settings, catalog))
        made = make_plan(steps, catalog, others)
        folder = settings.migrate.backup.directory
        rehearsal = find_predicting(folder, fetch_identity(connection))
        if measure and not made.refusals:
            conninfo = database_conninfo(settings.database)
            made = measure_plan(made, catalog, connection, conninfo)
    seconds = seconds_by_step(rehearsal, steps)
    if rehearsal is not None and seconds:
        told = f"seconds are of the rehearsal of {format_time(rehearsal.at)} on {rehearsal.server}"
        click.echo(told, err=True)
    click.echo(render(form, made, seconds), nl=False)
    refuse(made)
