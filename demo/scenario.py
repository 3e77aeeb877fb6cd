"""The demo from start to end: a legacy database under traffic, measured, migrated, measured again.

An interrupt arrives as a cancellation at the next `await`: no start is cut in half by it, and all
that stands goes the way it would have gone at the end.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

from phasegate.contract.errors import WorkFailed
from phasegate.contract.metrics import METRICS
from phasegate.demo.exporter import Exporter
from phasegate.demo.figures import Lookup, Scrape, Window
from phasegate.demo.migration import fail_and_go_back, migrate, prepare, validate
from phasegate.demo.operator import Operator
from phasegate.demo.screen import Screen, open_screen
from phasegate.demo.stage import Stage, open_stage
from phasegate.demo.words import (
    INTEGER,
    UUID,
    Tally,
    describe,
    describe_partitions,
    describe_users,
    explain,
    find_unmeasured,
)

NOTICE_SECONDS = 15.0
IMPOSSIBLE = "10us"
"""Limit of a lookup for a gate that is to fail."""
SCRAPE_INTERVAL = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 5


@dataclass(frozen=True)
class Options:
    """`rows`: users; `seconds`: length of each of the two measurements; `limit`: what a
    lookup may take. `fail_gate`: a gate that
    fails, and the way back; `kill`: the run is killed in the middle, and goes on."""

    rows: int
    seconds: float
    keep: bool
    limit: str = "10ms"
    fail_gate: bool = False
    kill: bool = False


@dataclass
class Outcome:
    """The exit code once there is one; an interrupt after that (`--keep`) does not change it."""

    code: int = INTERRUPTED


def run(options: Options) -> int:
    """Run the demo to its end and return its exit code.

    0: everything was measured; 1: something was not; 5: interrupted before that was known.
    PhasegateError where a server, the application or the exporter fails.
    """
    return asyncio.run(_run_interruptible(options, open_screen()))


async def _run_interruptible(options: Options, screen: Screen) -> int:
    playing = asyncio.current_task()
    assert playing is not None
    outcome = Outcome()
    interrupts: list[int] = []

    def interrupt(number: int) -> None:
        # Only the first: a second Ctrl-C must not cut the cleaning up.
        if not interrupts:
            playing.cancel()
        interrupts.append(number)

    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        # nohup ignores SIGHUP on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupt, number)
    try:
        await _play(options, screen, outcome)
    except asyncio.CancelledError:
        if not interrupts:
            raise
        screen.say("\nInterrupted; nothing is left behind." if outcome.code == INTERRUPTED else "")
    return outcome.code


async def _play(options: Options, screen: Screen, outcome: Outcome) -> None:
    limit = IMPOSSIBLE if options.fail_gate else options.limit
    async with open_stage(screen, options.rows, limit) as stage:
        await stage.deploy(1)
        exporter = await stage.start_exporter()
        await _await_lookup(stage, exporter, INTEGER)
        before = await _measure(stage, exporter, "before", options.seconds)
        variables = {"DATABASE_URL": stage.database.url, "REDIS_URL": stage.cache.url}
        operator = Operator(stage.folder, screen, variables)
        deploying = asyncio.create_task(stage.serve_deployments())
        try:
            await prepare(operator, options.seconds, given=stage.cache.given)
            if options.fail_gate:
                await fail_and_go_back(operator)
                outcome.code = _end(stage, await stage.read_users(), operator.surprises)
                return
            await migrate(operator, stage, kill=options.kill)
            await _await_lookup(stage, exporter, UUID)
            after = await _measure(stage, exporter, "after", options.seconds)
            await validate(operator, stage)
        finally:
            deploying.cancel()
            await asyncio.gather(deploying, return_exceptions=True)
        users = await stage.read_users()
        outcome.code = _conclude(stage, before, after, users, operator.surprises)
        if options.keep:
            await _keep(stage)


async def _measure(stage: Stage, exporter: Exporter, title: str, seconds: float) -> Window:
    """Scrape once a second for that long; WorkFailed where the exporter does not answer."""
    first: Scrape | None = None
    last: Scrape | None = None
    started = time.monotonic()
    with stage.screen.measuring(title) as show:
        while (elapsed := time.monotonic() - started) < seconds:
            stage.check_children()
            last = await exporter.try_scrape() or last
            first = first or last
            if first is not None and last is not None:
                show(elapsed, seconds, describe(Window(first, last)))
            await asyncio.sleep(SCRAPE_INTERVAL)
    if first is None or last is None:
        raise WorkFailed(f"the exporter answered no scrape within {seconds:.0f} s")
    return Window(first, last)


async def _await_lookup(stage: Stage, exporter: Exporter, lookup: Lookup) -> None:
    """Until the exporter has timed one, or should have: the probe discards its warm-ups."""
    deadline = time.monotonic() + NOTICE_SECONDS
    while time.monotonic() < deadline:
        scrape = await exporter.try_scrape()
        if scrape is not None and any(scrape.buckets.get(lookup, {}).values()):
            return
        stage.check_children()
        await asyncio.sleep(SCRAPE_INTERVAL / 2)


def _conclude(
    stage: Stage,
    before: Window,
    after: Window,
    users: dict[str, Tally],
    surprises: list[str],
) -> int:
    screen = stage.screen
    said = describe(after)
    screen.say("\nMeasured by the exporter")
    screen.compare({name: (text, said[name]) for name, text in describe(before).items()})
    parts = describe_partitions(after.last)
    screen.summarise("The audit log now", [f"{name}  {size}" for name, size in parts.items()])
    screen.summarise("What it means", explain(before, after, users))
    unmeasured = find_unmeasured(before, after, {metric.name for metric in METRICS})
    if unmeasured:
        screen.summarise("NOT MEASURED", unmeasured)
    if surprises:
        screen.summarise("NOT AS IT SHOULD", surprises)
    return 1 if unmeasured or surprises else 0


def _end(stage: Stage, users: dict[str, Tally], surprises: list[str]) -> int:
    """After the way back."""
    stage.screen.summarise("What it means", describe_users(users))
    if surprises:
        stage.screen.summarise("NOT AS IT SHOULD", surprises)
    return 1 if surprises else 0


async def _keep(stage: Stage) -> None:
    """Stay until an interrupt; WorkFailed where something that should stay does not."""
    urls = [f"{name}: {url}/metrics" for name, url in stage.urls.items()]
    stage.screen.summarise("Running until Ctrl-C", urls)
    while True:
        stage.check_children()
        await asyncio.sleep(SCRAPE_INTERVAL)
