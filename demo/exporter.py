"""The exporter as the demo uses it: started like any user's, asked over HTTP."""

from __future__ import annotations

import time
from dataclasses import replace

import aiohttp

from phasegate.contract.errors import WorkFailed
from phasegate.demo.config import FILE_NAME, Places, render_config
from phasegate.demo.figures import Scrape, parse_scrape
from phasegate.demo.places import CachePlace, DatabasePlace
from phasegate.demo.processes import Child

SCRAPE_SECONDS = 3.0


def start_exporter(port: int, database: DatabasePlace, cache: CachePlace, places: Places) -> Child:
    """`phasegate exporter` under the exporter's own role, watching the application there."""
    address = f"127.0.0.1:{port}"
    own = replace(places, exporter_url=f"http://{address}")
    return Child(
        "exporter",
        *("phasegate", "exporter", "--config.file", f"{{folder}}/{FILE_NAME}"),
        *("--web.listen-address", address, "--web.enable-lifecycle"),
        variables={"DATABASE_URL": database.exporter_url, "REDIS_URL": cache.url},
        files={FILE_NAME: render_config(own)},
    )


class Exporter:
    """A running exporter's HTTP side."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    async def scrape(self) -> Scrape:
        """One scrape, as Prometheus makes it; ClientError, TimeoutError or ValueError."""
        asked = time.monotonic()
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": str(SCRAPE_SECONDS)}
        async with self._session.get(
            f"{self.url}/metrics",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=SCRAPE_SECONDS),
        ) as answer:
            answer.raise_for_status()
            return parse_scrape(await answer.text(), asked)

    async def try_scrape(self) -> Scrape | None:
        """None where a scrape failed; the next one may not."""
        try:
            return await self.scrape()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def reload(self) -> None:
        """Let it read its configuration again; WorkFailed where it refuses."""
        async with self._session.post(f"{self.url}/-/reload") as answer:
            if answer.status != 200:
                raise WorkFailed(f"the exporter refused to reload: {(await answer.text())[:300]}")
