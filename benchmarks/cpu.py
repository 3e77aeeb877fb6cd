"""Processor time of the exporter against query-exporter's, with 3,000 partitions.

Each is scraped once a second and charged with all that it used in that second, idle work
included. The probe is a process of its own, and no part of a scrape: it is printed beside. The
largest age of 4 s makes a scrape ask what one every 15 s does with 60 s.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, spread
from benchmarks.peers import QUERY_EXPORTER, query_exporter
from benchmarks.processes import children, cpu_seconds, main_thread_seconds, scrape
from benchmarks.scene import SETTLED_ROUNDS, database, exporter, paced

PARTITIONS = 3_000
LIMIT = 0.5
ROUNDS = 40
SHORT_ROUNDS = 8
IDLE_ROUNDS = 5


Clocks = Mapping[str, Callable[[], float]]


def measure(*, short: bool) -> Result:
    """Milliseconds of processor a scrape, and a second of rest."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(database(PARTITIONS))
        ours = stack.enter_context(exporter(server, folder, max_age="4s"))
        theirs = stack.enter_context(query_exporter(server, folder))
        urls = [ours.url, theirs.url]
        _spend({}, urls, SETTLED_ROUNDS)
        probes = children(ours.pid)
        clocks: Clocks = {
            "exporter": partial(cpu_seconds, ours.pid),
            "its event loop": partial(main_thread_seconds, ours.pid),
            "query_exporter": partial(cpu_seconds, theirs.pid),
            "probe": lambda: sum(map(cpu_seconds, probes)),
        }
        spent = _spend(clocks, urls, SHORT_ROUNDS if short else ROUNDS)
        idle = _spend(clocks, [], IDLE_ROUNDS)
    ratio = statistics.median(spent["exporter"]) / statistics.median(spent["query_exporter"])
    figures = {
        "partitions": PARTITIONS,
        "scraped_ms": {name: spread(found, MILLISECOND) for name, found in spent.items()},
        "unscraped_ms": {name: spread(found, MILLISECOND) for name, found in idle.items()},
        "ratio": round(ratio, 2),
        "ratio_by_round": spread(pairwise(spent["exporter"], spent["query_exporter"]), digits=2),
    }
    claim = Claim("processor time a scrape, of query-exporter's", round(ratio, 2), LIMIT)
    return Result([claim], figures, dict(part.split("==") for part in QUERY_EXPORTER))


def _spend(clocks: Clocks, urls: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """By clock, the seconds of each round of a second in which each page is scraped once."""
    readings = []
    for _ in paced(rounds):
        readings.append([read() for read in clocks.values()])
        for url in urls:
            scrape(url)
    readings.append([read() for read in clocks.values()])
    columns = zip(*readings, strict=True)
    return {
        name: [after - before for before, after in itertools.pairwise(column)]
        for name, column in zip(clocks, columns, strict=True)
    }
