"""A blocking look-up that may hang, such as a command that prints a password: one at a time.

Whoever asks meanwhile waits for the same answer. In the event loop's own threads, of which there
are a few, a command that hangs would pile up with each scrape and hold up the rendering too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Awaited by calling it; raises what `look_up` raises. A caller that gives up stops nothing."""

    def __init__(self, look_up: Callable[[], T]) -> None:
        self._look_up = look_up
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._running: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        if self._running is None or self._running.done():
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._thread, self._look_up)
        return await asyncio.shield(self._running)
