"""Owns one probe process: starts it, reads its lines, restarts it, and ends it.

The process is told everything on its first line, and again when it cannot connect, since the
password may be another one by then. It ends with our end of its stdin, so that a killed exporter
leaves none behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog

from phasegate.contract.errors import SourceError

log = structlog.get_logger()

RESTART_SECONDS = 1.0
SILENCE_SECONDS = 5.0
END_SECONDS = 0.6


class Prober:
    """`order` makes the first line anew at each start; `receive` takes each event of the probe."""

    def __init__(
        self,
        name: str,
        order: Callable[[], Awaitable[Mapping[str, Any]]],
        receive: Callable[[dict[str, Any]], None],
        silence_seconds: float,
    ) -> None:
        self.restarts = 0
        self._name = name
        self._order = order
        self._receive = receive
        self._silence = silence_seconds + SILENCE_SECONDS
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep a probe running from now on."""
        self._task = asyncio.create_task(self._supervise(), name=f"probe/{self._name}")

    async def stop(self) -> None:
        """End it; returns when the process is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _supervise(self) -> None:
        while True:
            try:
                await self._run_once()
            except (OSError, ValueError) as error:
                log.warning("probe_failed", target=self._name, error=str(error))
            except Exception as error:
                log.warning("probe_not_started", target=self._name, error=str(error))
            self.restarts += 1
            await asyncio.sleep(RESTART_SECONDS)

    async def _run_once(self) -> None:
        order = json.dumps(await self._order()).encode() + b"\n"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "phasegate.exporter.probe"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(order)
            await process.stdin.drain()
            # Not wait_for: before Python 3.12 it can swallow the cancellation that stops us.
            while True:
                async with asyncio.timeout(self._silence):
                    line = await process.stdout.readline()
                if not line:
                    break
                event = json.loads(line)
                if "c" in event:
                    await self._renew(process.stdin)
                else:
                    self._receive(event)
        except TimeoutError:
            log.warning("probe_silent", target=self._name, seconds=self._silence)
        finally:
            process.stdin.close()
            try:
                async with asyncio.timeout(END_SECONDS):
                    await self._receive_last(process.stdout)
                    # Waited for before it is killed: `kill` would reap one that just ended, and
                    # the event loop, which waits for it too, then warns of an unknown child.
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _receive_last(self, lines: asyncio.StreamReader) -> None:
        """What a probe that was told to end still says: the slot that it was in."""
        while line := await lines.readline():
            event = json.loads(line)
            if "c" not in event:
                self._receive(event)

    async def _renew(self, orders: asyncio.StreamWriter) -> None:
        """Tell a probe that cannot connect what the secrets are by now."""
        try:
            order = await self._order()
        except SourceError as error:
            log.warning("probe_order_failed", target=self._name, error=str(error))
            return
        orders.write(json.dumps(order).encode() + b"\n")
        await orders.drain()
