"""What the exporter costs the database: pgbench's transactions with it against without, in turn.

Server and pgbench share one processor and the exporter has the others, as it would on a machine
of its own: what is left is what it takes from the server. A scrape every 7 s is as much as a
Prometheus that scrapes every 15 s causes, with the runs between that the evidence needs. Each
exporter is new, and asks for more than one that runs for long.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, spread
from benchmarks.processes import Program, pinned, scrape
from benchmarks.scene import (
    OURS,
    database,
    dearest_statements,
    exporter,
    paced,
    statement_seconds,
)
from phasegate.servers.postgres import PostgresServer

PARTITIONS = 240
LIMIT = 0.98
PAIRS = 10
BLOCK_SECONDS = 7
SHORT_PAIRS = 2
WARM_UP_ROUNDS = 5
SCALE = 5
CLIENTS = 4
RATE = re.compile(r"^tps = (\S+)", re.MULTILINE)


def measure(*, short: bool) -> Result:
    """Transactions per second (pgbench's TPC-B-like ones, prepared)."""
    pairs = SHORT_PAIRS if short else PAIRS
    first, *others = sorted(os.sched_getaffinity(0))
    found: dict[bool, list[float]] = {False: [], True: []}
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with pinned({first}):
            server = stack.enter_context(database(PARTITIONS))
            _pgbench(server, "-i", "-q", "-s", str(SCALE))
            _transactions(server, {first}, None)
        stack.enter_context(pinned(set(others) or {first}))
        asked = stack.enter_context(psycopg.connect(server.conninfo(), autocommit=True))
        for pair in range(pairs):
            for watched in (False, True) if pair % 2 else (True, False):
                if not watched:
                    found[watched].append(_transactions(server, {first}, None))
                    continue
                with exporter(server, Path(folder)) as program:
                    for _ in paced(WARM_UP_ROUNDS):
                        scrape(program.url)
                    asked.execute("SELECT pg_stat_statements_reset()")
                    found[watched].append(_transactions(server, {first}, program))
                    spent.append(statement_seconds(asked, OURS) / BLOCK_SECONDS)
                    dearest = dearest_statements(asked)
    ratios = pairwise(found[True], found[False])
    figures = {
        "partitions": PARTITIONS,
        "processors": {"database and pgbench": 1, "exporter": len(others)},
        "tps_with": spread(found[True]),
        "tps_without": spread(found[False]),
        "ratio_by_pair": spread(ratios, digits=3),
        "our_statements_ms_per_second": spread(spent, MILLISECOND),
        "dearest_statements_of_a_block": dearest,
    }
    ratio = round(statistics.median(ratios), 3)
    claim = Claim("transactions a second with the exporter, of those without", ratio, LIMIT, True)
    return Result([claim], figures)


def _transactions(server: PostgresServer, processors: set[int], watched: Program | None) -> float:
    """Transactions a second of one block, in whose middle `watched` is scraped."""
    options = ("-n", "-M", "prepared", "-c", str(CLIENTS), "-T", str(BLOCK_SECONDS))
    with pinned(processors):
        process = subprocess.Popen(
            _command(server, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    with process:
        time.sleep(BLOCK_SECONDS / 2)
        if watched:
            scrape(watched.url)
        text, _ = process.communicate()
    rate = RATE.search(text)
    if rate is None:
        raise RuntimeError(f"pgbench ended with {process.returncode}: {text}")
    return float(rate[1])


def _pgbench(server: PostgresServer, *options: str) -> None:
    subprocess.run(_command(server, *options), check=True, capture_output=True)


def _command(server: PostgresServer, *options: str) -> list[str]:
    return [str(server.binaries / "pgbench"), *options, server.conninfo()]
