"""`phasegate baseline`: writes down what was measured before the change, and shows it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

import phasegate
from phasegate.contract.baseline import (
    encode_baseline,
    find_baseline,
    make_baseline,
    read_baseline,
)
from phasegate.contract.belief import believe
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.contract.units import format_duration
from phasegate.validators.baseline_document import render_document
from phasegate.validators.call import read_duration
from phasegate.validators.output import write_output
from phasegate.validators.sources import Request, gather
from phasegate.validators.sources.exporter import NAME

DOCUMENT_NAME = "performance-baseline.md"
# The identity of the database is asked for as these criteria need it.
_ASKED = ("uuid_lookup_latency", "cache_hit_rate", "health")
_NOT_BELIEVED, _NOT_READ = 3, 4

EPILOG = """\b
Example:
  phasegate baseline capture --config phasegate.yaml --window 24h
  phasegate baseline show
  phasegate validate --criterion error_rate --baseline baseline.json

\b
Exit codes:
  0  written or shown
  2  the flags or the configuration cannot be used, or a file cannot be written
  3  what the exporter measured is not believed, or too little: nothing is written
  4  the exporter, or the baseline, could not be reached or read
"""


@click.group(epilog=EPILOG)
def baseline() -> None:
    """What was measured before the change: "no increase" is judged against it."""


@baseline.command(epilog=EPILOG)
@click.option("--config", "--config.file", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option(
    "--window",
    callback=read_duration,
    default="24h",
    show_default=True,
    metavar="DURATION",
    help="How far back, as far as the exporter keeps it.",
)
@click.option("--output", metavar="FILE", help="baseline.json beside the configuration.")
@click.option("--document", metavar="FILE", help="performance-baseline.md beside the baseline.")
@click.option("--replace", is_flag=True, help="Write over a baseline that is there.")
def capture(
    *, config: Path | None, window: float, output: str | None, document: str | None, replace: bool
) -> None:
    """Write the baseline, and the performance baseline as a document."""
    settings = load_settings(find_config(config, os.environ), os.environ, connects=False)
    place = Path(output) if output else find_baseline(settings)
    if place.is_file() and not replace:
        # Captured again after the change, it would hide what the change did.
        raise click.UsageError(f"{place} is there; --replace captures anew, --output elsewhere")
    since = time.time() - window
    dossier = gather(Request(settings, _ASKED, since, NAME), time.time)
    _check(dossier, settings, since)
    assert dossier.evidence is not None
    made = make_baseline(dossier.evidence, dossier.judged, phasegate.__version__)
    if not any(one.total for one in made.counts):
        _refuse(_NOT_BELIEVED, f"nothing was counted in the last {format_duration(window)}")
    write_output(encode_baseline(made), str(place))
    page = document or str(place.with_name(DOCUMENT_NAME))
    write_output(render_document(made).encode(), page)
    click.echo(f"{place}: {len(made.counts)} counts; {page}", err=True)
    requests = made.counted("error_rate", "application")
    if requests is None or not requests.total:
        click.echo("no requests were counted: error_rate cannot be judged against it", err=True)


@baseline.command(epilog=EPILOG)
@click.option("--config", "--config.file", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option("--baseline", "file", type=click.Path(path_type=Path), help="Beside the config.")
@click.option("--format", "form", type=click.Choice(["markdown", "json"]), default="markdown")
def show(*, config: Path | None, file: Path | None, form: str) -> None:
    """Print the baseline, once its seal is found whole."""
    if file is None:
        file = find_baseline(
            load_settings(find_config(config, os.environ), os.environ, connects=False)
        )
    found = read_baseline(file)
    click.echo(render_document(found) if form == "markdown" else encode_baseline(found), nl=False)


def _check(dossier: Dossier, settings: Settings, since: float) -> None:
    """Ends the process where the evidence is not of the configured servers as they are now."""
    if dossier.problems:
        _refuse(_NOT_READ, dossier.problems[0].what)
    if dossier.evidence is None:
        _refuse(_NOT_BELIEVED, "no exporter is configured: exporter.url")
    options = Options(since=since)
    known = dossier.identities
    believed = believe(dossier.evidence, settings, options, dossier.judged, known)
    doubt = believed.doubt or "; ".join(one.what for one in believed.doubts.values())
    if doubt:
        _refuse(_NOT_BELIEVED, f"evidence is not believed: {doubt}")


def _refuse(code: int, what: str) -> NoReturn:
    click.echo(f"phasegate: {what}", err=True)
    sys.exit(code)
