"""A scrape with many audit partitions, against postgres_exporter running only the size query.

Both scrape the same database in turn. The pace is one scrape a second with a largest age of 4 s:
the share of partitions at rest that a scrape asks again is that of one every 15 s with 60 s.

Apart: `server`, the time of our statements there (they run side by side, so their sum may exceed
the wall); `collection`, the slowest collector of that scrape, which waits for the server;
`rendering`, all the rest, which is the text and its way to us.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, spread
from benchmarks.peers import postgres_exporter, postgres_exporter_version
from benchmarks.processes import scrape
from benchmarks.scene import (
    OURS,
    SETTLED_ROUNDS,
    THEIRS,
    database,
    dearest_statements,
    exporter,
    paced,
    statement_seconds,
)

ROUNDS = 15
SHORT_ROUNDS = 5
SHORT_SIZE = 3_000
LIMITS = {240: 1.2, 3_000: 0.6, 10_000: 0.5}
COLLECTED = re.compile(
    rb"^phasegate_collector_(duration_seconds|last_success_timestamp_seconds)"
    rb'\{collector="([^"]+)"\} (\S+)$',
    re.MULTILINE,
)


class Round(NamedTuple):
    """Seconds of one scrape and its parts; `collectors` are those that ran in it."""

    total: float
    server: float
    collectors: dict[str, float]

    @property
    def collection(self) -> float:
        """The slowest collector: they run side by side."""
        return max(self.collectors.values(), default=0.0)


def measure(*, short: bool) -> Result:
    """A row for each number of partitions; the short form has the middle one only."""
    versions = {"postgres_exporter": postgres_exporter_version()}
    sizes = [SHORT_SIZE] if short else list(LIMITS)
    rows = [_measure(n, SHORT_ROUNDS if short else ROUNDS) for n in sizes]
    claims = [
        Claim(f"wall, of postgres_exporter's, at {row['partitions']} partitions", ratio, limit)
        for row, ratio, limit in ((r, r["ratio"], LIMITS[r["partitions"]]) for r in rows)
    ]
    return Result(claims, {"scrapes": rows}, versions)


def _measure(partitions: int, rounds: int) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(database(partitions))
        spent = stack.enter_context(psycopg.connect(server.conninfo(), autocommit=True))
        ours = stack.enter_context(exporter(server, folder, max_age="4s"))
        theirs = stack.enter_context(postgres_exporter(server, folder))
        for _ in paced(SETTLED_ROUNDS):
            scrape(ours.url)
            scrape(theirs.url)
        spent.execute("SELECT pg_stat_statements_reset()")
        found: dict[str, list[Round]] = {OURS: [], THEIRS: []}
        for _ in paced(rounds):
            for role, program in ((OURS, ours), (THEIRS, theirs)):
                found[role].append(_round(spent, role, program.url))
        dearest = dearest_statements(spent)
    measured = _describe(found[OURS], found[THEIRS])
    return {"partitions": partitions, **measured, "dearest_statements": dearest}


def _round(spent: psycopg.Connection[Any], role: str, url: str) -> Round:
    before, began = statement_seconds(spent, role), time.time()
    seconds, body = scrape(url)
    return Round(seconds, statement_seconds(spent, role) - before, collected(body, began))


def collected(body: bytes, since: float) -> dict[str, float]:
    """Seconds of each collector of an exposition that succeeded after `since` (Unix time)."""
    read: dict[bytes, dict[str, float]] = {}
    for what, name, value in COLLECTED.findall(body):
        read.setdefault(what, {})[name.decode()] = float(value)
    succeeded = read.get(b"last_success_timestamp_seconds", {})
    return {
        name: seconds
        for name, seconds in read.get(b"duration_seconds", {}).items()
        if succeeded.get(name, 0.0) >= since
    }


def _describe(ours: list[Round], theirs: list[Round]) -> dict[str, Any]:
    total, peer = [r.total for r in ours], [r.total for r in theirs]
    names = sorted({name for r in ours for name in r.collectors})
    return {
        "ours_ms": spread(total, MILLISECOND),
        "postgres_exporter_ms": spread(peer, MILLISECOND),
        "ratio": round(statistics.median(total) / statistics.median(peer), 2),
        "ratio_by_round": spread(pairwise(total, peer), digits=2),
        "server_ms": spread([r.server for r in ours], MILLISECOND),
        "postgres_exporter_server_ms": spread([r.server for r in theirs], MILLISECOND),
        "collection_ms": spread([r.collection for r in ours], MILLISECOND),
        "rendering_ms": spread([r.total - r.collection for r in ours], MILLISECOND),
        "collectors_ms": {
            name: spread([r.collectors[name] for r in ours if name in r.collectors], MILLISECOND)
            for name in names
        },
    }
