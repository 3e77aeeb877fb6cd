"""A scrape with many audit partitions, against postgres_exporter running only the size query.

Both scrape the same database in turn. The pace is one scrape a second with a largest age of 4 s:
the share of partitions at rest that a scrape asks again is that of one every 15 s with 60 s.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer

PEER = "prometheus-postgres-exporter"
ROUNDS = 15
WARM_UPS = 6
PACE_SECONDS = 1.0
LIMITS = {240: 1.2, 3_000: 0.6, 10_000: 0.5}
SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid());
INSERT INTO users SELECT generate_series(1, 10000);
CREATE TABLE audit_logs (id int8, created_at timestamptz NOT NULL, note text)
PARTITION BY RANGE (created_at);
"""
PARTITION = """
CREATE TABLE audit_logs_{0} PARTITION OF audit_logs
FOR VALUES FROM ('2026-06-01 00:00+00'::timestamptz + {1} * interval '1 day')
TO ('2026-06-01 00:00+00'::timestamptz + {1} * interval '1 day' + interval '1 day')
"""
CONFIG = """
environment: benchmark
exporter: {partition_max_age: 4s, max_series: 20000}
tables: [{name: public.users}]
audit: {table: public.audit_logs, partition: day, watch: [{table: public.users}]}
"""
QUERY = """
pg_table_size:
  query: >-
    SELECT n.nspname AS schema, c.relname AS table, pg_table_size(c.oid) AS bytes
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.inhparent = 'public.audit_logs'::regclass
  metrics:
    - schema: {usage: LABEL, description: schema}
    - table: {usage: LABEL, description: table}
    - bytes: {usage: GAUGE, description: size}
"""


def measure_scrapes() -> list[dict[str, Any]]:
    """One row for each number of partitions; empty where the peer is not installed."""
    if shutil.which(PEER) is None:
        return []
    return [_measure(partitions) for partitions in LIMITS]


def _measure(partitions: int) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            PostgresServer(settings={"fsync": False, "max_locks_per_transaction": 1024})
        )
        _fill(server, partitions)
        ours = stack.enter_context(_exporter(server, folder))
        theirs = stack.enter_context(_peer(server, folder))
        times: dict[str, list[float]] = {ours: [], theirs: []}
        for number in range(WARM_UPS + ROUNDS):
            began = time.monotonic()
            for url, taken in times.items():
                seconds = _scrape(url)
                if number >= WARM_UPS:
                    taken.append(seconds)
            time.sleep(max(0.0, began + PACE_SECONDS - time.monotonic()))
        return {
            "partitions": partitions,
            "ours_ms": _spread(times[ours]),
            "postgres_exporter_ms": _spread(times[theirs]),
            "ratio": round(statistics.median(times[ours]) / statistics.median(times[theirs]), 2),
            "limit": LIMITS[partitions],
        }


def _fill(server: PostgresServer, partitions: int) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(SCHEMA)
        for number in range(partitions):
            connection.execute(PARTITION.format(number, number).encode())
        connection.execute(
            "INSERT INTO audit_logs SELECT i, '2026-06-01 00:00+00'::timestamptz"
            " + i * interval '1 day', 'x' FROM generate_series(0, %s) AS i",
            [partitions - 1],
        )
        connection.execute("ANALYZE")


@contextmanager
def _exporter(server: PostgresServer, folder: Path) -> Iterator[str]:
    config, port = folder / "phasegate.yaml", free_port()
    config.write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-m", "phasegate", "exporter", "--config.file", str(config)]
    command += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error"]
    with _running(command, {"DATABASE_URL": server.conninfo()}, port) as url:
        yield url


@contextmanager
def _peer(server: PostgresServer, folder: Path) -> Iterator[str]:
    queries, port = folder / "queries.yaml", free_port()
    queries.write_text(QUERY, encoding="utf-8")
    command = [PEER, f"--extend.query-path={queries}", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--disable-default-metrics", "--disable-settings-metrics"]
    names = (
        *("bgwriter", "database", "locks", "postmaster", "process_idle", "replication"),
        *("replication_slot", "settings", "stat_database", "stat_statements"),
        *("stat_user_tables", "statio_user_tables"),
    )
    stated = subprocess.run([PEER, "--help"], capture_output=True, text=True, check=False)
    text = stated.stdout + stated.stderr
    command += [f"--no-collector.{name}" for name in names if f"collector.{name}" in text]
    url = server.conninfo() + "?sslmode=disable"
    with _running(command, {"DATA_SOURCE_NAME": url}, port) as address:
        yield address


@contextmanager
def _running(command: list[str], environ: dict[str, str], port: int) -> Iterator[str]:
    with subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        url = f"http://127.0.0.1:{port}/metrics"
        try:
            for _ in range(100):
                try:
                    _scrape(url)
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _scrape(url: str) -> float:
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        answer.read()
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> list[float]:
    """Minimum, median and maximum in milliseconds."""
    found = (min(seconds), statistics.median(seconds), max(seconds))
    return [round(1000 * value, 1) for value in found]
