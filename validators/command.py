"""`phasegate validate`: its flags, one judgement or a wait for one, and the exit code."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from phasegate.contract.dossier import EXPORTER, PROMETHEUS, Dossier
from phasegate.contract.gates import GATES
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.validators.call import (
    JUDGED,
    Call,
    Flags,
    choose_criteria,
    plan_call,
    plan_replay,
    read_confidence,
    read_duration,
    read_time,
    spread_values,
)
from phasegate.validators.gate import assess
from phasegate.validators.output import append_summary, check_attest, pair_outputs, write_output
from phasegate.validators.report import format_names, render, render_summary
from phasegate.validators.verdict import Report

EPILOG = """\b
Example:
  phasegate validate --config phasegate.yaml
  phasegate validate --criterion uuid_lookup_latency --since 2026-01-01T00:00:00Z --wait 15m
  phasegate validate --phase schema --format text --format json --output - --output verdict.json
  phasegate validate --criterion integration_tests --junit "reports/**/*.xml"
  phasegate validate --save-evidence kept.json; phasegate validate --evidence kept.json
  phasegate validate --save-evidence kept.json --attest kept.intoto.json
  phasegate validate serve --help

\b
Exit codes, the first that occurs:
  2   the flags or the configuration cannot be used
  70  a bug of Phasegate
  1   a criterion failed
  4   a source of evidence could not be reached or read
  3   inconclusive: data missing, stale, contradictory or too little
  0   every criterion passed
  5   a signal ended it before the verdict
"""
ORDER = "phasegate.arguments"


class InOrder(click.Command):
    """Remembers in which order formats and outputs were given, which pairs them; and takes all
    words that follow a flag of several values. The word `serve` hands over to its own command."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Of this command, or of `serve` where that is the first word."""
        if args[:1] == ["serve"]:
            from phasegate.validators.serve.command import serve  # noqa: PLC0415

            return serve.make_context(f"{info_name} serve", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that the context is of."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What no option took."""
        ctx.meta[ORDER] = tuple(args)
        return super().parse_args(ctx, spread_values(args, "--junit"))


@click.command(epilog=EPILOG, cls=InOrder)
@click.option("--config", "--config.file", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option("--criterion", "criteria", multiple=True, metavar="ID...", help="Judge only these.")
@click.argument("more", nargs=-1, metavar="")
@click.option("--phase", type=click.Choice(list(GATES)), help="Judge what lets this phase end.")
@click.option(
    "--source", type=click.Choice([EXPORTER, PROMETHEUS]), default=EXPORTER, show_default=True
)
@click.option(
    "--since",
    callback=read_time,
    metavar="TIME",
    help="Origin of the evidence: Unix seconds or RFC 3339.",
)
@click.option(
    "--window",
    callback=read_duration,
    metavar="DURATION",
    help="One look back; 10m where --since is not given.",
)
@click.option(
    "--wait",
    callback=read_duration,
    metavar="DURATION",
    help="Look again until decided, at most so long.",
)
@click.option(
    "--min-span",
    callback=read_duration,
    metavar="DURATION",
    help="Shortest span of counts; 1m, more for a gate.",
)
@click.option(
    "--max-age", callback=read_duration, metavar="DURATION", help="Oldest evidence that counts."
)
@click.option("--confidence", callback=read_confidence, help="Of passing; 0.95.")
@click.option("--junit", multiple=True, metavar="GLOB...", help="Files with results of tests.")
@click.option("--baseline", type=click.Path(path_type=Path), help="What `baseline capture` wrote.")
@click.option("--format", "formats", type=click.Choice(format_names()), multiple=True)
@click.option("--output", "outputs", multiple=True, metavar="FILE", help="Of each --format; or -.")
@click.option("--evidence", type=click.Path(path_type=Path), help="Judge saved evidence; offline.")
@click.option("--save-evidence", "save", metavar="FILE", help="Keep what was judged, sealed.")
@click.option("--attest", metavar="FILE", help="An in-toto statement about --save-evidence.")
@click.option("--list", "listing", is_flag=True, help="Print the criteria, end.")
@click.option("--explain", is_flag=True, help="Print how they are judged, end.")
@click.pass_context
def validate(
    context: click.Context,
    /,
    *,
    config: Path | None,
    criteria: tuple[str, ...],
    more: tuple[str, ...],
    source: str,
    formats: tuple[str, ...],
    outputs: tuple[str, ...],
    evidence: Path | None,
    save: str | None,
    attest: str | None,
    listing: bool,
    explain: bool,
    **asked: Any,
) -> None:
    """Judge the success criteria on measured evidence, and exit by the verdict."""
    # As from a terminal: nothing is half written, and the exit code says that nothing was judged.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if more and not criteria:
        raise click.UsageError(f"found {more[0]!r}, expected --criterion before it")
    flags = Flags(criteria=criteria + more, **asked)
    places = pair_outputs(formats, outputs, context.meta[ORDER])
    check_attest(attest, save, [place for _, place in places])
    settings = load_settings(find_config(config, os.environ), os.environ, connects=False)
    if listing or explain:
        click.echo(_describe(flags, settings, listing=listing), nl=False)
        return
    if evidence is not None:
        call, dossier = _replay(flags, settings, evidence)
        report = assess(call.criteria, dossier, settings, call.options)
    else:
        call = plan_call(flags, settings, time.time())
        look = partial(_look, call, settings, source, flags)
        dossier, report = look() if flags.wait is None else _wait(look, flags.wait)
    if save is not None:
        _keep(call, dossier, report, settings, (save, attest))
    for name, place in places:
        write_output(render(name, report).encode(), place)
        if summary := render_summary(name, report):
            append_summary(summary[1], os.environ.get(summary[0], ""))
    sys.exit(report.exit_code)


def _describe(flags: Flags, settings: Settings, *, listing: bool) -> str:
    from phasegate.validators.explain import render_explanation, render_list  # noqa: PLC0415

    if listing:
        return render_list(choose_criteria(flags, settings), JUDGED, settings)
    call = plan_call(flags, settings, time.time())
    return render_explanation(call.criteria, settings, call.options)


def _look(
    call: Call, settings: Settings, source: str, flags: Flags, earlier: Dossier | None = None
) -> tuple[Dossier, Report]:
    from phasegate.validators.sources import Request, gather  # noqa: PLC0415

    request = Request(
        *(settings, call.criteria, call.fetched_since, source, flags.junit, flags.baseline),
        earlier=earlier,
    )
    dossier = gather(request, time.time)
    return dossier, assess(call.criteria, dossier, settings, call.options)


def _keep(
    call: Call, dossier: Dossier, report: Report, settings: Settings, places: tuple[str, str | None]
) -> None:
    from phasegate.validators.saved import seal  # noqa: PLC0415

    save, attest = places
    sealed = seal(call.criteria, dossier, settings, call.options)
    write_output(sealed, save)
    if attest is not None:
        from phasegate.validators.attest import make_statement  # noqa: PLC0415

        write_output(make_statement(report, sealed, save), attest)


def _wait(look: partial[tuple[Dossier, Report]], seconds: float) -> tuple[Dossier, Report]:
    from phasegate.validators.wait import wait_for_decision  # noqa: PLC0415

    earlier: Dossier | None = None

    def look_again() -> tuple[Dossier, Report]:
        nonlocal earlier
        found = look(earlier=earlier)
        earlier = found[0]
        return found

    return wait_for_decision(look_again, seconds)


def _replay(flags: Flags, settings: Settings, path: Path) -> tuple[Call, Dossier]:
    """Saved evidence with the question that was asked of it, as far as none is asked now."""
    from phasegate.validators.gate import digest_settings  # noqa: PLC0415
    from phasegate.validators.saved import open_saved  # noqa: PLC0415

    if flags.wait is not None:
        raise click.UsageError("--evidence or --wait, not both: what is saved does not grow")
    if flags.junit:
        raise click.UsageError("--evidence or --junit, not both: what is saved holds its results")
    if flags.baseline is not None:
        raise click.UsageError("--evidence or --baseline, not both: what is saved holds its own")
    saved = open_saved(path)
    if saved.configuration != digest_settings(settings):
        raise click.UsageError(
            f"{path} was judged under another configuration than this; expected SHA-256 "
            f"{saved.configuration[:16]}…, found {digest_settings(settings)[:16]}…"
        )
    return plan_replay(flags, settings, saved), saved.dossier
