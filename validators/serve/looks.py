"""Looks at the evidence in threads: few at once, and one for all who ask the same.

The threads are daemons: a source that hangs must not hold up the end of the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

from phasegate.validators.call import Call
from phasegate.validators.verdict import Report

AT_ONCE = 4
MOST = 64


class TooManyAsk(Exception):
    """More different questions wait than are worth waiting for."""


class Looks:
    """`look` blocks; it is called with one question by one thread at a time."""

    def __init__(self, look: Callable[[Call], Report]) -> None:
        self._look = look
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._running: dict[Call, asyncio.Task[Report]] = {}

    async def report(self, call: Call) -> Report:
        """What `look` gives or raises; a caller that gives up stops nothing. TooManyAsk."""
        running = self._running.get(call)
        if running is None:
            if len(self._running) >= MOST:
                raise TooManyAsk
            running = asyncio.create_task(self._in_thread(call))
            self._running[call] = running
            running.add_done_callback(lambda done: self._end(call, done))
        return await asyncio.shield(running)

    def _end(self, call: Call, done: asyncio.Task[Report]) -> None:
        del self._running[call]
        if not done.cancelled():
            done.exception()  # told to those who ask; here so that it is not told as forgotten

    async def _in_thread(self, call: Call) -> Report:
        async with self._slots:
            answer: Future[Report] = Future()
            threading.Thread(target=self._fill, args=(answer, call), daemon=True).start()
            return await asyncio.wrap_future(answer)

    def _fill(self, answer: Future[Report], call: Call) -> None:
        try:
            answer.set_result(self._look(call))
        except Exception as error:
            answer.set_exception(error)
