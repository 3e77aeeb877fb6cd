"""`phasegate dashboards push`: the boards into a running Grafana, by its HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import click

from phasegate.dashboards.export import FOLDER

EPILOG = """\b
Example:
  phasegate dashboards push --url https://grafana.example \\
    --token-file /run/secrets/grafana-token --dry-run

The token is a service account's, with the role Editor. A board that somebody else saved
since the last push is refused unless --overwrite is given.

\b
Exit codes:
  0  every board is there as it should be (or would be, with --dry-run)
  1  a board or the folder was refused; its line says why
  2  the flags or the configuration cannot be used
  4  Grafana could not be reached, or did not take the token
"""


def _read_url(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx, param
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # A URL that is not usable may hold a password: it is not repeated.
    if not usable or not value.isprintable() or " " in value:
        raise click.BadParameter("expected an http:// or https:// URL")
    if "@" in parts.netloc:
        raise click.BadParameter("a user or password in it; give a token by --token-file")
    if parts.query or parts.fragment:
        raise click.BadParameter("expected the URL of Grafana itself, without ? and #")
    return value


def _read_folder(ctx: click.Context, param: click.Parameter, value: str) -> str:
    del ctx, param
    if not value.strip() or not value.isprintable():
        raise click.BadParameter("expected the name of a folder")
    return value.strip()


@click.command(epilog=EPILOG)
@click.option(
    "--url", required=True, callback=_read_url, help="Grafana's own URL, with its path if any."
)
@click.option(
    "--token-file",
    required=True,
    type=click.Path(path_type=Path),
    help="A file that holds the token of a service account.",
)
@click.option(
    "--folder", default=FOLDER, show_default=True, callback=_read_folder,
    help="The folder's name; made where there is none.",
)  # fmt: skip
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="phasegate.yaml. Default: the limits of the guide.",
)
@click.option("--ca", type=click.Path(path_type=Path), help="Certificates that are trusted, PEM.")
@click.option("--overwrite", is_flag=True, help="Replace what somebody else saved, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
def push(
    *,
    url: str,
    token_file: Path,
    folder: str,
    config: Path | None,
    ca: Path | None,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Save the boards in a folder of a Grafana; a second time changes nothing."""
    boards = _boards(config)
    from phasegate.dashboards.grafana_http import PAUSES_SECONDS, Grafana, read_token  # noqa: PLC0415
    from phasegate.dashboards.push import Push, push_boards  # noqa: PLC0415

    async def run() -> None:
        token = read_token(token_file)
        async with Grafana(url, token, ca, pauses=PAUSES_SECONDS) as grafana:
            await push_boards(boards, Push(grafana, folder, overwrite, dry_run, click.echo))

    asyncio.run(run())


def _boards(config: Path | None) -> Mapping[str, str]:
    from phasegate.dashboards.command import read_settings  # noqa: PLC0415

    settings = read_settings(config)
    from phasegate.dashboards.build import render_boards  # noqa: PLC0415

    return render_boards(settings)
