"""Rules and boards on a Prometheus that scrapes five exporters of 3,000 partitions each.

Three promises: the files are built in two seconds; the group of rules is evaluated in 50 ms, beside
the guide's own group (its three alerts on what nothing records) as the peer; and no question of a
board takes longer than 200 ms over 24 hours, all five exporters chosen.

The page is that of one real exporter, served as it was taken to five targets and, for the hours
before, written as history at five minutes: at 15 s it would take longer to make than all else.
"""

from __future__ import annotations

import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, spread
from benchmarks.peers import PeerMissing
from benchmarks.processes import scrape
from benchmarks.scene import database, exporter
from phasegate.alerts.build import render_all
from phasegate.contract.settings import Settings
from phasegate.dashboards.build import render_boards
from phasegate.servers.ports import free_port
from tests.fixtures.boards import (
    Asking,
    Sight,
    default_values,
    fetch_variables,
    interpolate,
    targets,
)
from tests.fixtures.history import write_series
from tests.fixtures.timeseries import timeseries

TARGETS = 5
SCRAPE_SECONDS = 15
HISTORY_STEP = 300
HOUR = 3_600
GUIDE = """
- {alert: HighUUIDLookupLatency, expr: db_uuid_lookup_p95 > 0.02, for: 5m}
- {alert: LowCacheHitRate, expr: cache_hit_rate < 0.9, for: 10m}
- alert: AuditPartitionSize
  expr: pg_table_size_bytes{table=~"audit_logs_.*"} > 10737418240
  for: 30m
"""


def measure(*, short: bool) -> Result:
    """The short form has 300 partitions and two hours."""
    partitions, hours, rounds = (300, 2, 6) if short else (3_000, 24, 24)
    built = [_build() for _ in range(3)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        page = _take_page(partitions, folder)
        served = stack.enter_context(_served(page))
        url = stack.enter_context(_prometheus(folder, page, served, hours))
        groups = _evaluate(url, rounds)
        slowest = _ask_boards(url, hours)
    ours, guide = groups["database_performance"], groups["guide"]
    claims = [
        Claim("rules and boards built, s", round(min(built), 2), 2.0),
        Claim("group of rules, ms", round(MILLISECOND * statistics.median(ours), 1), 50.0),
        Claim("slowest question of a board, ms", round(slowest[0]["ms"], 1), 200.0),
    ]
    figures = {
        "partitions": partitions,
        "targets": TARGETS,
        "build_seconds": spread(built, digits=2),
        "group_ms": spread(ours, MILLISECOND),
        "guides_group_ms": spread(guide, MILLISECOND),
        "group_of_the_guides": spread(pairwise(ours, guide), digits=2),
        "slowest_questions": slowest[:10],
    }
    return Result(claims, figures)


def _build() -> float:
    """Seconds of both commands, as processes one after the other."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for room in ("alerts", "dashboards"):
            command = [sys.executable, "-m", "phasegate", room, "build", "--output", folder]
            subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _take_page(partitions: int, folder: Path) -> str:
    with database(partitions) as server, exporter(server, folder) as program:
        for _ in range(5):
            time.sleep(1)
            _, page = scrape(program.url)
    return page.decode()


@contextmanager
def _served(page: str) -> Iterator[int]:
    """The port of a service that answers every path with the page."""
    body = page.encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Handler) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield service.server_port
        finally:
            service.shutdown()
            thread.join()


@contextmanager
def _prometheus(folder: Path, page: str, port: int, hours: int) -> Iterator[str]:
    """It holds the history, scrapes the five, and evaluates our group and the guide's."""
    history = folder / "history.om"
    with history.open("w", encoding="utf-8") as file:
        for line in _history(page, hours):
            file.write(line)
    data = folder / "data"
    blocks = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=744h", "openmetrics"]
    try:
        subprocess.run([*blocks, str(history), str(data)], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise PeerMissing("prometheus") from error
    history.unlink()
    rules = yaml.safe_load(render_all(Settings(), ["prometheus"])["database.yml"])
    rules["groups"].append({"name": "guide", "rules": yaml.safe_load(GUIDE)})
    for group in rules["groups"]:
        group["interval"] = "5s"
    (folder / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    jobs = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": _instance(number)}}
        for number in range(TARGETS)
    ]
    scrapes = {
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": "phasegate",
                "scrape_interval": f"{SCRAPE_SECONDS}s",
                "static_configs": jobs,
            }
        ],
    }
    with timeseries("prometheus", folder, yaml.safe_dump(scrapes), data=data) as (_, url):
        yield url


def _instance(number: int) -> str:
    return f"exporter-{number}:9899"


def _history(page: str, hours: int) -> Iterator[str]:
    """Every sample of the page at each step before now, of each target; counters stand still."""
    end = int(time.time()) - 60
    moments = range(end - hours * HOUR, end, HISTORY_STEP)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            for number in range(TARGETS):
                labels = {**sample.labels, "job": "phasegate", "instance": _instance(number)}
                head = f"{write_series(sample.name, labels)} {sample.value!r} "
                yield "".join(f"{head}{moment}\n" for moment in moments)
    yield "# EOF\n"


def _evaluate(url: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each group's evaluations, once two scrapes are in."""
    time.sleep(2 * SCRAPE_SECONDS + 5)
    found: dict[str, dict[str, float]] = {}
    while min((len(times) for times in found.values()), default=0) < rounds:
        time.sleep(1)
        with urllib.request.urlopen(f"{url}/api/v1/rules", timeout=10) as answer:  # noqa: S310
            groups = json.load(answer)["data"]["groups"]
        for group in groups:
            times = found.setdefault(group["name"], {})
            times[group["lastEvaluation"]] = group["evaluationTime"]
    return {name: list(times.values())[:rounds] for name, times in found.items()}


def _ask_boards(url: str, hours: int) -> list[dict[str, Any]]:
    """Each question of each board over the hours, the slowest first: the better of two tries."""
    sight = Sight(time.time() - hours * HOUR, time.time(), SCRAPE_SECONDS)
    found = []
    with closing(Asking(url)) as asking:
        for name, text in render_boards(Settings()).items():
            board = json.loads(text)
            variables = fetch_variables(board, asking, sight)
            chosen = default_values(variables)
            for panel, target in targets(board):
                step = sight.step(panel)
                expression = interpolate(target["expr"], variables, chosen, sight, step)
                tries = [
                    _seconds(asking, expression, sight, None if target["instant"] else step)
                    for _ in range(2)
                ]
                place = f"{name}: {panel['title']} {target['refId']}"
                found.append({"ms": round(MILLISECOND * min(tries), 1), "question": place})
    return sorted(found, key=lambda one: float(one["ms"]), reverse=True)


def _seconds(asking: Asking, expression: str, sight: Sight, step: float | None) -> float:
    began = time.perf_counter()
    if step is None:
        answer = asking.at(expression, sight.end)
    else:
        answer = asking.over(expression, sight, step)
    assert not answer.error, answer.error
    return time.perf_counter() - began
