"""A baseline captured from a real exporter beside an application, and errors judged against it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fixtures.database import Database
from tests.integration.exporter.test_process import read, running

CONFIG = """
environment: test
exporter: {{url: "{url}", evidence_block: 1s}}
tables: [{{name: public.users}}]
audit: {{table: public.audit_logs, category_column: category}}
application:
  metrics_url: "{page}"
  requests: {{metric: http_requests_total}}
  errors: {{metric: http_requests_total, match: {{status: "5.."}}}}
"""
SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid NOT NULL DEFAULT gen_random_uuid());
INSERT INTO users (id) SELECT generate_series(1, 1000);
CREATE UNIQUE INDEX ON users (uuid);
CREATE TABLE audit_logs (id bigint, created_at timestamptz NOT NULL, category text)
    PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_all PARTITION OF audit_logs
    FOR VALUES FROM ('2000-01-01Z') TO ('2100-01-01Z');
INSERT INTO audit_logs SELECT i, now() - '1 minute'::interval, 'login' FROM generate_series(1, 7) i;
"""
SPAN_SECONDS = 3.0


class Application:
    """Between two readings of its page it always serves `requests`, of which `errors` fail."""

    def __init__(self) -> None:
        self.url = ""
        self.requests, self.errors = 100, 1
        self._requests = self._errors = 0

    def page(self) -> bytes:
        self._requests += self.requests
        self._errors += self.errors
        good = self._requests - self._errors
        return (
            "# TYPE http_requests_total counter\n"
            f'http_requests_total{{status="200"}} {good}\n'
            f'http_requests_total{{status="503"}} {self._errors}\n'
        ).encode()


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = made.page()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


class Pipeline:
    """Calls beside one exporter, each a process of its own."""

    def __init__(self, config: Path, database: Database, application: Application) -> None:
        self.config, self._database, self._application = config, database, application

    def run(self, *arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "phasegate", *arguments, "--config", str(self.config)]
        environ = {"DATABASE_URL": self._database.conninfo()}
        done = subprocess.run(
            command,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def serve(self, requests: int, errors: int) -> str:
        """Serves so for a while; since when."""
        self._application.requests, self._application.errors = requests, errors
        time.sleep(1.5)  # a reading under way may be of both
        began = time.time()
        time.sleep(SPAN_SECONDS)
        return f"{began:.3f}"

    def judge(self, since: str, *arguments: str) -> tuple[int, str, str]:
        limits = ("--since", since, "--min-span", "1s")
        return self.run("validate", "--criterion", "error_rate", *limits, *arguments)


@pytest.fixture
def pipeline(database: Database, application: Application, tmp_path: Path) -> Iterator[Pipeline]:
    database.execute(SCHEMA)
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG.format(url="http://127.0.0.1:9", page=application.url))
    environ = {"DATABASE_URL": database.conninfo()}
    with running(environ, "--config.file", str(config)) as (_, url):
        config.write_text(CONFIG.format(url=url, page=application.url))
        read(f"{url}/-/healthy")
        yield Pipeline(config, database, application)


def test_no_more_a_little_more_and_twice_the_errors_and_too_few(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.serve(100, 1)
    few = str(tmp_path / "few.json")
    code, _, err = pipeline.run("baseline", "capture", "--window", "3s", "--output", few)
    assert (code, err) == (0, f"{few}: 2 counts; {tmp_path / 'performance-baseline.md'}\n")
    code, out, _ = pipeline.judge(pipeline.serve(100, 1), "--baseline", few)
    assert (code, "INCONCLUSIVE" in out) == (3, True), out

    since = pipeline.serve(100_000, 1_000)
    code, out, _ = pipeline.judge(since)
    assert (code, "no baseline was captured" in out) == (3, True), out
    assert pipeline.run("baseline", "capture", "--window", "3s")[0] == 0
    code, _, err = pipeline.run("baseline", "capture", "--window", "3s")
    assert (code, "baseline.json is there; --replace captures anew" in err) == (2, True)
    for errors, expected in ((1_000, 0), (1_050, 0), (2_000, 1)):
        code, out, _ = pipeline.judge(pipeline.serve(100_000, errors))
        assert code == expected, out
        assert all(len(line) <= 80 for line in out.splitlines())

    # Altered, it is neither believed nor shown.
    assert pipeline.run("baseline", "show", "--format", "json")[0] == 0
    file = tmp_path / "baseline.json"
    file.write_text(file.read_text().replace('"environment": "test"', '"environment": "prod"'))
    for call in (("baseline", "show"), ("validate", "--criterion", "error_rate")):
        code, out, err = pipeline.run(*call)
        assert (code, "was altered" in " ".join((out + err).split())) == (4, True)


def test_the_document_says_how_it_was(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.serve(1_000, 10)
    assert pipeline.run("baseline", "capture")[0] == 0
    document = (tmp_path / "performance-baseline.md").read_text()
    assert pipeline.run("baseline", "show")[1] == document
    rows = {line.split(" | ")[0].strip("| "): line for line in document.splitlines()}
    assert "| ≤ " in rows["public.users on database"]
    assert "1.000% (" in rows["application"]
    assert "7 events in the hour before" in document
    assert rows["login"] == "| login | 7 |"
    assert rows["public.audit_logs_all"].endswith(" KiB |")
    counts = json.loads((tmp_path / "baseline.json").read_text())["counts"]
    [requests] = [one for one in counts if one["criterion"] == "error_rate"]
    assert requests["total"] == 100 * (requests["total"] - requests["good"]) > 0


def test_another_exporter_s_evidence_is_not_captured(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.serve(100, 1)
    config = pipeline.config.read_text()
    pipeline.config.write_text(config.replace("environment: test", "environment: production"))
    code, _, err = pipeline.run("baseline", "capture")
    assert (code, "of environment test, not of production" in err) == (3, True)
    pipeline.config.write_text(config.replace("127.0.0.1", "127.0.0.2"))
    assert pipeline.run("baseline", "capture")[0] == 4
    assert not (tmp_path / "baseline.json").exists()
    missing = ("--baseline", str(tmp_path / "none.json"))
    assert pipeline.run("baseline", "show", *missing)[0] == 4
    pipeline.config.write_text(config)
    assert pipeline.run("validate", "--criterion", "error_rate", *missing)[0] == 4
