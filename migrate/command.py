"""`phasegate migrate`: the gated phases and their parts, each usable alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from phasegate.contract.dossier import EXPORTER, PROMETHEUS
from phasegate.contract.errors import GateClosed, Interrupted, StepFailed
from phasegate.contract.gates import GATES
from phasegate.contract.lazy_group import LazyGroup
from phasegate.contract.migration import PHASES
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.migrate.gate import NEVER_ACCEPTED, Accepted, Terms
from phasegate.validators.call import read_duration, spread_values

GROUP_EPILOG = """\b
Example:
  phasegate migrate plan --config phasegate.yaml
  phasegate migrate run --until schema
  phasegate migrate status --watch

\b
Exit codes, the same for every command:
  0  done
  1  the work failed, or a gate is closed on failure
  2  the flags, the configuration or the plan cannot be used
  3  a gate is closed: inconclusive
  4  a server or a source of evidence could not be reached or read
  5  stopped part-way and resumable: paused, lock held, another runner, signal, window over
"""
RUN_EPILOG = """\b
Example:
  phasegate migrate run --until infrastructure
  phasegate migrate run --window 30m --yes
  phasegate migrate run --accept cache_hit_rate --reason "cache is cold until Monday" --by anna

\b
Exit codes:
  0  every phase that was asked for has passed its gate
  1  a step failed, or a gate is closed on failure
  2  the flags, the configuration or the plan cannot be used, or the journal is of another plan
  3  a gate is closed: inconclusive
  4  a server or a source of evidence could not be reached or read
  5  stopped part-way; the same command goes on
"""
WATCH_SECONDS = 2.0
PLACES = {
    "backfill": "phasegate.migrate.backfill_command:backfill",
    "partitions": "phasegate.migrate.partitions_command:partitions",
    "plan": "phasegate.migrate.plan_command:plan",
    "rehearse": "phasegate.migrate.rehearse_command:rehearse",
    "rollback": "phasegate.migrate.rollback_command:rollback",
    "warm-cache": "phasegate.migrate.warm_cache_command:warm_cache",
}
"""What is imported only when called."""

config_option = click.option(
    "--config", "--config.file", type=click.Path(path_type=Path), help="phasegate.yaml."
)
by_option = click.option("--by", default="", metavar="NAME", help="Who says so; your user name.")


def read_settings(config: Path | None) -> Settings:
    """The settings of the file that is named or found. Raises ConfigError."""
    return load_settings(find_config(config, os.environ), os.environ)


@click.group(cls=LazyGroup, places=PLACES, epilog=GROUP_EPILOG)
def migrate() -> None:
    """Move a live database in phases, each proved by measurement before the next begins."""


class SpreadsJunit(click.Command):
    """Takes every word that follows --junit: a shell spreads a glob into words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What no option took."""
        return super().parse_args(ctx, spread_values(args, "--junit"))


def gate_options(command: Any) -> Any:
    """The flags of `run` and `resume`."""
    for option in reversed(
        [
            config_option,
            click.option("--phase", type=click.Choice(PHASES), help="Only this phase."),
            click.option("--until", type=click.Choice(PHASES), help="Up to and with this phase."),
            click.option(
                "--window",
                callback=read_duration,
                metavar="DURATION",
                help="Stop, resumable, after so long.",
            ),
            click.option("--yes", is_flag=True, help="Do not ask before anything changes."),
            click.option(
                "--gate-wait",
                callback=read_duration,
                metavar="DURATION",
                help="Longest time to wait for a gate's evidence; 1h.",
            ),
            click.option(
                "--min-span",
                callback=read_duration,
                metavar="DURATION",
                help="Shortest span of a gate's counts, instead of the gate's own; shown.",
            ),
            click.option("--junit", multiple=True, metavar="GLOB...", help="Results of tests."),
            click.option(
                "--baseline", type=click.Path(path_type=Path), help="What was captured before."
            ),
            click.option(
                "--source",
                type=click.Choice([EXPORTER, PROMETHEUS]),
                default=EXPORTER,
                show_default=True,
            ),
            click.option(
                "--accept",
                multiple=True,
                metavar="ID",
                help="Take this criterion as passed; needs --reason and --by.",
            ),
            click.option("--reason", default="", metavar="TEXT", help="Why it is accepted."),
            by_option,
        ]
    ):
        command = option(command)
    return command


@migrate.command(epilog=RUN_EPILOG, cls=SpreadsJunit)
@gate_options
def run(**flags: Any) -> None:
    """Run the phases that are left, each after the gate of the one before."""
    _run(**flags)


@migrate.command(epilog=RUN_EPILOG, cls=SpreadsJunit)
@gate_options
def resume(**flags: Any) -> None:
    """Go on after a pause, a failure or a crash; the same as `run`."""
    _run(**flags)


def _run(
    *,
    config: Path | None,
    phase: str | None,
    until: str | None,
    window: float | None,
    yes: bool,
    **gates: Any,
) -> None:
    if phase and until:
        raise click.UsageError("--phase or --until, not both")
    terms = make_terms(**gates)
    settings = read_settings(config)
    from phasegate.migrate.opening import open_run  # noqa: PLC0415

    with open_run(settings, terms, window=window, by=gates["by"]) as made:
        if not yes:
            _ask_first(until or phase or PHASES[-1])
        try:
            made.go(until=until or "", only=phase or "")
        except (Interrupted, GateClosed, StepFailed) as error:
            click.echo(f"phasegate: {error}", err=True)
            click.echo(f"next: {_next_command(config, error)}", err=True)
            raise SystemExit(error.exit_code) from None


def make_terms(
    *,
    gate_wait: float | None,
    min_span: float | None,
    junit: tuple[str, ...],
    baseline: Path | None,
    source: str,
    accept: tuple[str, ...],
    reason: str,
    by: str,
) -> Terms:
    """How the gates are asked. Raises UsageError for what cannot be accepted."""
    known = {name for criteria in GATES.values() for name in criteria} | {"integration_tests"}
    for name in accept:
        if name not in known:
            raise click.UsageError(f"--accept {name}: found no criterion of a gate by that name")
        if name in NEVER_ACCEPTED:
            raise click.UsageError(f"--accept {name}: can never be accepted; repair it")
    if accept and not (reason and by):
        raise click.UsageError("--accept needs --reason TEXT and --by NAME: they are journalled")
    return Terms(
        wait=Terms().wait if gate_wait is None else gate_wait,
        min_span=min_span,
        junit=junit,
        baseline=baseline,
        source=source,
        accepted=Accepted(accept, reason, by),
    )


def _ask_first(last: str) -> None:
    """On a terminal only: a pipeline that calls `run` means it."""
    if not os.isatty(0):
        return
    click.confirm(f"run the phases that are left, up to {last}?", abort=True, err=True)


def _next_command(config: Path | None, error: Interrupted | GateClosed | StepFailed) -> str:
    flag = "" if config is None else f" --config {config}"
    if isinstance(error, GateClosed) and error.phase in ("application", "validation"):
        way_back = f"phasegate migrate rollback --strategy gradual{flag}"
        return f"phasegate migrate resume{flag}; or the way back: {way_back}"
    return f"phasegate migrate resume{flag}"


@migrate.command(
    epilog="""\b
Example:
  phasegate migrate status --watch
  phasegate migrate status --format json

\b
Exit codes:
  0  shown
  2  the flags or the configuration cannot be used
  4  the database could not be reached
"""
)
@config_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
def status(*, config: Path | None, form: str, watch: bool) -> None:
    """Show phases, steps, verdicts, progress, overrides; also while a run goes on."""
    import msgspec  # noqa: PLC0415

    from phasegate.migrate.model import Patience  # noqa: PLC0415
    from phasegate.migrate.opening import connector  # noqa: PLC0415
    from phasegate.migrate.sessions import unreachable  # noqa: PLC0415
    from phasegate.migrate.status import fetch_status, render_status  # noqa: PLC0415

    settings = read_settings(config)
    with unreachable(), connector(settings)(Patience.BATCH) as connection:
        while True:
            found = fetch_status(connection)
            if watch and form == "text":
                click.clear()
            text = render_status(found) if form == "text" else msgspec.json.encode(found).decode()
            click.echo(text.rstrip("\n"))
            if not watch:
                return
            time.sleep(WATCH_SECONDS)


_CONTROL_EPILOG = """\b
Example:
  phasegate migrate {name}

\b
Exit codes:
  0  told; the runner sees it within a second
  2  the flags or the configuration cannot be used
  4  the database could not be reached
  5  there is no migration in this database
"""


@migrate.command(epilog=_CONTROL_EPILOG.format(name="pause"))
@config_option
@by_option
def pause(*, config: Path | None, by: str) -> None:
    """Let the run stop after the piece of work at hand; `resume` goes on."""
    _want(config, "pause", by)


@migrate.command(epilog=_CONTROL_EPILOG.format(name="abort"))
@config_option
@by_option
def abort(*, config: Path | None, by: str) -> None:
    """Let the run stop at once and cancel what the server does for it; `resume` goes on."""
    _want(config, "abort", by)


def _want(config: Path | None, wanted: str, by: str) -> None:
    from phasegate.contract.migration import Event  # noqa: PLC0415
    from phasegate.migrate.control import set_wanted  # noqa: PLC0415
    from phasegate.migrate.journal import Journal, exists  # noqa: PLC0415
    from phasegate.migrate.model import Patience  # noqa: PLC0415
    from phasegate.migrate.opening import connector, fetch_identity  # noqa: PLC0415
    from phasegate.migrate.sessions import unreachable  # noqa: PLC0415

    settings = read_settings(config)
    with unreachable(), connector(settings)(Patience.BATCH) as connection:
        if not exists(connection):
            raise Interrupted("there is no migration in this database: phasegate migrate plan")
        identity = fetch_identity(connection)
        journal = Journal(connection, settings.migrate.backup.directory, identity, by)
        set_wanted(connection, wanted, journal.by)
        journal.write(Event.CONTROL, what=wanted)
        click.echo(f"{wanted} is asked for", err=True)
