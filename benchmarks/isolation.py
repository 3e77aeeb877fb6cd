"""Whether a probe is ever slow because of us: with and without rendering beside it, in turn.

The exporter's own supervisor runs the exporter's own probe process, and a thread of this process
renders 10,000 series without a pause where a scrape would do it once. The probe is faster than in
service, for enough lookups to tell a P99.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any

from psycopg import conninfo as dsn

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, percentile, spread
from benchmarks.scene import OURS, conninfo, database
from phasegate.contract import metrics
from phasegate.exporter.exposition import Exposition
from phasegate.exporter.prober import Prober
from phasegate.servers.postgres import PostgresServer

SERIES = 10_000
LIMIT = 1.5
SLOW_SECONDS = 0.010
PAIRS = 5
BLOCK_SECONDS = 30.0
SHORT_PAIRS = 2
SHORT_BLOCK_SECONDS = 5.0
INTERVAL_SECONDS = 0.02
SETTLE_SECONDS = 1.0
LOOKUPS = {
    "lookups": [
        ["SELECT uuid FROM public.users WHERE uuid = $1", 0],
        ["SELECT id FROM public.users WHERE id = $1", 1],
    ],
    "groups": [
        [
            [0, 1],
            "SELECT uuid, id FROM public.users WHERE id >= $1 ORDER BY id LIMIT 1",
            "SELECT min(id), max(id) FROM public.users",
            "integer",
        ]
    ],
}


def measure(*, short: bool) -> Result:
    """P99 of the lookups with rendering, of that without, pair by pair."""
    pairs = SHORT_PAIRS if short else PAIRS
    seconds = SHORT_BLOCK_SECONDS if short else BLOCK_SECONDS
    with database(1) as server:
        quiet, loud, rendered = asyncio.run(_alternate(server, pairs, seconds))
    p99s = [[percentile(block, 0.99) for block in blocks] for blocks in (loud, quiet)]
    ratios = pairwise(*p99s)
    slow = [sum(s > SLOW_SECONDS for block in blocks for s in block) for blocks in (loud, quiet)]
    figures = {
        "series": SERIES,
        "block_seconds": seconds,
        "rendering_ms": spread(rendered, MILLISECOND),
        "p99_with_ms": spread(p99s[0], MILLISECOND, 3),
        "p99_without_ms": spread(p99s[1], MILLISECOND, 3),
        "p50_with_ms": spread([statistics.median(b) for b in loud], MILLISECOND, 3),
        "p50_without_ms": spread([statistics.median(b) for b in quiet], MILLISECOND, 3),
        "longest_with_ms": round(MILLISECOND * max(map(max, loud)), 2),
        "longest_without_ms": round(MILLISECOND * max(map(max, quiet)), 2),
        "ratio_by_pair": spread(ratios, digits=2),
        "lookups": {"with": sum(map(len, loud)), "without": sum(map(len, quiet))},
    }
    claims = [
        Claim("P99 beside rendering, of P99 without", round(statistics.median(ratios), 2), LIMIT),
        Claim("probes over 10 ms beside rendering; at most as many as without", slow[0], slow[1]),
    ]
    return Result(claims, figures)


Blocks = list[list[float]]


async def _alternate(
    server: PostgresServer, pairs: int, seconds: float
) -> tuple[Blocks, Blocks, list[float]]:
    """Seconds of the lookups in quiet blocks and in loud ones, and of each rendering."""
    current: list[float] = []

    def receive(event: dict[str, Any]) -> None:
        if "s" in event:
            current.append(event["s"])

    async def order() -> Mapping[str, Any]:
        address = dsn.conninfo_to_dict(conninfo(server, OURS))
        pace = {"interval": INTERVAL_SECONDS, "timeout": 5.0}
        return {"conninfo": address, "settings": {}, **pace, **LOOKUPS}

    found: dict[bool, Blocks] = {False: [], True: []}
    rendered: list[float] = []
    prober = Prober("benchmark", order, receive, 5.0)
    prober.start()
    try:
        for pair in range(pairs):
            for loud in (False, True) if pair % 2 else (True, False):
                await _block(SETTLE_SECONDS, loud=loud)
                current.clear()
                rendered += await _block(seconds, loud=loud)
                found[loud].append(list(current))
    finally:
        await prober.stop()
    return found[False], found[True], rendered


async def _block(seconds: float, *, loud: bool) -> list[float]:
    if not loud:
        await asyncio.sleep(seconds)
        return []
    return await asyncio.to_thread(_render, time.monotonic() + seconds)


def _render(end: float) -> list[float]:
    """Render until the end, every value changed each time so that no line can be kept."""
    exposition = Exposition(SERIES)
    taken: list[float] = []
    while time.monotonic() < end:
        size = 8192.0 * len(taken)
        samples = [
            metrics.TABLE_SIZE(size + number, "public", f"audit_logs_{number}", "audit_logs")
            for number in range(SERIES)
        ]
        began = time.perf_counter()
        exposition.render(samples, as_openmetrics=False)
        taken.append(time.perf_counter() - began)
    return taken
