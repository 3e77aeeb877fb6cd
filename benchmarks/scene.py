"""What every benchmark measures in: a database with audit partitions, a cache, our exporter."""

from __future__ import annotations

import http.server
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.processes import Program, running
from phasegate.servers.cache import CacheServer
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer

OURS = "phasegate"  # roles apart, so that the server can tell whose statements cost what
THEIRS = "peer"
ROWS = 10_000
PACE_SECONDS = 1.0
SETTLED_ROUNDS = 18  # what is new to the exporter is asked at each scrape for 15 s
BATCH = 500
SCHEMA = f"""
CREATE EXTENSION pg_stat_statements;
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE DEFAULT gen_random_uuid());
INSERT INTO users SELECT generate_series(1, {ROWS});
CREATE TABLE audit_logs (id int8, created_at timestamptz NOT NULL, note text)
PARTITION BY RANGE (created_at);
"""
PARTITIONS = """
DO $$ BEGIN FOR n IN {first} .. {last} LOOP EXECUTE format(
    'CREATE TABLE audit_logs_%s PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)', n,
    '2026-06-01 00:00+00'::timestamptz + n * interval '1 day',
    '2026-06-02 00:00+00'::timestamptz + n * interval '1 day');
END LOOP; END $$
"""
ENTRIES = """
INSERT INTO audit_logs SELECT n, '2026-06-01 00:00+00'::timestamptz + n * interval '1 day', 'x'
FROM generate_series(0, {last}) AS n
"""
SETTINGS: Mapping[str, str | int] = {
    "fsync": False,
    "max_locks_per_transaction": 1024,
    "timezone": "UTC",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": True,
}
SPENT = """
SELECT coalesce(sum(total_plan_time + total_exec_time), 0) / 1000
FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = %s
"""
HOW_MANY = 6
DEAREST = """
SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 90), sum(calls)::int8,
    round((sum(total_plan_time) / sum(calls))::numeric, 2)::float8,
    round((sum(total_exec_time) / sum(calls))::numeric, 2)::float8
FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid
WHERE rolname = %s GROUP BY query ORDER BY sum(total_plan_time + total_exec_time) DESC LIMIT %s
"""
CONFIG = """
environment: benchmark
cache: {{url: "${{REDIS_URL}}"}}
exporter: {{partition_max_age: {max_age}, max_series: 20000}}
tables: [{{name: public.users}}]
health: [{{name: api, url: "{health}"}}]
audit: {{table: public.audit_logs, partition: day, watch: [{{table: public.users}}]}}
"""


@contextmanager
def database(
    partitions: int, settings: Mapping[str, str | bool] | None = None
) -> Iterator[PostgresServer]:
    """A server with a table of users, an audit log, and the two roles."""
    with PostgresServer(settings={**SETTINGS, **(settings or {})}) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(SCHEMA.encode())
            for first in range(0, partitions, BATCH):
                last = min(first + BATCH, partitions) - 1
                connection.execute(PARTITIONS.format(first=first, last=last).encode())
            connection.execute(ENTRIES.format(last=partitions - 1).encode())
            for role in (OURS, THEIRS):
                connection.execute(
                    f"CREATE ROLE {role} LOGIN PASSWORD '{server.password}'"
                    " IN ROLE pg_monitor, pg_read_all_data".encode()
                )
            connection.execute("VACUUM ANALYZE")
        yield server


def conninfo(server: PostgresServer, role: str) -> str:
    """The address of the database for one of the two roles."""
    return server.conninfo(user=role, password=server.password)


@contextmanager
def exporter(server: PostgresServer, folder: Path, max_age: str = "60s") -> Iterator[Program]:
    """Our exporter with every collector on; `max_age` is its `partition_max_age`."""
    with ExitStack() as stack:
        cache = stack.enter_context(CacheServer())
        health = stack.enter_context(_healthy_service())
        config, port = folder / "phasegate.yaml", free_port()
        config.write_text(CONFIG.format(max_age=max_age, health=health), encoding="utf-8")
        command = [sys.executable, "-m", "phasegate", "exporter", "--config.file", str(config)]
        command += ["--web.listen-address", f"127.0.0.1:{port}", "--log.level", "error"]
        environ = {"DATABASE_URL": conninfo(server, OURS), "REDIS_URL": cache.url()}
        yield stack.enter_context(running(command, environ, port))


@contextmanager
def _healthy_service() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_port}/"
        finally:
            service.shutdown()
            thread.join()


def paced(rounds: int) -> Iterator[None]:
    """So many rounds, each begun a second after the one before, or at once where that took more."""
    for _ in range(rounds):
        began = time.monotonic()
        yield
        time.sleep(max(0.0, began + PACE_SECONDS - time.monotonic()))


def statement_seconds(connection: psycopg.Connection[Any], role: str) -> float:
    """What the statements of a role took the server, planning included, since the last reset."""
    [[seconds]] = connection.execute(SPENT, [role])
    return float(seconds)


def dearest_statements(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Our statements that took the server most, since the last reset."""
    rows = connection.execute(DEAREST, [OURS, HOW_MANY]).fetchall()
    return [
        {"sql": text, "calls": calls, "plan_ms": plan, "execute_ms": execute}
        for text, calls, plan, execute in rows
    ]
