"""Memory of all our processes, beside query-exporter's, and whether scrapes make it grow.

Pss counts a page that several processes share by its share in each. The benchmark itself and the
peer run the same interpreter, which lowers ours by a fifth: the limit is held against what the sum
of Pss would be without them, and the sum as it was is printed beside it. Growth is read from the
private pages: what is shared gets dearer when somebody else leaves.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import MEGABYTE, Claim, Result, growth
from benchmarks.peers import QUERY_EXPORTER, query_exporter
from benchmarks.processes import Program, children, memory_alone_bytes, memory_bytes, scrape
from benchmarks.scene import database, exporter

PARTITIONS = 3_000
SHORT_PARTITIONS = 1_000  # to make the others takes longest
SETTLED_AFTER = 60
SHORT_SETTLED_AFTER = 20
LIMIT_MB = 110.0
GROWING_PARTITIONS = 240
SCRAPES = 10_000
SHORT_SCRAPES = 1_000
READINGS = 30
GROWTH_WARM_UPS = 200
GROWTH_LIMIT_MB = 1.0  # an allocator moves by steps; in the long form 300 bytes a scrape

Megabytes = dict[str, float]  # by the name that Linux gives the kind of memory


def measure(*, short: bool) -> Result:
    """Megabytes (10^6) of each process, and of all ours over many scrapes."""
    partitions = SHORT_PARTITIONS if short else PARTITIONS
    settled_after = SHORT_SETTLED_AFTER if short else SETTLED_AFTER
    sizes, alone, peer = _measure_sizes(partitions, settled_after)
    scrapes = SHORT_SCRAPES if short else SCRAPES
    readings = _measure_growth(scrapes)
    grown = round(growth(readings), 2)
    figures = {
        "partitions": partitions,
        "ours_mb": sizes,
        "ours_pss_mb": round(sum(size["Pss"] for size in sizes.values()), 1),
        "ours_pss_if_nothing_else_ran_mb": alone,
        "query_exporter_mb": peer,
        "growth": {"partitions": GROWING_PARTITIONS, "scrapes": scrapes, "private_mb": readings},
    }
    claims = [
        Claim(f"Pss if nothing else ran, {partitions} partitions, MB", alone, LIMIT_MB),
        Claim(f"growth in the last third of {scrapes} scrapes, MB", grown, GROWTH_LIMIT_MB),
    ]
    return Result(claims, figures, dict(part.split("==") for part in QUERY_EXPORTER))


def _measure_sizes(
    partitions: int, settled_after: int
) -> tuple[dict[str, Megabytes], float, Megabytes]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(database(partitions))
        ours = stack.enter_context(exporter(server, folder))
        theirs = stack.enter_context(query_exporter(server, folder))
        for _ in range(settled_after):
            scrape(ours.url)
            scrape(theirs.url)
        probes = children(ours.pid)
        sizes = {"exporter": _megabytes(ours.pid)}
        for number, pid in enumerate(probes, 1):
            sizes[f"probe {number}"] = _megabytes(pid)
        alone = round(memory_alone_bytes([ours.pid, *probes]) / MEGABYTE, 1)
        return sizes, alone, _megabytes(theirs.pid)


def _measure_growth(scrapes: int) -> list[float]:
    """Private megabytes of all ours after each thirtieth of the scrapes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(database(GROWING_PARTITIONS))
        ours = stack.enter_context(exporter(server, folder))
        for _ in range(GROWTH_WARM_UPS):
            scrape(ours.url)
        readings = []
        for _ in range(READINGS):
            for _ in range(scrapes // READINGS):
                scrape(ours.url)
            readings.append(_private(ours))
        return readings


def _megabytes(pid: int) -> Megabytes:
    return {name: round(size / MEGABYTE, 1) for name, size in memory_bytes(pid).items()}


def _private(program: Program) -> float:
    pids = [program.pid, *children(program.pid)]
    sizes = [memory_bytes(pid) for pid in pids]
    return round(sum(s["Private_Clean"] + s["Private_Dirty"] for s in sizes) / MEGABYTE, 2)
