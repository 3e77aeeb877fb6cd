"""`phasegate migrate backfill`: the backfill by itself, for a column that is already there."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click
import psycopg

from phasegate.contract.errors import StepFailed
from phasegate.contract.settings import Settings
from phasegate.contract.settings_tables import Table
from phasegate.migrate.command import by_option, config_option, read_settings
from phasegate.migrate.context import Context
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.gate import Terms
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Refusal, Step
from phasegate.migrate.opening import open_run
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.phases import make_backfill
from phasegate.migrate.plan import make_plan, refuse
from phasegate.migrate.runner import Run
from phasegate.migrate.sessions import is_lost
from phasegate.validators.call import read_duration

STEP = "populate-uuids"
"""The same as in a whole migration, so that each goes on where the other stopped."""
EPILOG = """\b
Example:
  phasegate migrate backfill
  phasegate migrate backfill --table public.users --window 30m

\b
Exit codes:
  0  every row has its UUID
  1  the work failed; the same command goes on
  2  the flags or the configuration cannot be used, or a table is not fit for it
  4  a server could not be reached
  5  stopped part-way; the same command goes on
"""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--table", "names", multiple=True, metavar="SCHEMA.TABLE", help="Only this one; repeatable."
)
@click.option(
    "--window", callback=read_duration, metavar="DURATION", help="Stop, resumable, after so long."
)
@by_option
def backfill(*, config: Path | None, names: tuple[str, ...], window: float | None, by: str) -> None:
    """Give every row its UUID: by ranges of pages, on two sessions, held back by the probes."""
    settings = read_settings(config)
    operations = [make_backfill(table) for table in choose_tables(settings, names)]
    with (
        open_run(settings, Terms(), window=window, by=by) as run,
        run.recorded({"command": "backfill"}),
    ):
        for operation in operations:
            fill(run, operation)


def choose_tables(settings: Settings, names: tuple[str, ...]) -> tuple[Table, ...]:
    """Those of the configuration that are named, or all. Raises UsageError."""
    known = {f"{table.name.schema}.{table.name.table}": table for table in settings.tables}
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        there = ", ".join(known) or "none; name them in phasegate.yaml under tables"
        raise click.UsageError(f"--table {' '.join(unknown)}: the configured tables are: {there}")
    return tuple(known[name] for name in dict.fromkeys(names)) or settings.tables


def fill(run: Run, operation: Backfill) -> None:
    """One table, refused where it is not fit for it."""
    catalog = run.catalog()
    step = Step(STEP, "schema", "give every row its UUID", (operation,))
    relation = catalog.get(operation.table)
    missing = relation is None or relation.column(operation.column) is None
    remedy = "add it first: phasegate migrate run"
    others = (Refusal(operation.object, "there is no such column", remedy),) if missing else ()
    refuse(make_plan([step], catalog, others))
    context = Context(
        settings=run.settings,
        step=STEP,
        connect=run.connect,
        journal=run.journal,
        catalog=catalog,
        say=run.say,
        control=run.control,
        throttle=run.throttle,
        report=partial(run.report, STEP),
    )
    began = time.monotonic()
    try:
        done = apply_operation(operation, context, run.connection, run.catalog)
    except psycopg.Error as error:
        run.control.check()
        if is_lost(error):
            raise
        raise StepFailed(STEP, str(error)) from error
    if done:
        run.say(
            f"{qualify(operation.table)}: every row has its UUID, {time.monotonic() - began:.0f} s"
        )
    else:
        run.say(f"{qualify(operation.table)}: nothing to do")
