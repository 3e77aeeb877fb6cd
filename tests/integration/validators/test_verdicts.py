"""`validate` as its own process beside a real exporter on a real PostgreSQL, as in a pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.integration.exporter.test_process import read, running

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid DEFAULT gen_random_uuid(), filler text)
    WITH (parallel_workers = 0);
INSERT INTO users (id) SELECT generate_series(1, 1000);
CREATE UNIQUE INDEX users_uuid ON users (uuid);
"""
# Wide enough that a lookup without its index is far beyond the limit.
MANY_ROWS = """
INSERT INTO users (id, filler) SELECT i, repeat('x', 200) FROM generate_series(1001, 300000) AS i;
ANALYZE users;
"""
CONFIG = """
environment: test
exporter: {{url: "{url}", probe_interval: 20ms, evidence_block: 1s, exact_count_interval: 2s}}
tables: [{{name: public.users}}]
criteria:
  required: [health, uuid_lookup_latency, uuid_missing, indexes_valid]
  uuid_lookup_latency: {{warning: 20ms, critical: 40ms}}
"""


class Pipeline:
    """A folder with a configuration, and calls of `validate` in a process of its own."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.config, self._database = folder / "phasegate.yaml", database
        self.port = free_port()
        self.configure()

    def configure(self, more: str = "", url: str = "") -> None:
        text = CONFIG.format(url=url or f"http://127.0.0.1:{self.port}")
        self.config.write_text(text + more, encoding="utf-8")

    def validate(self, *arguments: str, url: str | None = None) -> tuple[int, str, str]:
        environ = {"DATABASE_URL": self._database.conninfo() if url is None else url}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "phasegate.validators",
                "--config",
                str(self.config),
                *arguments,
            ],
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    database.execute(SCHEMA)
    made = Pipeline(tmp_path, database)
    environ = {"DATABASE_URL": database.conninfo()}
    with running(environ, "--config.file", str(made.config)) as (_, url):
        made.configure(url=url)
        read(f"{url}/-/healthy")
        yield made


def origin() -> str:
    return f"{time.time():.3f}"


def report(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


def test_too_few_then_enough_then_the_index_is_dropped_under_the_probes(
    pipeline: Pipeline, database: Database
) -> None:
    database.execute(MANY_ROWS)
    began = origin()
    code, out, _ = pipeline.validate("--criterion", "uuid_lookup_latency", "--since", began)
    assert (code, "INCONCLUSIVE" in out) == (3, True)

    wait = ("--wait", "60s", "--min-span", "3s", "--format", "json")
    code, out, err = pipeline.validate("--since", began, *wait)
    assert code == 0, out
    assert err.startswith("waiting ")
    latency = report(out)["judgements"][1]
    [subject] = latency["facts"]["subjects"]
    assert subject["total"] >= 59
    assert latency["facts"]["rule"]["anytime"]
    assert "span 3s instead of 1m" in latency["facts"]["loosened"]

    database.execute("DROP INDEX users_uuid")
    code, out, _ = pipeline.validate("--since", origin(), *wait)
    assert code == 1, out
    verdicts = {one["criterion"]: one["verdict"] for one in report(out)["judgements"]}
    assert verdicts["uuid_lookup_latency"] == "failed"

    # The good minutes before do not carry what is bad now.
    code, out, _ = pipeline.validate("--since", began, "--min-span", "3s")
    assert code in (1, 3), out


def test_the_identity_is_pinned_or_asked_of_the_server_and_must_be_the_same(
    pipeline: Pipeline, database: Database
) -> None:
    ask = ("--criterion", "health", "--wait", "30s")
    assert pipeline.validate(*ask)[0] == 0
    config = pipeline.config.read_text()
    [(system,)] = database.execute("SELECT system_identifier::text FROM pg_control_system()")
    identity = f'{{system_identifier: "{system}", database: {database.name}}}'
    pinned = f"\ndatabase: {{identity: {identity}}}\n"
    pipeline.config.write_text(config + pinned)
    # No server is asked, so none has to be there.
    nobody = f"postgresql://127.0.0.1:{free_port()}/x"
    assert pipeline.validate("--criterion", "health", url=nobody)[0] == 0
    pipeline.config.write_text(config + pinned.replace(system, "123"))
    code, out, _ = pipeline.validate("--criterion", "health")
    assert (code, "another server" in out) == (3, True)
    pipeline.config.write_text(config)
    assert pipeline.validate("--criterion", "health", url=nobody)[0] == 4
    pipeline.config.write_text(config.replace("environment: test", "environment: production"))
    code, out, _ = pipeline.validate("--criterion", "health")
    assert (code, "environment test, not of production" in out) == (3, True)


def test_a_database_that_went_down_fails_health(pipeline: Pipeline, database: Database) -> None:
    assert pipeline.validate("--criterion", "health", "--wait", "30s")[0] == 0
    forbid = f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS"
    database.server.execute(f"{forbid} false", "postgres")
    try:
        database.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            "postgres",
            [database.name],
        )
        for _ in range(60):
            code, out, _ = pipeline.validate("--criterion", "health")
            if code == 1:
                break
            assert code in (0, 4)
            time.sleep(0.5)
        assert (code, "database: down" in out) == (1, True)
    finally:
        database.server.execute(f"{forbid} true", "postgres")


def test_no_exporter_is_4(tmp_path: Path, database: Database) -> None:
    code, out, _ = Pipeline(tmp_path, database).validate()
    assert code == 4
    assert "cannot be reached" in out
    code, _, err = Pipeline(tmp_path, database).validate("--wait", "2s", "--criterion", "health")
    assert (code, "waiting" in err) == (4, True)
