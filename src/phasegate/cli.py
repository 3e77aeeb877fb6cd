"""The command line: each sub-command from its room, imported only when called.

The one place where errors become exit codes: a `PhasegateError` by its own, a faulty call 2, and
whatever is neither is our own bug, 70.
"""

from __future__ import annotations

import sys

import click

from phasegate import __version__
from phasegate.contract.errors import PhasegateError
from phasegate.contract.lazy_group import LazyGroup

COMMANDS = {
    "alerts": "phasegate.alerts.command:alerts",
    "baseline": "phasegate.validators.baseline_command:baseline",
    "dashboards": "phasegate.dashboards.command:dashboards",
    "demo": "phasegate.demo.command:demo",
    "doctor": "phasegate.operate.doctor_command:doctor",
    "exporter": "phasegate.exporter.command:exporter",
    "init": "phasegate.operate.command:init",
    "migrate": "phasegate.migrate.command:migrate",
    "validate": "phasegate.validators.command:validate",
}
OUR_BUG = 70


@click.group(cls=LazyGroup, places=COMMANDS)
@click.version_option(__version__, prog_name="phasegate")
def group() -> None:
    """Move a live PostgreSQL from integer keys to UUIDs, each phase proved by measurement."""


def validate() -> None:
    """The console script `validate`, a second name of `phasegate validate`."""
    from phasegate.validators.command import validate as command  # noqa: PLC0415

    main(command=command, program="validate")


def main(
    arguments: list[str] | None = None,
    command: click.Command = group,
    program: str | None = None,
) -> None:
    """Run one command and exit with its code.

    A room's `__main__` gives its own `command`, and the name by which it was called.
    """
    try:
        command.main(args=arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code if error.exit_code != 1 else 2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("phasegate: stopped by a signal; the same command starts it again", err=True)
        sys.exit(5)
    except PhasegateError as error:
        click.echo(f"phasegate: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception:
        import traceback  # noqa: PLC0415

        from phasegate.contract.secrets import redactor  # noqa: PLC0415  (only when all else failed)

        click.echo(redactor(traceback.format_exc()), err=True, nl=False)
        click.echo("phasegate: this is a bug of Phasegate; please report the lines above", err=True)
        sys.exit(OUR_BUG)
