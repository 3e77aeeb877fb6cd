"""The backfill against what people write by hand, and what lookups feel of it.

Each way starts with the same table and no UUIDs, with fsync on: a backfill mostly writes. Rows a
second include the checkpoints and the vacuum between ranges; one plain UPDATE and batches by key
have neither. The lookups under traffic are paced, and timed from when each was due.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.figures import MILLISECOND, Claim, Result, percentile
from phasegate.contract.errors import Interrupted
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import fetch_catalog
from phasegate.migrate.context import Context, NothingStops
from phasegate.migrate.execute import apply_operation
from phasegate.migrate.journal import Journal
from phasegate.migrate.model import Operation
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.sessions import open_session
from phasegate.servers.postgres import PostgresServer

ROWS, SHORT_ROWS = 1_000_000, 200_000
KEYSET = 1_000
T = TableName("public", "t")
COLUMN, BACKFILL, INDEX = UuidColumn(T, "uuid"), Backfill(T, "uuid"), UniqueIndex(T, "uuid")
TABLE = """
DROP TABLE IF EXISTS t CASCADE;
DROP SCHEMA IF EXISTS phasegate CASCADE;
CREATE TABLE t (id integer PRIMARY KEY, name text NOT NULL, touched integer NOT NULL DEFAULT 0);
INSERT INTO t SELECT n, repeat('x', 60) FROM generate_series(1, {rows}) AS n;
VACUUM ANALYZE t;
CHECKPOINT;
"""
OVER_PLAIN, OVER_KEYSET, INDEX_LATER, SIZE, FELT, FELT_SECONDS = 1.4, 2.0, 0.55, 1.3, 2.0, 0.020
RESUMED_AT, RESUMED = 0.95, 0.10
LOOKUPS, WRITES = 200, 50
"""A second, of the traffic beside it."""
UNDISTURBED_SECONDS = 5.0


def measure(*, short: bool) -> Result:
    """Rates of each way, the size that is left, and latency under traffic."""
    rows = SHORT_ROWS if short else ROWS
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        took: dict[str, float] = {}
        took["one update"] = _plain(server, rows)
        took["batches by key"] = _by_key(server, rows)
        took["ours"], size = _ours(server, rows, Path(folder))
        took["index after"] = took["ours"] + _timed(partial(_apply, server, Path(folder), INDEX))
        _make(server, rows, Path(folder))
        took["index first"] = _timed(partial(_apply, server, Path(folder), INDEX, BACKFILL))
        _make(server, rows, Path(folder))
        took["resumed"] = _resumed(server, Path(folder))
        quiet, busy, went = _felt(server, rows, Path(folder))
    ratio = {name: took[name] / took["ours"] for name in ("one update", "batches by key")}
    later = took["index after"] / took["index first"]
    felt = max(FELT * percentile(quiet, 0.99), FELT_SECONDS)
    figures = {
        "rows": rows,
        "seconds": {name: round(found, 2) for name, found in took.items()},
        "rows_per_second": {
            name: round(rows / took[name]) for name in ("one update", "batches by key", "ours")
        },
        "size_of_a_copy": round(size, 2),
        "lookups_ms": {
            name: {
                f"p{share}": round(percentile(found, share / 100) * MILLISECOND, 2)
                for share in (50, 95, 99)
            }
            for name, found in (("undisturbed", quiet), ("during", busy))
        },
        "rows_per_second_under_traffic": round(rows / went),
    }
    return Result(
        [
            Claim("rate, of one update's", round(ratio["one update"], 2), OVER_PLAIN, True),
            Claim("rate, of batches by key", round(ratio["batches by key"], 2), OVER_KEYSET, True),
            Claim("backfill and index, of index first", round(later, 2), INDEX_LATER),
            Claim("size, of a fresh copy", round(size, 2), SIZE),
            Claim(
                "resumed at 95 %, of the whole", round(took["resumed"] / took["ours"], 2), RESUMED
            ),
            Claim(
                "P99 of lookups during it, ms",
                round(percentile(busy, 0.99) * MILLISECOND, 2),
                round(felt * MILLISECOND, 2),
            ),
        ],
        figures,
    )


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _make(server: PostgresServer, rows: int, folder: Path) -> None:
    """The table as the backfill finds it."""
    _reset(server, rows)
    _apply(server, folder, COLUMN)


def _reset(server: PostgresServer, rows: int) -> None:
    for statement in TABLE.format(rows=rows).split(";"):
        if statement.strip():
            server.execute(statement)


def _plain(server: PostgresServer, rows: int) -> float:
    _reset(server, rows)
    server.execute("ALTER TABLE t ADD COLUMN uuid uuid")
    sql = "UPDATE t SET uuid = gen_random_uuid() WHERE uuid IS NULL"
    return _timed(partial(server.execute, sql))


def _by_key(server: PostgresServer, rows: int) -> float:
    """Each batch begins where the last one ended, and is a transaction of its own."""
    _reset(server, rows)
    server.execute("ALTER TABLE t ADD COLUMN uuid uuid")
    # Its upper bound first: a join with the batch turns into one over the whole table.
    bound = "SELECT max(id) FROM (SELECT id FROM t WHERE id > %s ORDER BY id LIMIT %s) AS batch"
    update = "UPDATE t SET uuid = gen_random_uuid() WHERE id > %s AND id <= %s AND uuid IS NULL"
    began = time.monotonic()
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        last = 0
        while True:
            [[upper]] = connection.execute(bound, (last, KEYSET)).fetchall()
            if upper is None:
                break
            connection.execute(update, (last, upper), prepare=False)
            last = upper
    return time.monotonic() - began


def _ours(server: PostgresServer, rows: int, folder: Path) -> tuple[float, float]:
    """Seconds, and the size that is left, of a fresh copy's."""
    _make(server, rows, folder)
    took = _timed(partial(_apply, server, folder, BACKFILL))
    server.execute("CREATE TABLE copy AS TABLE t")
    [(size,)] = server.execute("SELECT pg_relation_size('t')::float8 / pg_relation_size('copy')")
    server.execute("DROP TABLE copy")
    return took, float(size)


class _StopsAt(NothingStops):
    """Somebody asks for a pause once so much of the pages is done."""

    def __init__(self) -> None:
        self.done = 0.0

    def report(self, _object: str, done: float, total: float, _unit: str) -> None:
        """As `Context.report`."""
        self.done = done / total

    def check(self) -> None:
        """As `context.Control.check`."""
        if self.done >= RESUMED_AT:
            raise Interrupted("paused")


def _resumed(server: PostgresServer, folder: Path) -> float:
    """Seconds of the second run, where the first one was stopped near its end."""
    stops = _StopsAt()
    with suppress(Interrupted):
        _apply(server, folder, BACKFILL, control=stops, report=stops.report)
    return _timed(partial(_apply, server, folder, BACKFILL))


def _apply(server: PostgresServer, folder: Path, *operations: Operation, **more: Any) -> None:
    conninfo = {name: str(value) for name, value in conninfo_to_dict(server.conninfo()).items()}
    with open_session(conninfo) as connection, open_session(conninfo) as writer:
        journal = Journal(writer, folder, "benchmark")
        journal.open()
        fetch = partial(fetch_catalog, connection, [T])
        for operation in operations:
            context = Context(
                settings=Settings(),
                step="benchmark",
                connect=partial(open_session, conninfo),
                journal=journal,
                catalog=fetch(),
                say=lambda _: None,
                **more,
            )
            apply_operation(operation, context, connection, fetch)


def _felt(
    server: PostgresServer, rows: int, folder: Path
) -> tuple[list[float], list[float], float]:
    """Seconds of each lookup without and with the backfill beside it, and how long that took."""
    _make(server, rows, folder)
    with _traffic(server, rows) as quiet:
        time.sleep(UNDISTURBED_SECONDS)
    with _traffic(server, rows) as busy:
        went = _timed(partial(_apply, server, folder, BACKFILL))
    return quiet, busy, went


@contextmanager
def _traffic(server: PostgresServer, rows: int) -> Iterator[list[float]]:
    """Lookups and writes at their pace; what is yielded gets the seconds of each lookup."""
    over, taken = threading.Event(), list[float]()
    lookup = "SELECT * FROM t WHERE id = %s"
    write = "UPDATE t SET touched = touched + 1 WHERE id = %s"
    with ExitStack() as stack:
        threads = []
        for sql, rate, kept in ((lookup, LOOKUPS, taken), (write, WRITES, list[float]())):
            connection = stack.enter_context(psycopg.connect(server.conninfo(), autocommit=True))
            arguments = (connection, (sql, rate, rows), kept, over)
            threads.append(threading.Thread(target=_drive, args=arguments))
        for thread in threads:
            thread.start()
        try:
            yield taken
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _drive(
    connection: psycopg.Connection[tuple[object, ...]],
    traffic: tuple[str, int, int],
    kept: list[float],
    over: threading.Event,
) -> None:
    sql, rate, rows = traffic
    draw, due = random.Random(rate), time.monotonic()  # noqa: S311
    while not over.is_set():
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))
        connection.execute(sql.encode(), (draw.randint(1, rows),))
        kept.append(time.monotonic() - due)
