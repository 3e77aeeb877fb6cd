"""`phasegate dashboards preview`: the boards in a browser, or as pictures, without a Grafana."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import click
from aiohttp import web

from phasegate.contract.boards import BOARDS
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.listening import is_loopback, parse_listen_address
from phasegate.contract.settings import Prometheus
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.dashboards.preview.pictures import Picture, take_pictures
from phasegate.dashboards.preview.server import make_app
from phasegate.dashboards.preview.upstream import Unanswered, Upstream

USUAL_PROMETHEUS = "http://127.0.0.1:9090"
EPILOG = """\b
Example:
  phasegate dashboards preview
  phasegate dashboards preview --config phasegate.yaml --boards ./dashboards
  phasegate dashboards preview --prometheus http://127.0.0.1:9090 --listen 127.0.0.1:0
  phasegate dashboards preview --theme light --screenshot "phasegate-overview?from=now-6h" a.png

\b
Exit codes:
  0   ended by a signal, or every picture was taken
  2   the flags, the configuration or a board cannot be used
  4   Prometheus could not be reached at the start, the address not be listened on,
      or there is no Chromium to take a picture with
  70  a bug of Phasegate
"""
DRAIN_SECONDS = 0.5
START_SECONDS = 10.0


def _read_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    del ctx, param
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # A URL that is not usable may hold a password: it is not repeated.
    if not usable or not value.isprintable() or " " in value or parts.query or parts.fragment:
        raise click.BadParameter("expected the http:// or https:// URL of a Prometheus")
    if "@" in parts.netloc:
        raise click.BadParameter("a user or password in it; give prometheus.basic_auth by --config")
    return value


def _read_address(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int]:
    del ctx, param
    try:
        host, port = parse_listen_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if host is None or not is_loopback(host):
        raise click.BadParameter(
            f"found {value!r}, expected an address of this machine alone, for example "
            "127.0.0.1:9898: whoever reaches the preview asks your Prometheus with its credentials"
        )
    return host, port


@click.command(epilog=EPILOG)
@click.option("--config", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option(
    "--prometheus",
    "url",
    callback=_read_url,
    metavar="URL",
    help=f"Which Prometheus is asked.  [default: prometheus.url, else {USUAL_PROMETHEUS}]",
)
@click.option(
    "--boards",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Where the boards' JSON lies.  [default: the boards of this package]",
)
@click.option(
    "--listen",
    "where",
    default="127.0.0.1:9898",
    show_default=True,
    callback=_read_address,
    metavar="HOST:PORT",
    help="Where the page is served; port 0 takes a free one.",
)
@click.option(
    "--screenshot",
    "screenshots",
    nargs=2,
    multiple=True,
    metavar="BOARD FILE",
    help="Write a PNG of a board, by its uid with the query of its address if any, and end.",
)
@click.option("--width", type=click.IntRange(200, 8000), default=1280, show_default=True)
@click.option(
    "--height", type=click.IntRange(0, 16000), default=800, show_default=True, help="0: all of it."
)
@click.option(
    "--theme", type=click.Choice(["dark", "light"]), default="dark", show_default=True,
    help="Of the pictures; in a browser it is chosen there.",
)  # fmt: skip
def preview(
    *,
    config: Path | None,
    url: str | None,
    folder: Path | None,
    where: tuple[str, int],
    screenshots: tuple[tuple[str, str], ...],
    width: int,
    height: int,
    theme: str,
) -> None:
    """Look at the boards without a Grafana: drawn from their JSON and a real Prometheus."""
    boards = read_boards(folder or resources.files("phasegate.dashboards"))
    access = _choose_prometheus(config, url)
    pictures = [Picture(name, Path(file), width, height, theme) for name, file in screenshots]
    for one in pictures:
        if one.uid not in boards:
            raise click.BadParameter(
                f"there is no board {one.uid!r}; there are: {', '.join(boards)}",
                param_hint="--screenshot",
            )
    asyncio.run(_run(boards, access, where, pictures))


def read_boards(folder: Traversable) -> dict[str, dict[str, Any]]:
    """The boards of a folder's JSON files: uid -> classic JSON. Raises UsageError.

    Ours come first, in the contract's order, then others by their titles.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".json"):
            continue
        try:
            board = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or f"not JSON: {error}"
            raise click.UsageError(f"{file}: {reason}") from None
        if not isinstance(board, dict) or not isinstance(board.get("panels"), list):
            wanted = "a board in Grafana's classic format, an object with `panels`"
            raise click.UsageError(f"{file}: expected {wanted}")
        uid = str(board.get("uid") or file.name.removesuffix(".json"))
        if uid in found:
            raise click.UsageError(f"{file}: a second board has the uid {uid!r}")
        found[uid] = board
    if not found:
        raise click.UsageError(f"{folder}: found no *.json, expected boards")
    ours = [board.uid for board in BOARDS.values()]
    place = {uid: number for number, uid in enumerate(ours)}
    return dict(
        sorted(
            found.items(),
            key=lambda one: (place.get(one[0], len(ours)), str(one[1].get("title", one[0]))),
        )
    )


def _choose_prometheus(config: Path | None, url: str | None) -> Prometheus:
    path = find_config(config, os.environ)
    known = load_settings(path, os.environ, connects=False).prometheus if path else None
    if known is None:
        return Prometheus(url=url or USUAL_PROMETHEUS)
    if url is None or url.rstrip("/") == known.url.rstrip("/"):
        return known
    # Credentials go only to the server that they were given for.
    return replace(Prometheus(url=url), ca=known.ca)


async def _run(
    boards: Mapping[str, Mapping[str, Any]],
    access: Prometheus,
    where: tuple[str, int],
    pictures: list[Picture],
) -> None:
    await _demand_prometheus(access)
    runner = web.AppRunner(
        make_app(boards, access=access), access_log=None, shutdown_timeout=DRAIN_SECONDS
    )
    await runner.setup()
    # Who only wants pictures does not care where they are served, and may run a preview already.
    host, port = ("127.0.0.1", 0) if pictures else where
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SourceUnavailable(f"{host}:{port}", error.strerror or str(error)) from error
        base = f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}"
        if pictures:
            await take_pictures(base, pictures)
        else:
            await _serve(base, boards)
    finally:
        await runner.cleanup()


async def _serve(base: str, boards: Mapping[str, Mapping[str, Any]]) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    for uid, board in boards.items():
        click.echo(f"{base}/d/{quote(uid, safe='')}  {board.get('title', uid)}")
    click.echo("ctrl-c ends it", err=True)
    await ended.wait()


async def _demand_prometheus(access: Prometheus) -> None:
    """One question: what is wrong with the address shows at once, and not on each panel."""
    upstream = Upstream(access, START_SECONDS)
    try:
        await upstream.ask("query", [("query", "1")], by_form=True)
    except Unanswered as error:
        hint = "; name another one by --prometheus or prometheus.url in phasegate.yaml"
        raise SourceError("prometheus", f"{error}{hint}") from None
    finally:
        await upstream.close()
