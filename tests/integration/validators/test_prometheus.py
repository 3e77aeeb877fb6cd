"""`validate --source prometheus` on real servers, beside `--source exporter` of the same one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from phasegate.contract.evidence import Evidence
from phasegate.contract.settings_load import load_settings
from phasegate.servers.cache import CacheServer
from phasegate.servers.ports import free_port
from phasegate.validators.sources import Request, gather
from tests.fixtures.database import Database
from tests.fixtures.timeseries import KINDS, timeseries
from tests.integration.exporter.test_process import read

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid DEFAULT gen_random_uuid());
INSERT INTO users (id) SELECT generate_series(1, 1000);
CREATE UNIQUE INDEX users_uuid ON users (uuid);
"""
CONFIG = """
environment: test
exporter: {{url: "{exporter}", probe_interval: 20ms, evidence_block: 1s, exact_count_interval: 2s}}
prometheus: {{url: "{timeseries}", match: {match}}}
tables: [{{name: public.users}}]
criteria:
  required: [health, uuid_lookup_latency, cache_hit_rate, uuid_missing, indexes_valid]
  uuid_lookup_latency: {{warning: 100ms, critical: 200ms}}
"""
SCRAPES = """
scrape_configs:
  - job_name: phasegate
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
  - job_name: neighbour
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
TRUSTED = ("--min-span", "5s", "--format", "json")
PER_SECOND = 100
"""At most so many lookups of the cache; half as many of the table."""
NEAR = 2 * PER_SECOND
"""Both look at different moments, and between two scrapes."""


class Scene:
    """A configuration, its exporter, and calls of `validate`."""

    def __init__(self, folder: Path, environ: dict[str, str], port: int, url: str) -> None:
        self.folder, self.port = folder, port
        self.environ = os.environ | environ
        self.configure(url)

    def configure(self, url: str, match: str = "{job: phasegate}") -> None:
        exporter = f"http://127.0.0.1:{self.port}"
        text = CONFIG.format(exporter=exporter, timeseries=url, match=match)
        (self.folder / "phasegate.yaml").write_text(text, encoding="utf-8")

    @contextmanager
    def exporter(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "phasegate", "exporter"]
        command += ["--config.file", str(self.folder / "phasegate.yaml")]
        command += ["--storage.path", str(self.folder / "storage")]
        command += ["--web.listen-address", f"127.0.0.1:{self.port}"]
        with (
            (self.folder / "exporter.log").open("ab") as log,
            subprocess.Popen(command, env=self.environ, stderr=log) as process,
        ):
            try:
                read(f"http://127.0.0.1:{self.port}/-/healthy")
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(10)

    def validate(self, source: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "phasegate.validators", "--source", source]
        command += ["--config", str(self.folder / "phasegate.yaml"), *TRUSTED, *arguments]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    def gather(self, source: str, since: float) -> Evidence:
        settings = load_settings(self.folder / "phasegate.yaml", self.environ)
        criteria = settings.criteria.required
        found = gather(Request(settings, criteria, since, source), time.time).evidence
        assert found is not None
        return found


@contextmanager
def traffic(cache: CacheServer) -> Iterator[None]:
    """Lookups of the cache, of which one in fifty misses."""
    over = threading.Event()
    client = redis.Redis.from_url(cache.url())
    client.set("perm:1", "x")

    def ask() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            client.get("perm:1" if number % 50 else "perm:none")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        client.close()


# The second asks the same of another API, and takes as long again.
@pytest.fixture(params=[KINDS[0], pytest.param(KINDS[1], marks=pytest.mark.long)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {one["criterion"]: one["verdict"] for one in report["judgements"]}


def test_both_sources_agree_through_restart_and_death(
    kind: str, database: Database, cache_server: CacheServer, tmp_path: Path
) -> None:
    database.execute(SCHEMA)
    environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": cache_server.url()}
    port = free_port()
    scrapes = SCRAPES.format(port=port)
    with timeseries(kind, tmp_path, scrapes) as (server, url), traffic(cache_server):
        scene = Scene(tmp_path, environ, port, url)
        with scene.exporter():
            time.sleep(12)
            began = time.time() - 10
            since = ("--since", f"{began:.3f}")
            agree(scene, began)
            scene.configure(url, "{}")
            code, report = scene.validate("prometheus", *since)
            assert (code, "2 exporters answer" in report["judgements"][0]["reason"]) == (3, True)
            scene.configure(url)
            ended = time.time()
        with scene.exporter():
            time.sleep(8)
            # Nothing twice; what was counted from the last scrape before to the first one after is
            # left out, and so is what the cache counted meanwhile.
            restarted = time.time()
            agree(scene, began, lost=int(PER_SECOND * (restarted - ended)) + 2 * PER_SECOND)
        time.sleep(3)
        code, report = scene.validate("prometheus", *since)
        assert (code, set(verdicts(report).values())) == (3, {"inconclusive"}), report
        assert "answers no scrape" in report["judgements"][0]["reason"]
        server.kill()
        server.wait()
        code, report = scene.validate("prometheus", *since)
        assert (code, set(verdicts(report).values())) == (4, {"error"})
        assert "refused" in report["judgements"][0]["reason"]
    scene.configure(f"http://127.0.0.1:{port}")
    assert scene.validate("prometheus")[0] == 4


def agree(scene: Scene, since: float, lost: int = 0) -> None:
    """Both verdicts are the same, and so are the counts, to within two scrapes and the lost."""
    flags = ("--since", f"{since:.3f}", "--wait", "60s")
    for source in ("exporter", "prometheus"):
        code, report = scene.validate(source, *flags)
        assert (code, report["source"]) == (0, source), report["judgements"]
    # Side by side, since a call of its own takes as long as many lookups.
    evidence = {source: scene.gather(source, since) for source in ("exporter", "prometheus")}
    for criterion in ("uuid_lookup_latency", "cache_hit_rate"):
        one, other = (count(evidence[source], criterion) for source in evidence)
        assert -NEAR <= one - other <= NEAR + lost, (criterion, one, other)
        assert other > NEAR


def count(evidence: Evidence, criterion: str) -> int:
    """All that was tried."""
    [series] = [one for one in evidence.series if one.criterion == criterion]
    return sum(block.total for block in series.blocks)
