"""The exporters that we stand beside, each running nothing but the one query of sizes."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import Program, running
from benchmarks.scene import THEIRS, conninfo
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "benchmarks"
POSTGRES_EXPORTER = "prometheus-postgres-exporter"
QUERY_EXPORTER = ("query-exporter==5.0.2", "psycopg2-binary==2.9.12")

SIZES = """
SELECT n.nspname AS schema, c.relname AS table, pg_table_size(c.oid) AS {value}
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = 'public.audit_logs'::regclass
"""
DEFAULT_COLLECTORS = (
    *("bgwriter", "database", "locks", "postmaster", "process_idle", "replication"),
    *("replication_slot", "settings", "stat_database", "stat_statements"),
    *("stat_user_tables", "statio_user_tables"),
)


class PeerMissing(Exception):
    """A peer that is not installed; the text says how it would be."""


@contextmanager
def postgres_exporter(server: PostgresServer, folder: Path) -> Iterator[Program]:
    """The one of prometheus-community, as Debian packs it; raises PeerMissing."""
    _find_postgres_exporter()
    queries, port = folder / "queries.json", free_port()
    metrics = [
        {"schema": {"usage": "LABEL", "description": "schema"}},
        {"table": {"usage": "LABEL", "description": "table"}},
        {"bytes": {"usage": "GAUGE", "description": "size"}},
    ]
    query = {"query": SIZES.format(value="bytes"), "metrics": metrics}
    queries.write_text(json.dumps({"pg_table_size": query}), encoding="utf-8")
    command = [POSTGRES_EXPORTER, f"--extend.query-path={queries}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--disable-default-metrics", "--disable-settings-metrics"]
    known = _output([POSTGRES_EXPORTER, "--help"])
    command += [f"--no-collector.{n}" for n in DEFAULT_COLLECTORS if f"collector.{n}" in known]
    url = conninfo(server, THEIRS) + "?sslmode=disable"
    with running(command, {"DATA_SOURCE_NAME": url}, port) as program:
        yield program


def postgres_exporter_version() -> str:
    """As it states it; raises PeerMissing."""
    _find_postgres_exporter()
    words = _output([POSTGRES_EXPORTER, "--version"]).split()
    return words[words.index("version") + 1] if "version" in words else "unknown"


@contextmanager
def query_exporter(server: PostgresServer, folder: Path) -> Iterator[Program]:
    """The one of PyPI, asking at each scrape; raises PeerMissing."""
    program, port = _install_query_exporter(), free_port()
    metric = "pg_table_size_bytes"
    query = {"databases": ["main"], "metrics": [metric], "sql": SIZES.format(value=metric)}
    dsn = conninfo(server, THEIRS).replace("postgresql:", "postgresql+psycopg2:", 1)
    config = folder / "query-exporter.yaml"
    config.touch(0o600)
    config.write_text(
        json.dumps(
            {
                "databases": {"main": {"dsn": dsn}},
                "metrics": {metric: {"type": "gauge", "labels": ["schema", "table"]}},
                "queries": {"sizes": query},
            }
        ),
        encoding="utf-8",
    )
    command = [str(program), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--config", str(config), "--log-level", "error"]
    with running(command, {}, port) as found:
        yield found


def _install_query_exporter() -> Path:
    """In an environment of its own: its dependencies must never meet ours."""
    folder = CACHE / "query-exporter"
    program = folder / "bin" / "query-exporter"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "-qq",
            "--disable-pip-version-check",
        ]
        done = subprocess.run([*pip, "install", *QUERY_EXPORTER], check=False)
        if done.returncode or not program.exists():
            raise PeerMissing(f"pip install {' '.join(QUERY_EXPORTER)} failed")
    return program


def _find_postgres_exporter() -> None:
    if shutil.which(POSTGRES_EXPORTER) is None:
        raise PeerMissing(f"{POSTGRES_EXPORTER} is not installed; it is a package of Debian")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
