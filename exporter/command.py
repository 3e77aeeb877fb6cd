"""`phasegate exporter`: its flags, and the life of the process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import click
import structlog
from aiohttp import web

from phasegate.contract.connection import check_connections
from phasegate.contract.errors import ConfigError, SourceUnavailable
from phasegate.contract.listening import parse_listen_address
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.explain import render_explanation
from phasegate.exporter.http import FIXED_PATHS, make_application
from phasegate.exporter.logs import LEVELS, configure_logs
from phasegate.exporter.remedies import remedy_for
from phasegate.exporter.runner import Status
from phasegate.exporter.storage import Storage
from phasegate.exporter.webauth import protect
from phasegate.exporter.webfile import WebFile

log = structlog.get_logger()

ONCE_SECONDS = 10.0
DRAIN_SECONDS = 1.0
# What a browser, a proxy and the router all read alike: no pattern, no escape, nothing to resolve.
_TELEMETRY_PATH = re.compile(r"(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+/?")

EPILOG = """\b
Example:
  DATABASE_URL=postgresql://phasegate@db/mono_prod phasegate exporter
  phasegate exporter --config.file phasegate.yaml --web.listen-address 127.0.0.1:9899
  phasegate exporter --config.file phasegate.yaml --check-config --connect
  phasegate exporter explain

\b
Exit codes:
  0  ended by a signal, checked, or one collection with every target up
  1  --check-config --connect: a query failed
  2  the flags or the configuration cannot be used
  4  --once or --connect found a target down, or the address could not be listened on
"""


@click.group(epilog=EPILOG, invoke_without_command=True)
@click.option("--config.file", "config", type=click.Path(path_type=Path), help="phasegate.yaml.")
@click.option("--web.listen-address", "address", default=":9899", show_default=True)
@click.option("--web.telemetry-path", "path", default="/metrics", show_default=True)
@click.option(
    "--web.config.file",
    "web_config",
    type=click.Path(path_type=Path),
    help="TLS and basic authentication, in the format of the Prometheus exporter-toolkit.",
)
@click.option("--web.enable-lifecycle", "lifecycle", is_flag=True, help="Allow POST /-/reload.")
@click.option(
    "--storage.path",
    "storage",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder in which counters and evidence survive a restart.",
)
@click.option("--log.level", "level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option(
    "--log.format",
    "style",
    type=click.Choice(["logfmt", "json"]),
    default="logfmt",
    show_default=True,
)
@click.option("--once", is_flag=True, help="Collect once, print the exposition, end.")
@click.option("--check-config", is_flag=True, help="Check the configuration, end.")
@click.option("--connect", is_flag=True, help="With --check-config: run every query once.")
@click.pass_context
def exporter(
    context: click.Context,
    *,
    config: Path | None,
    address: str,
    path: str,
    web_config: Path | None,
    lifecycle: bool,
    storage: Path | None,
    level: str,
    style: str,
    once: bool,
    check_config: bool,
    connect: bool,
) -> None:
    """Measure a PostgreSQL database and its cache, and serve it to Prometheus."""
    if context.invoked_subcommand:
        return
    if connect and not check_config:
        raise click.UsageError("--connect goes with --check-config")
    configure_logs(level, style)
    load = partial(_load_checked, find_config(config, os.environ), os.environ)
    if check_config:
        sys.exit(_check(load, web_config, connect=connect))
    elif once:
        sys.exit(asyncio.run(_once(load)))
    else:
        where, path = parse_address(address), parse_telemetry_path(path)
        web_file = WebFile(web_config) if web_config else None
        with open_storage(storage) if storage else nullcontext() as kept:
            made = partial(Exporter, load, kept)
            asyncio.run(_serve(made, where, path, web_file, lifecycle=lifecycle))


def _load_checked(path: Path | None, environ: Mapping[str, str]) -> Settings:
    settings = load_settings(path, environ)
    check_connections(settings)
    return settings


def parse_address(address: str) -> tuple[str | None, int]:
    """Host and port of `--web.listen-address`; a ClickException for what is no address."""
    try:
        return parse_listen_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--web.listen-address") from None


def parse_telemetry_path(path: str) -> str:
    """The path of the metrics; a ClickException for one that is none, or that has another page."""
    if path.rstrip("/") in {fixed.rstrip("/") for fixed in FIXED_PATHS}:
        reason = f"found {path!r}, which has a page of its own; expected for example /metrics"
    elif not _TELEMETRY_PATH.fullmatch(path):
        reason = (
            f"found {path!r}, expected a path that begins with / and has only letters, digits and "
            "._~- between its slashes, for example /metrics"
        )
    else:
        return path
    raise click.BadParameter(reason, param_hint="--web.telemetry-path")


def open_storage(directory: Path) -> Storage:
    """The folder of `--storage.path`; a ClickException where nothing can be kept there.

    ConfigError where another exporter holds it.
    """
    try:
        return Storage(directory)
    except OSError as error:
        place = error.filename or directory
        reason = f"{place}: {error.strerror}; expected a folder that can be written to"
        raise click.BadParameter(reason, param_hint="--storage.path") from error


def _check(load: partial[Settings], web_config: Path | None, *, connect: bool) -> int:
    settings = load()
    if web_config:
        WebFile(web_config)
    click.echo("configuration: ok")
    for key in settings.without_effect:
        click.echo(f"no effect yet: {key}")
    return asyncio.run(_try_all(load)) if connect else 0


async def _try_all(load: partial[Settings]) -> int:
    """Run every collector once and say how it went."""
    statuses, up = await try_collectors(load, ONCE_SECONDS)
    for status in statuses:
        remedy = remedy_for(status.reason)
        problem = f"{status.reason}: {status.error}" + (f" ({remedy})" if remedy else "")
        click.echo(f"{status.collector}: {'ok' if status.success else problem}")
    if not up:
        return 4
    return 0 if all(status.success for status in statuses) else 1


async def try_collectors(
    load: Callable[[], Settings], seconds: float
) -> tuple[Sequence[Status], bool]:
    """How each collector fared in one run, and whether every target is up: each query is sent, so
    each right is used."""
    tried = Exporter(load)
    try:
        await tried.runner.run_scheduled(seconds)
        snapshot = await tried.scrape(seconds, frozenset())
    finally:
        await tried.stop()
    return snapshot.statuses, all(target.up for target in tried.targets.values())


@exporter.command("explain")
def explain_command() -> None:
    """Print what each collector asks: SQL, rights, locks, cost, and the series it gives."""
    click.echo(render_explanation(), nl=False)


async def _once(load: partial[Settings]) -> int:
    once = Exporter(load)
    try:
        await once.runner.run_scheduled(ONCE_SECONDS)
        snapshot = await once.scrape(ONCE_SECONDS, frozenset())
    finally:
        await once.stop()
    click.echo(once.exposition.render(snapshot.samples, as_openmetrics=False), nl=False)
    return 0 if all(target.up for target in once.targets.values()) else 4


async def _serve(
    make: partial[Exporter],
    address: tuple[str | None, int],
    path: str,
    web_file: WebFile | None,
    *,
    lifecycle: bool,
) -> None:
    host, port = address
    served = make()
    application = make_application(served, telemetry_path=path, lifecycle=lifecycle)
    if web_file:
        protect(application, web_file.current)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=DRAIN_SECONDS)
    await runner.setup()
    ended = _handle_signals(served, web_file)
    try:
        tls = web_file.ssl_context() if web_file else None
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise SourceUnavailable(f"{host or ''}:{port}", error.strerror or str(error)) from error
        log.info("listening", address=f"{host or ''}:{port}", tls=tls is not None)
        await ended.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()


def _handle_signals(served: Exporter, web_file: WebFile | None) -> asyncio.Event:
    """SIGTERM and SIGINT set the event; SIGHUP reloads."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        if web_file:
            web_file.reload()
        with suppress(ConfigError):
            await served.reload()

    def hang_up() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    return ended
