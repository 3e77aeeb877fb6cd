"""`phasegate validate serve`: its flags, and the life of the process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import sys
import time
from functools import partial
from pathlib import Path

import click
from aiohttp import web

from phasegate.contract.dossier import EXPORTER, PROMETHEUS
from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.listening import is_loopback, parse_listen_address
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.validators.call import Call, spread_values
from phasegate.validators.gate import assess
from phasegate.validators.serve.access import read_token
from phasegate.validators.serve.application import Judge, make_application
from phasegate.validators.sources import Request, gather
from phasegate.validators.verdict import Report

EPILOG = """\b
Example:
  phasegate validate serve --config phasegate.yaml
  phasegate validate serve --web.listen-address :9898 --web.bearer-file /run/secrets/token \\
    --web.tls-cert-file tls.crt --web.tls-key-file tls.key
  curl "http://127.0.0.1:9898/api/v1/verdict?criterion=health&run=release-42"

\b
Exit codes:
  0   ended by a signal
  2   the flags or the configuration cannot be used
  4   the address could not be listened on, or the token's file not be read
  70  a bug of Phasegate
"""
DRAIN_SECONDS = 1.0
log = logging.getLogger("phasegate.serve")


class Spreading(click.Command):
    """Takes all words that follow a flag of several values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What no option took."""
        return super().parse_args(ctx, spread_values(args, "--junit"))


@click.command("serve", epilog=EPILOG, cls=Spreading)
@click.option("--config", "--config.file", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option("--web.listen-address", "address", default="127.0.0.1:9898", show_default=True)
@click.option(
    "--web.bearer-file",
    "token_file",
    type=click.Path(path_type=Path),
    help="File with the token that every request must show; read at each of them.",
)
@click.option("--web.tls-cert-file", "cert", type=click.Path(path_type=Path), help="Chain in PEM.")
@click.option("--web.tls-key-file", "key", type=click.Path(path_type=Path), help="Its key.")
@click.option(
    "--no-authentication", "open_to_all", is_flag=True, help="Ask for no token beyond loopback."
)
@click.option(
    "--source", type=click.Choice([EXPORTER, PROMETHEUS]), default=EXPORTER, show_default=True
)
@click.option("--junit", multiple=True, metavar="GLOB...", help="Files with results of tests.")
@click.option("--baseline", type=click.Path(path_type=Path), help="What `baseline capture` wrote.")
def serve(
    *,
    config: Path | None,
    address: str,
    token_file: Path | None,
    cert: Path | None,
    key: Path | None,
    open_to_all: bool,
    source: str,
    junit: tuple[str, ...],
    baseline: Path | None,
) -> None:
    """Answer Argo Rollouts and Flagger with verdicts, over HTTP."""
    where = _check_access(address, token_file, open_to_all=open_to_all)
    tls = _make_tls(cert, key)
    settings = load_settings(find_config(config, os.environ), os.environ, connects=False)
    _configure_logs()
    look = partial(_look, settings, source, junit, baseline)
    judge = Judge(settings, junit, look)
    asyncio.run(_serve(make_application(judge, token_file), where, tls))


def _check_access(
    address: str, token_file: Path | None, *, open_to_all: bool
) -> tuple[str | None, int]:
    """Host and port, or a refusal to be open to strangers by oversight."""
    try:
        host, port = parse_listen_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--web.listen-address") from None
    if token_file is not None and open_to_all:
        raise click.UsageError("--web.bearer-file or --no-authentication, not both")
    if token_file is not None:
        read_token(token_file)
    elif not is_loopback(host) and not open_to_all:
        reason = "others than this machine reach it, and no --web.bearer-file protects it"
        raise click.UsageError(f"{address}: {reason}; give one, or --no-authentication")
    return host, port


def _make_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise click.UsageError("--web.tls-cert-file and --web.tls-key-file go together")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password of our own OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        found = error.strerror or str(error)
        message = f"{cert}, {key}: {found}; expected a certificate in PEM and its unencrypted key"
        raise click.UsageError(message) from None
    return context


def _configure_logs() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(redactor)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _look(
    settings: Settings, source: str, junit: tuple[str, ...], baseline: Path | None, call: Call
) -> Report:
    request = Request(settings, call.criteria, call.fetched_since, source, junit, baseline)
    dossier = gather(request, time.time)
    return assess(call.criteria, dossier, settings, call.options)


async def _serve(
    application: web.Application, where: tuple[str | None, int], tls: ssl.SSLContext | None
) -> None:
    host, port = where
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise SourceUnavailable(f"{host or ''}:{port}", error.strerror or str(error)) from error
        log.info("listening on %s:%d, TLS %s", host or "", port, "on" if tls else "off")
        await ended.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()
