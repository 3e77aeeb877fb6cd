"""`phasegate migrate partitions`: what a timer calls to keep the audit log in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from phasegate.contract.errors import Interrupted
from phasegate.contract.settings import Settings
from phasegate.migrate.command import by_option, config_option, read_settings

EPILOG = """\b
Example:
  phasegate migrate partitions --dry-run
  phasegate migrate partitions
  phasegate migrate partitions --drop

\b
Exit codes:
  0  done or shown, also where nothing was left to do
  1  an action failed; the same command goes on
  2  the flags or the configuration cannot be used, or the log is not partitioned so
  4  the database could not be reached
  5  another one is at work, or a lock did not come; the same command goes on
"""


def _read_time(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    del ctx, param
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"found {value!r}, expected 2026-01-31T23:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.command(epilog=EPILOG)
@config_option
@click.option("--dry-run", is_flag=True, help="Say what would go, with its rows; change nothing.")
@click.option("--drop", is_flag=True, help="Drop what was detached, for good.")
@click.option("--now", callback=_read_time, hidden=True, metavar="TIME", help="Another clock.")
@by_option
def partitions(
    *, config: Path | None, dry_run: bool, drop: bool, now: datetime | None, by: str
) -> None:
    """Make the audit log's partitions ahead; detach, and keep, those past their retention."""
    settings = read_settings(config)
    try:
        keep_partitions(settings, by, click.echo, dry_run=dry_run, drop=drop, now=now)
    except Interrupted as error:
        click.echo(f"phasegate: {error}", err=True)
        raise SystemExit(error.exit_code) from None


def keep_partitions(
    settings: Settings,
    by: str,
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
    drop: bool = False,
    now: datetime | None = None,
) -> int:
    """As `partitions.run_partitions`, with sessions and a journal of its own. Raises what that
    does, and SourceUnavailable."""
    from phasegate.migrate.catalog import fetch_catalog  # noqa: PLC0415
    from phasegate.migrate.context import Context  # noqa: PLC0415
    from phasegate.migrate.journal import Journal  # noqa: PLC0415
    from phasegate.migrate.model import Patience  # noqa: PLC0415
    from phasegate.migrate.opening import (  # noqa: PLC0415
        connector,
        fetch_identity,
        refuse_standby,
    )
    from phasegate.migrate.partitions import run_partitions  # noqa: PLC0415
    from phasegate.migrate.sessions import unreachable  # noqa: PLC0415

    connect = connector(settings)
    with (
        unreachable(),
        connect(Patience.METADATA) as connection,
        connect(Patience.BATCH) as writer,
    ):
        refuse_standby(connection)
        folder = settings.migrate.backup.directory
        journal = Journal(writer, folder, fetch_identity(connection), by)
        if not dry_run:
            journal.open()
        context = Context(
            settings=settings,
            step="partitions",
            connect=connect,
            journal=journal,
            catalog=fetch_catalog(connection, ()),
            say=say,
        )
        return run_partitions(context, connection, dry_run=dry_run, drop=drop, now=now)
