"""`phasegate doctor`: the guide's troubleshooting section as checks, each with its remedy."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phasegate.contract.connection import check_connections
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.operate.checks import find_checks, find_names

if TYPE_CHECKING:
    from phasegate.operate.doctor import Finding
    from phasegate.operate.doctor_ground import Ground

EPILOG = """\b
Example:
  phasegate doctor --config phasegate.yaml
  phasegate doctor --check lookup_plans --check partitions --fix
  phasegate doctor --format json

\b
Exit codes:
  0  nothing is wrong; warnings are told
  1  a problem was found
  2  the flags or the configuration cannot be used
  3  no problem, and something could not be looked at
  4  a server that is needed cannot be reached
"""


def _list_checks(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    for check in find_checks(tuple(find_names())):
        click.echo(f"{check.name:<16} {check.summary}")
    context.exit()


@click.command(epilog=EPILOG)
@click.option("--config", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option(
    "--check", "names", multiple=True, type=click.Choice(find_names()), metavar="NAME",
    help="Only this one; repeatable. --list names them.",
)  # fmt: skip
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_checks,
    help="Name every check, and end.",
)  # fmt: skip
@click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--fix", is_flag=True, help="Apply the safe remedies, after asking.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
def doctor(
    *, config: Path | None, names: tuple[str, ...], style: str, fix: bool, yes: bool
) -> None:
    """Look for what goes wrong, and say what to do about it. Only reads, unless --fix is given."""
    if yes and not fix:
        raise click.UsageError("--yes goes with --fix")
    if fix and not yes and not sys.stdin.isatty():
        raise click.UsageError("--fix asks, and there is nobody to ask: give --yes")
    load = partial(load_settings, find_config(config, os.environ), os.environ)
    settings = load()
    check_connections(settings)
    from phasegate.exporter.logs import configure_logs  # noqa: PLC0415
    from phasegate.operate.doctor import evaluate_exit  # noqa: PLC0415
    from phasegate.operate.doctor_ground import Ground  # noqa: PLC0415
    from phasegate.operate.doctor_render import render_json, render_text  # noqa: PLC0415
    from phasegate.operate.doctor_run import examine_all  # noqa: PLC0415

    configure_logs("error", "logfmt")  # a collector that fails is a finding
    runbooks = settings.monitoring.runbooks
    make_ground = partial(Ground, settings, load)
    checks = find_checks(tuple(dict.fromkeys(names)))
    findings = examine_all(checks, make_ground())
    fixed: list[tuple[Finding, str, bool]] = []
    if fix:
        click.echo(render_text(findings, runbooks), err=True, nl=False)
        fixed = _fix(findings, names, make_ground(), ask=not yes)
        if fixed:
            # All of them: a table that has statistics now has another plan too.
            findings = examine_all(checks, make_ground())
    text = (
        render_text(findings, runbooks)
        if style == "text"
        else render_json(findings, runbooks, fixed, time.time())
    )
    click.echo(text, nl=False)
    sys.exit(evaluate_exit(findings))


def _fix(
    findings: Sequence[Finding], names: Sequence[str], ground: Ground, *, ask: bool
) -> list[tuple[Finding, str, bool]]:
    """Offer each fix, apply those that are wanted, and say what was done."""
    from phasegate.operate.doctor import select_fixes  # noqa: PLC0415
    from phasegate.operate.doctor_run import apply_fixes  # noqa: PLC0415

    wanted = []
    for one in select_fixes(findings, names):
        assert one.fix is not None
        if not ask or click.confirm(f"{one.check}: may I {one.fix.what}?", err=True):
            wanted.append(one)
    fixed = apply_fixes(wanted, ground)
    for one, told, _ in fixed:
        click.echo(f"{one.check}: {told}", err=True)
    if not fixed:
        click.echo("nothing was changed", err=True)
    return fixed
