"""Stopping the runner: nothing that a collector does with a cancellation holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from phasegate.contract.model import Sample
from phasegate.exporter.counters import Counters
from phasegate.exporter.runner import Collector, Runner


class Swallowing(Collector):
    """Ends as usual when it is cancelled, as what shields its clean-up may."""

    name = "swallowing"
    interval = 3600.0

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def collect(self, timeout: float) -> Sequence[Sample]:
        self.began.set()
        try:
            await asyncio.sleep(timeout)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
        return ()


async def test_a_run_that_swallows_its_cancellation_does_not_hold_up_the_stop() -> None:
    collector = Swallowing()
    runner = Runner([collector], Counters())
    await runner.start()
    await collector.began.wait()
    async with asyncio.timeout(2):
        await runner.stop()
    assert not [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]


async def test_a_stop_before_the_first_run_ends() -> None:
    runner = Runner([Swallowing()], Counters())
    await runner.start()
    async with asyncio.timeout(2):
        await runner.stop()
