"""`phasegate doctor` on what watches: a pooler in the way, rights, exporter, Prometheus, files."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from phasegate.alerts.build import render_all
from phasegate.contract.settings_load import load_settings
from phasegate.dashboards.build import render_boards
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.fixtures.doctored import Doctor
from tests.fixtures.pooler import run_pooler
from tests.fixtures.timeseries import await_answer, timeseries

CONFIG = """
environment: test
tables: [{{name: public.users}}]
criteria: {{uuid_lookup_latency: {{warning: {limit}, critical: 2s}}}}
exporter: {{url: "{exporter}", probe_interval: 100ms}}
prometheus: {{url: "{prometheus}"}}
monitoring: {{scrape_interval: 5s}}
"""
TABLES = """
CREATE TABLE users (id int PRIMARY KEY, uuid uuid UNIQUE);
INSERT INTO users SELECT n, gen_random_uuid() FROM generate_series(1, 100) n;
ANALYZE;
"""


@pytest.mark.parametrize(("mode", "severity"), [("transaction", "problem"), ("session", "warning")])
def test_a_pooler_in_the_way(database: Database, tmp_path: Path, mode: str, severity: str) -> None:
    with run_pooler(database, tmp_path, mode) as url:
        doctor = Doctor(tmp_path, {"DATABASE_URL": url})
        doctor.configure("{}")
        seen = doctor.see("pooler")
        [fault] = seen.faults(severity)
        assert f"a pooler in {mode} mode" in fault["evidence"]
        assert (seen.code, "database.url" in fault["remedy"]) == (int(severity == "problem"), True)
        # The others look through it, and leave nothing on its connections.
        assert all(one["severity"] != "unknown" for one in doctor.see("database").findings)
    direct = Doctor(tmp_path, {"DATABASE_URL": database.conninfo()})
    assert direct.see("pooler").code == 0


def test_rights_that_are_missing_and_the_grants_that_give_them(
    database: Database, tmp_path: Path
) -> None:
    database.execute(TABLES)
    role = f"exporter_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT pg_monitor TO {role}")
    try:
        doctor = Doctor(tmp_path, {"DATABASE_URL": database.conninfo(role, "p")})
        doctor.configure("tables: [{name: public.users}]\n")
        seen = doctor.see("privileges")
        assert seen.code == 1
        assert "privilege" in seen.faults()[0]["evidence"]
        assert "phasegate init --grants" in seen.faults()[0]["remedy"]
        lookups = doctor.see("lookup_plans")
        assert lookups.code == 3
        database.execute(f"GRANT SELECT ON users TO {role}")
        assert doctor.see("privileges", "lookup_plans").code == 0
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@contextmanager
def running(config: Path, environ: dict[str, str], port: int) -> Iterator[None]:
    """An exporter of that configuration."""
    command = [sys.executable, "-m", "phasegate", "exporter", "--config.file", str(config)]
    command += ["--web.listen-address", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=os.environ | environ, stderr=subprocess.DEVNULL) as process:
        try:
            await_answer(f"http://127.0.0.1:{port}/-/healthy")
            yield
        finally:
            process.kill()


@pytest.fixture
def watched(database: Database, tmp_path: Path) -> Iterator[tuple[Doctor, str]]:
    """An exporter that a Prometheus scrapes, with no rules yet; and the base of its API."""
    database.execute(TABLES)
    port, environ = free_port(), {"DATABASE_URL": database.conninfo()}
    doctor, rules = Doctor(tmp_path, environ), tmp_path / "alerts" / "database.yml"
    scrapes = (
        f"rule_files: ['{rules}']\n"
        "scrape_configs:\n"
        f"  - {{job_name: phasegate, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    with timeseries("prometheus", tmp_path, scrapes, more=["--web.enable-lifecycle"]) as (_, url):
        places = {"exporter": f"http://127.0.0.1:{port}", "prometheus": url}
        configure(doctor, places)
        with running(tmp_path / "phasegate.yaml", environ, port):
            _await(lambda: doctor.see("prometheus").code == 0)
            yield doctor, url


def configure(doctor: Doctor, places: dict[str, str], limit: str = "1s") -> None:
    doctor.configure(CONFIG.format(**places, limit=limit))


def build(doctor: Doctor) -> None:
    """Boards and rules of the configuration, where `build` puts them."""
    settings = load_settings(doctor.folder / "phasegate.yaml", doctor.environ)
    for folder, files in (
        ("alerts", render_all(settings)),
        ("dashboards", render_boards(settings)),
    ):
        for name, text in files.items():
            path = doctor.folder / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def reload(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST")):  # noqa: S310
        pass


def test_rules_limits_and_boards_follow_the_configuration(watched: tuple[Doctor, str]) -> None:
    doctor, url = watched
    places = {"prometheus": url, "exporter": _exporter_of(doctor)}
    named = ("rules", "thresholds", "exporter", "boards", "clocks", "prometheus")
    assert "none of our rules" in doctor.see("rules").fault["evidence"]
    build(doctor)
    reload(url)
    assert doctor.see(*named).code == 0
    assert doctor.see(*named).faults("warning") == []

    configure(doctor, places, limit="1500ms")
    seen = doctor.see(*named)
    assert {one["check"] for one in seen.faults()} == {"rules", "thresholds", "boards"}
    assert {one["check"] for one in seen.faults("warning")} == {"exporter"}
    drifted = next(one for one in seen.faults() if one["check"] == "rules")
    named_rules = "HighUUIDLookupLatency (warning), ThresholdDrift (warning)"
    assert drifted["evidence"].endswith(f": {named_rules}")
    limits = next(one for one in seen.faults() if one["check"] == "thresholds")
    assert limits["evidence"] == "uuid_lookup_latency warning: 1 there, 1.5 here"
    build(doctor)
    reload(url)
    assert doctor.see("rules", "boards").code == 0


def _exporter_of(doctor: Doctor) -> str:
    url = load_settings(doctor.folder / "phasegate.yaml", doctor.environ).exporter.url
    assert url is not None
    return url


def test_a_job_that_nobody_scrapes_and_one_that_is_down(database: Database, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, {"DATABASE_URL": database.conninfo()})
    port = free_port()
    scrapes = (
        "scrape_configs:\n"
        f"  - {{job_name: phasegate, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    )
    with timeseries("prometheus", tmp_path, scrapes) as (_, url):
        text = f'prometheus: {{url: "{url}"}}\n'
        doctor.configure(text + "monitoring: {job: another}\n")
        fault = doctor.see("prometheus").fault
        assert "no target of job another" in fault["evidence"]
        assert fault["runbook"].endswith("#exporterabsent")
        doctor.configure(text)
        _await(lambda: "the scrape fails" in str(doctor.see("prometheus").faults()))
    doctor.configure(text + f'exporter: {{url: "http://127.0.0.1:{port}"}}\n')
    seen = doctor.see("prometheus", "rules", "exporter", "thresholds", "database")
    assert (seen.code, len(seen.faults("unknown"))) == (4, 4)


def test_the_exporter_does_not_get_an_answer(watched: tuple[Doctor, str]) -> None:
    doctor, _ = watched
    file = doctor.folder / "phasegate.yaml"
    file.write_text(file.read_text("utf-8").replace("environment: test", "environment: other"))
    fault = doctor.see("exporter").fault
    assert "environment 'test'" in fault["evidence"]


def test_a_clock_that_is_wrong(database: Database, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, {"DATABASE_URL": database.conninfo()})
    with _another_time(-60) as url:
        doctor.configure(f'prometheus: {{url: "{url}"}}\n')
        fault = doctor.see("clocks").fault
    assert fault["evidence"].startswith("the clock of the prometheus is ")
    assert fault["evidence"].endswith("behind this machine's")


@contextmanager
def _another_time(seconds: float) -> Iterator[str]:
    """What answers with a Date that is so far from now."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate((timestamp or time.time()) + seconds, usegmt=True)

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _await(condition: Callable[[], bool]) -> None:
    for _ in range(60):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not come")
