"""`phasegate migrate warm-cache`: the permission cache filled, by itself, at any time."""

from __future__ import annotations

from pathlib import Path

import click

from phasegate.migrate.command import config_option, read_settings

EPILOG = """\b
Example:
  phasegate migrate warm-cache
  phasegate migrate warm-cache --if-cold

\b
Exit codes:
  0  filled, or warm already
  1  a query of cache.warm does not fit
  2  the flags or the configuration cannot be used, or cache.warm is not configured
  4  the database or the cache could not be reached
"""


@click.command(name="warm-cache", epilog=EPILOG)
@config_option
@click.option(
    "--if-cold", is_flag=True, help="Only where fewer than half of the keys sampled are there."
)
def warm_cache(*, config: Path | None, if_cold: bool) -> None:
    """Fill the permission cache by the queries of cache.warm; never with a revoked grant."""
    settings = read_settings(config)
    from phasegate.migrate.cache_keys import open_cache  # noqa: PLC0415
    from phasegate.migrate.context import NothingStops  # noqa: PLC0415
    from phasegate.migrate.model import Patience  # noqa: PLC0415
    from phasegate.migrate.opening import connector  # noqa: PLC0415
    from phasegate.migrate.sessions import unreachable  # noqa: PLC0415
    from phasegate.migrate.warm_cache import Warmer  # noqa: PLC0415

    cache = settings.cache
    if cache is None or cache.warm is None:
        raise click.UsageError("cache.warm: found nothing, expected its queries ids and sql")
    with (
        unreachable(),
        connector(settings)(Patience.BATCH) as connection,
        open_cache(cache) as client,
    ):
        warmer = Warmer(cache, cache.warm, connection, client, NothingStops())
        if if_cold and not warmer.is_cold():
            click.echo("warm already: nothing is written", err=True)
            return
        found = warmer.fill()
    click.echo(
        f"{found.kept} keys filled, {found.present} were there, "
        f"{found.dropped} had changed meanwhile",
        err=True,
    )
