"""What holds loops over rows back: each input by itself, and what is not known the most."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from phasegate.contract.settings import Exporter, Settings
from phasegate.migrate.throttle import (
    FLOOR,
    START,
    Inputs,
    Latency,
    Load,
    Pace,
    Probes,
    decide_pace,
)

FAST = Latency(50, 0.0, 0.5, 5.0)
SLOW = Latency(50, 0.06, 0.5, 5.0)
IDLE = Load()


@pytest.mark.parametrize(
    ("latency", "load", "share", "cause"),
    [
        (FAST, IDLE, 1.0, ""),
        (None, IDLE, 1.0, ""),
        (FAST._replace(slow=0.05), IDLE, 1.0, ""),
        (SLOW, IDLE, 0.5, "slow"),
        (SLOW._replace(probes=19), IDLE, 1.0, ""),
        (FAST._replace(silent=5.1), IDLE, 0.0, "silent"),
        (FAST, None, 0.0, "unknown"),
        (None, None, 0.0, "unknown"),
        (FAST, Load(hidden=1), 0.0, "hidden"),
        (FAST, Load(lag_seconds=10.0), 1.0, ""),
        (FAST, Load(lag_seconds=11.0), FLOOR, "lag"),
        (FAST, Load(retained_bytes=9 * 2.0**30), FLOOR, "retained"),
        (FAST, Load(safe_bytes=2.0**29), 0.0, "slot"),
        (FAST, Load(oldest_seconds=301.0), 0.5, "old"),
        (SLOW, Load(lag_seconds=11.0), FLOOR, "lag"),
        (FAST._replace(silent=9.0), Load(lag_seconds=11.0), 0.0, "silent"),
    ],
)
def test_the_strictest_input_decides(
    latency: Latency | None, load: Load | None, share: float, cause: str
) -> None:
    pace = decide_pace(Inputs(latency, load))
    assert (pace.share, pace.cause) == (share, cause)
    assert bool(pace.reason) is bool(cause)


def test_slow_lookups_halve_down_to_a_floor_and_fast_ones_bring_it_back() -> None:
    pace, shares = START, []
    for _ in range(6):
        pace = decide_pace(Inputs(SLOW, IDLE), pace)
        shares.append(pace.share)
    assert shares == [0.5, 0.25, 0.125, FLOOR, FLOOR, FLOOR]
    assert decide_pace(Inputs(FAST._replace(probes=3), IDLE), pace) == pace
    steps = 0
    while pace.share < 1:
        before, pace, steps = pace.share, decide_pace(Inputs(FAST, IDLE), pace), steps + 1
        assert pace.share > before
    assert (pace, 5 < steps < 20) == (Pace(1.0), True)


@contextmanager
def answering(page: Callable[[float], Any]) -> Iterator[Settings]:
    """Settings of an exporter whose `/debug/probes` answers that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = page(float(parse_qs(urlsplit(self.path).query)["since"][0]))
            body = json.dumps(found).encode()
            self.send_response(200 if found is not None else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            yield Settings(exporter=Exporter(url=url))
        finally:
            server.shutdown()
            thread.join()


def test_probes_of_before_count_for_nothing_and_failed_ones_as_slow() -> None:
    told: list[dict[str, Any]] = [{"time": 10.0, "query_type": "id_lookup", "seconds": 9.0}]

    def page(since: float) -> Any:
        others = [{"time": 99.0, "query_type": "id_lookup", "seconds": 9.0}]
        return {
            "latency": [one for one in told if one["time"] > since],
            "latency/replica": others,
        }

    with answering(page) as settings:
        probes = Probes(settings)
        assert probes.poll()[:2] == (0, 0.0)
        assert probes.poll().silent == float("inf")
        told += [
            {"time": 11.0, "query_type": "id_lookup", "seconds": 0.001},
            {"time": 12.0, "query_type": "uuid_lookup", "class": "timeout", "error": "57014"},
            {"time": 13.0, "query_type": "uuid_lookup", "skipped": "busy", "slots": 3},
            {"time": 14.0, "query_type": "permission_check", "seconds": 9.0},
            {"time": 15.0, "query_type": "uuid_lookup", "seconds": 0.001},
            {"time": 16.0, "query_type": "uuid_lookup", "seconds": 2.0},
        ]
        found = probes.poll()
        assert (found.probes, found.slow, found.why) == (4, 0.5, "")
        assert found.silent < 1
        assert probes.poll().probes == 4


@pytest.mark.parametrize("answer", [None, [], {"latency": 7}, {"latency": [{"time": "now"}]}])
def test_an_exporter_that_tells_nothing_useful_is_silent_and_says_why(answer: Any) -> None:
    with answering(lambda _: answer) as settings:
        found = Probes(settings).poll()
    assert found.silent > found.patience
    pace = decide_pace(Inputs(found, IDLE))
    assert pace.share == 0.0
    assert found.why
    assert found.why in pace.reason


def test_an_exporter_that_probes_seldom_is_given_its_time() -> None:
    assert Probes(Settings(exporter=Exporter(url="http://127.0.0.1:1"))).poll().patience == 5.0
    seldom = Exporter(url="http://127.0.0.1:1", probe_interval=4.0)
    assert Probes(Settings(exporter=seldom)).poll().patience == 12.0
