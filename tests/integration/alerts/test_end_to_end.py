"""From a database that is really broken to the message that wakes somebody, and back: the
exporter's own process, PostgreSQL, Valkey, Prometheus, Alertmanager and a receiver.

What differs from production is time alone: `shorten` says how.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from phasegate.alerts.routes import make_inhibitions
from phasegate.alerts.rules import make_group
from phasegate.contract.settings import Settings
from phasegate.servers.cache import CacheServer, find_cache_server
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.presence import require_present
from tests.fixtures.timeseries import timeseries
from tests.integration.exporter.test_process import read, running
from tests.integration.validators.test_customer_issues import program

DATABASE = "mono"
# So many that a lookup without its index takes long, and so few that they are soon there.
ROWS = 400_000
SCHEMA = f"""
CREATE TABLE users (id int PRIMARY KEY, uuid uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO users SELECT i FROM generate_series(1, {ROWS}) AS i;
CREATE TABLE audit_logs (id int8 GENERATED ALWAYS AS IDENTITY, details text,
    created_at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_now PARTITION OF audit_logs
    FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
"""
INDEX = "CREATE UNIQUE INDEX users_uuid ON users (uuid); ANALYZE users"
CONFIG = """
environment: test
exporter: {evidence_block: 1s, partition_max_age: 1s}
tables: [{name: public.users}]
audit: {table: public.audit_logs}
criteria:
  # One severity each: who was told of a warning need not be told of its critical.
  uuid_lookup_latency: {warning: 20ms, critical: 2s}
  cache_hit_rate: {warning: 0.9, critical: 0.2}
  audit_partition_size: {warning: 2MiB, critical: 1GiB}
monitoring:
  runbooks: "https://wiki.example/{page}#{anchor}"
  grafana: "https://boards.example"
"""
PROMETHEUS = """
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
scrape_configs:
  - {{job_name: phasegate, static_configs: [{{targets: ["{exporter}"]}}]}}
"""
KEYS = [f"perm:{number}" for number in range(20)]
PATIENCE_SECONDS = 40.0
# alert -> what its summary must say: whose value, the value, its limit
THREE = {
    "HighUUIDLookupLatency": r"public\.users: \d.*s \(limit 20 ms\)",
    "LowCacheHitRate": r"cache: \d+(\.\d+)?% \(limit 90 %\)",
    "AuditPartitionSize": r"audit_logs_now: \d.*MiB \(limit 2 MiB\)",
}
BOTH = {
    "TargetDown/cache": "Target cache does not answer",
    "TargetDown/database": "Target database does not answer",
}


def shorten(rules: str) -> str:
    """The pack's rules with each `for` and `keep_firing_for` of two seconds, windows of five
    minutes of ten seconds, and evaluated every second."""
    found = yaml.safe_load(rules)
    for group in found["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule |= {key: "2s" for key in ("for", "keep_firing_for") if key in rule}
            rule["expr"] = rule["expr"].replace("[5m]", "[10s]")
    return yaml.safe_dump(found)


class Receiver:
    """What a person would have got: one entry for each alert of each notification."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def find(self, name: str, status: str) -> list[dict[str, Any]]:
        """Those of an alert, or of its one `target`: `TargetDown/cache`."""
        alert, _, target = name.partition("/")
        return [
            one
            for one in list(self.told)
            if one["status"] == status
            and one["labels"]["alertname"] == alert
            and target in ("", one["labels"].get("target"))
        ]

    @contextmanager
    def serve(self) -> Iterator[str]:
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}/"
            finally:
                server.shutdown()
                thread.join()


class Application:
    """Looks up permissions in the cache until the end of the block, whatever the cache does."""

    def __init__(self, cache: CacheServer) -> None:
        self._cache = cache
        self._over = threading.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        thread = threading.Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _work(self) -> None:
        while not self._over.wait(0.1):
            try:
                with redis.Redis.from_url(self._cache.url()) as client:
                    client.mget(KEYS)
            except redis.RedisError:
                pass

    def fill(self) -> None:
        with redis.Redis.from_url(self._cache.url()) as client:
            client.mset(dict.fromkeys(KEYS, "[]"))

    def lose_half(self) -> None:
        with redis.Redis.from_url(self._cache.url()) as client:
            client.delete(*KEYS[::2])


def until(holds: Callable[[], object], what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, what()
        time.sleep(0.1)


def build_rules(folder: Path, config: Path) -> Path:
    """By the command that a team runs, then shortened."""
    command = [sys.executable, "-m", "phasegate", "alerts", "build", "--target", "prometheus"]
    command += ["--config", str(config), "--output", str(folder)]
    environ = os.environ | {"DATABASE_URL": "postgresql://127.0.0.1/mono"}
    subprocess.run(command, check=True, capture_output=True, env=environ)
    [built] = folder.glob("*.yml")
    rules = folder / "short.rules"
    rules.write_text(shorten(built.read_text("utf-8")), encoding="utf-8")
    return rules


def write_routes(folder: Path, receiver: str) -> Path:
    """One notification for each alert, at once; what tells of what else is the pack's own."""
    group = make_group(Settings())
    routes = {
        "route": {
            "receiver": "all",
            "group_by": ["..."],
            "group_wait": "2s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        },
        "receivers": [{"name": "all", "webhook_configs": [{"url": receiver}]}],
        "inhibit_rules": list(make_inhibitions(group)),
    }
    file = folder / "alertmanager.yml"
    file.write_text(json.dumps(routes), encoding="utf-8")
    return file


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[PostgresServer, CacheServer, Application, Receiver]]:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    require_present("valkey-server", find_cache_server() is not None)
    with ExitStack() as stack:
        settings = {"fsync": False, "max_parallel_workers_per_gather": 0}
        primary = stack.enter_context(PostgresServer(18, settings=settings))
        primary.create_database(DATABASE)
        primary.execute(SCHEMA, DATABASE)
        primary.execute(INDEX, DATABASE)
        cache = stack.enter_context(CacheServer(persistent=True))
        application = Application(cache)
        application.fill()
        config = tmp_path / "phasegate.yaml"
        config.write_text(CONFIG, encoding="utf-8")
        environ = {"DATABASE_URL": primary.conninfo(DATABASE), "REDIS_URL": cache.url()}
        flags = ["--config.file", str(config), "--log.level", "error"]
        _, exporter = stack.enter_context(running(environ, *flags))
        stack.enter_context(application.working())
        receiver = Receiver()
        hook = stack.enter_context(receiver.serve())
        port = free_port()
        alertmanager = f"127.0.0.1:{port}"
        flags = [f"--config.file={write_routes(tmp_path, hook)}", f"--storage.path={tmp_path}/am"]
        flags += [f"--web.listen-address={alertmanager}", "--cluster.listen-address="]
        ready = f"http://{alertmanager}/-/ready"
        stack.enter_context(program("prometheus-alertmanager", ready, *flags))
        read(f"{exporter}/metrics")
        scrapes = PROMETHEUS.format(
            rules=build_rules(tmp_path / "rules", config),
            alertmanager=alertmanager,
            exporter=exporter.removeprefix("http://"),
        )
        stack.enter_context(timeseries("prometheus", tmp_path, scrapes))
        # As long as it takes to wake somebody: in order, nobody is.
        time.sleep(5)
        yield primary, cache, application, receiver


def test_each_wakes_once_and_is_over_once_it_is_repaired(
    world: tuple[PostgresServer, CacheServer, Application, Receiver],
) -> None:
    primary, cache, application, receiver = world
    names = [one["labels"]["alertname"] for one in receiver.told]
    assert set(names) <= {"Watchdog"}
    primary.execute("DROP INDEX users_uuid", DATABASE)
    application.lose_half()
    grown = "INSERT INTO audit_logs (details) SELECT md5(i::text) FROM generate_series(1, 50000) i"
    primary.execute(grown, DATABASE)
    await_all(receiver, "firing", THREE)
    primary.execute(INDEX, DATABASE)
    application.fill()
    primary.execute("TRUNCATE audit_logs_now", DATABASE)
    await_all(receiver, "resolved", THREE)
    for name, says in THREE.items():
        check_notified(receiver, name, says)
    cache.stop()
    primary.stop()
    await_all(receiver, "firing", BOTH)
    cache.start()
    primary.start()
    await_all(receiver, "resolved", BOTH)
    for name, says in BOTH.items():
        check_notified(receiver, name, says)
    # The cache's own counters began anew, and that is no low hit rate.
    assert len(receiver.find("LowCacheHitRate", "firing")) == 1


def await_all(receiver: Receiver, status: str, names: Iterable[str]) -> None:
    """Until each was told with that status."""
    until(
        lambda: all(receiver.find(name, status) for name in names),
        lambda: [(one["status"], one["labels"]) for one in receiver.told],
    )


def check_notified(receiver: Receiver, name: str, says: str) -> None:
    """One message when it began, with what one needs then, and one when it was over."""
    began, ended = (receiver.find(name, status) for status in ("firing", "resolved"))
    assert [len(began), len(ended)] == [1, 1], [one["labels"] for one in (*began, *ended)]
    assert began[0]["fingerprint"] == ended[0]["fingerprint"]
    texts = began[0]["annotations"]
    assert re.search(says, texts["summary"]), texts["summary"]
    anchor = began[0]["labels"]["alertname"].lower()
    assert re.fullmatch(rf"https://wiki\.example/[a-z-]+#{anchor}", texts["runbook_url"])
    board = f"https://boards.example/d/{texts['__dashboardUid__']}/"
    assert texts["dashboard_url"].startswith(board)
    assert f"viewPanel={texts['__panelId__']}&" in texts["dashboard_url"]
