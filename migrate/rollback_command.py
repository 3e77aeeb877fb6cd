"""`phasegate migrate rollback`: the way back, with what it would lose said first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from phasegate.contract.errors import PlanRefused
from phasegate.contract.migration import PHASES
from phasegate.migrate.command import by_option, config_option, read_settings

EPILOG = """\b
Example:
  phasegate migrate rollback --strategy gradual --dry-run
  phasegate migrate rollback --strategy gradual
  phasegate migrate rollback --to prepare
  phasegate migrate rollback --strategy immediate --accept-loss 120

\b
Exit codes:
  0  rolled back, or shown
  1  a step failed; the same command goes on
  2  the flags or the configuration cannot be used, or the loss is not accepted
  4  a server could not be reached
  5  stopped part-way; the same command goes on
"""


@click.command(epilog=EPILOG)
@config_option
@click.option("--to", type=click.Choice(PHASES), help="Take back what later phases added.")
@click.option("--strategy", type=click.Choice(["immediate", "gradual"]), help="How to go back.")
@click.option("--dry-run", is_flag=True, help="Say what would go and be lost; change nothing.")
@click.option(
    "--accept-loss",
    metavar="N",
    help="How many lost writes are accepted, or `unknown`; asked for where it is not nothing.",
)
@click.option("--yes", is_flag=True, help="Do not ask before anything changes.")
@by_option
def rollback(
    *,
    config: Path | None,
    to: str | None,
    strategy: str | None,
    dry_run: bool,
    accept_loss: str | None,
    yes: bool,
    by: str,
) -> None:
    """Go back: gradual keeps the data and lets the previous application write; immediate restores
    the proved backup; --to removes what later phases added."""
    if (to is None) == (strategy is None):
        raise click.UsageError("expected --strategy, or --to PHASE, and not both")
    if accept_loss is not None and accept_loss != "unknown" and not accept_loss.isdigit():
        raise click.UsageError(
            f"--accept-loss: found {accept_loss!r}, expected a number or unknown"
        )
    settings = read_settings(config)
    from phasegate.migrate.rollback import go_back, restore  # noqa: PLC0415

    ask = Consent(dry_run=dry_run, accepted=accept_loss, yes=yes)
    if strategy == "immediate":
        restore(settings, ask, by)
    else:
        go_back(settings, to or "", ask, by)


@dataclass(frozen=True)
class Consent:
    """What may be lost, and whether anything may be done at all."""

    dry_run: bool
    accepted: str | None
    yes: bool

    def __call__(self, lines: list[str], lost: int | None) -> bool:
        """Say what goes; whether it may. `lost` is a number of writes, None for not known.

        Raises PlanRefused where the loss is not accepted.
        """
        for line in lines:
            click.echo(line)
        if self.dry_run:
            return False
        known = "unknown" if lost is None else str(lost)
        enough = (
            lost == 0
            or self.accepted == "unknown"
            or (lost is not None and self.accepted is not None and int(self.accepted) >= lost)
        )
        if not enough:
            given = f", found {self.accepted}" if self.accepted else ""
            raise PlanRefused((f"the loss is not accepted: --accept-loss {known}{given}",))
        if not self.yes and os.isatty(0):
            click.confirm("go back?", abort=True, err=True)
        return True
