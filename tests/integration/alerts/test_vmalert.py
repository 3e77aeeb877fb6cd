"""MetricsQL reads other things into some expressions than PromQL does: every alert is made to fire
by a real vmalert on a real VictoriaMetrics, by the same scenes as for Prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from phasegate.alerts.rules import make_group
from phasegate.alerts.targets.vmalert import render_files
from phasegate.contract import metrics
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.servers.ports import free_port
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import JOB, Change, evolve, write_series
from tests.fixtures.presence import require_present
from tests.fixtures.timeseries import await_answer, timeseries
from tests.integration.alerts.scenes import SCENES, Scene
from tests.integration.alerts.unit_tests import always, only, place

GROUP = make_group(Settings())
SCRAPE_SECONDS, HISTORY_SECONDS = 60.0, 10_800.0
AHEAD_SECONDS = 120.0
"""Series go on until then, so that none is stale while vmalert looks."""
BAD_SECONDS = 600.0
"""Besides what an expression looks back over; short enough that what was before is still seen."""
ABSENT = "ExporterAbsent"
GONE = "a job without any series"
BAD, ALMOST = "bad", "almost"
Placed = dict[str, tuple[str, str, Scene, Sequence[Change]]]


def place_scenes() -> Placed:
    """By instance: alert, severity, scene, and the changes that are to be bad or almost bad."""
    return {
        f"{name} {severity} {number} {how}": (name, severity, scene, changes)
        for (name, severity), scenes in SCENES.items()
        if name != ABSENT
        for number, scene in enumerate(scenes, 1)
        for how, changes in ((BAD, scene.bad), (ALMOST, scene.almost))
    }


def write_history(exposed: Exposed, placed: Placed) -> Iterator[str]:
    """What scrapes of each instance would have left, in the lines that VictoriaMetrics imports."""
    end = math.floor(time.time() + AHEAD_SECONDS)
    steps = int(HISTORY_SECONDS / SCRAPE_SECONDS)
    times = [end - SCRAPE_SECONDS * back for back in range(steps, -1, -1)]
    for instance, (name, severity, scene, changes) in placed.items():
        group = only(GROUP, name, severity)
        texts = [one.expression for one in group.records]
        text = " ".join(texts + [one.expression for one in group.alerts])
        names = frozenset(one.name for one in metrics.METRICS if one.name in text)
        begin = HISTORY_SECONDS - scene.window - BAD_SECONDS
        bad = place(changes, begin, HISTORY_SECONDS, HISTORY_SECONDS)
        for series in evolve(exposed, times, [*always(scene.rest), *bad], names):
            labels = {**series.labels, "job": JOB, "instance": instance}
            head = write_series(series.name, labels)
            for moment, value in zip(times, series.values, strict=True):
                if value is not None:
                    yield f"{head} {value!r} {moment * 1000:.0f}\n"


def write_rules(folder: Path) -> Path:
    """What is shipped, but evaluated each second and without patience; and for a job that is gone.

    The Watchdog needs no series, and would be there twice.
    """
    groups = []
    for job in (JOB, GONE):
        settings = Settings(monitoring=Monitoring(job=job))
        (text,) = render_files(make_group(settings), settings).values()
        (group,) = yaml.safe_load(text)["groups"]
        for rule in group["rules"]:
            rule.pop("for", None)
        groups.append({**group, "name": job, "interval": "1s"})
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return rules


@contextmanager
def run_vmalert(rules: Path, store: str) -> Iterator[str]:
    """The base of its API while it evaluates these rules; whom it notifies is not there."""
    program = shutil.which("vmalert")
    require_present("vmalert", program is not None)
    port = free_port()
    flags = [
        f"-rule={rules}",
        f"-datasource.url={store}",
        f"-remoteWrite.url={store}",
        "-remoteWrite.flushInterval=200ms",
        f"-notifier.url=http://127.0.0.1:{free_port()}",
        f"-httpListenAddr=127.0.0.1:{port}",
    ]
    with subprocess.Popen(
        [str(program), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            await_answer(f"{url}/health")
            yield url
        finally:
            process.kill()


def fetch_firing(url: str) -> list[dict[str, Any]]:
    """What fires now, with labels and annotations."""
    with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=5) as answer:  # noqa: S310
        known: list[dict[str, Any]] = json.load(answer)["data"]["alerts"] or []
    return [one for one in known if one["state"] == "firing"]


def post_history(store: str, lines: Iterator[str]) -> None:
    """As a backfill would, and visible at once."""
    body = "".join(lines).encode()
    for path, data in (("/api/v1/import/prometheus", body), ("/internal/force_flush", None)):
        request = urllib.request.Request(f"{store}{path}", data)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310
            pass


def test_every_alert_fires_there_and_only_where_it_should(exposed: Exposed, tmp_path: Path) -> None:
    placed = place_scenes()
    expected = {
        (name, severity, instance)
        for instance, (name, severity, _, _) in placed.items()
        if instance.endswith(BAD)
    }
    fresh = ["-search.latencyOffset=1s"]
    with timeseries("victoria-metrics", tmp_path, more=fresh) as (_, store):
        post_history(store, write_history(exposed, placed))
        with run_vmalert(write_rules(tmp_path), store) as url:
            fired = await_firing(url, expected)
    absent = [one for one in fired if one["labels"]["alertname"] == ABSENT]
    assert [one["labels"]["job"] for one in absent] == [GONE]
    own = {
        (name, severity, instance): one
        for one in fired
        if (instance := one["labels"].get("instance"))
        for name, severity in [(one["labels"]["alertname"], one["labels"]["severity"])]
        # Another alert may be right about a scene too: what is critical is a warning as well.
        if placed[instance][:2] == (name, severity)
    }
    assert set(own) == expected
    for (*_, instance), one in own.items():
        summary = one["annotations"]["summary"]
        assert placed[instance][2].says in summary, (instance, summary)
        assert "<no value>" not in str(one["annotations"])


def await_firing(url: str, expected: set[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """What fires once all that should fire does, or after a quarter of a minute."""
    deadline = time.monotonic() + 15
    while True:
        fired = fetch_firing(url)
        found = {
            (one["labels"]["alertname"], one["labels"]["severity"], one["labels"].get("instance"))
            for one in fired
        }
        if found >= expected or time.monotonic() > deadline:
            return fired
        time.sleep(0.5)
