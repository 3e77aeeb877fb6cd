"""The preview draws a hand-made board from a real Prometheus, in a real browser."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from phasegate.dashboards.preview.server import make_app
from tests.fixtures.browser import browser, looking_at
from tests.fixtures.presence import require_present
from tests.fixtures.timeseries import timeseries

pytestmark = pytest.mark.xdist_group("preview")

HOURS, STEP = 3.2, 30
PLAIN, HOSTILE = "db-1:9899", 'a.b+"c|d\\e:1'
BOARD: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
OTHER: dict[str, Any] = {
    "uid": "scene-other",
    "title": "Scene / Other",
    "tags": ["scene"],
    "panels": [],
}
RULES = """
groups:
  - name: scene
    interval: 1s
    rules:
      - alert: ShareLow
        expr: vector(1) > 0
        labels: {severity: critical}
        annotations: {summary: "the share is 0.4, below 0.9", runbook_url: "https://r.example/x"}
      - alert: RowsMany
        expr: vector(1) > 0
        for: 1h
        labels: {severity: warning}
"""
# What each panel must have drawn: series, values, rows, cells or alerts.
DRAWN = {1: 1, 2: 2, 3: 1, 4: 3, 5: 2, 6: 3, 7: 2, 10: 3, 11: 6, 12: 1, 13: 2}
STATES = "Object.fromEntries([...document.querySelectorAll('.panel')].map((one) => " + (
    "[one.dataset.panelId, [one.dataset.state, Number(one.dataset.drawn)]]))"
)


class Scene(NamedTuple):
    """Where the history's Prometheus answers, and when its history ends, in Unix seconds."""

    prometheus: str
    end: int


def line(name: str, labels: dict[str, str], value: float, moment: int) -> str:
    escaped = {
        key: text.replace("\\", "\\\\").replace('"', '\\"')
        for key, text in {"job": "phasegate", **labels}.items()
    }
    inside = ",".join(f'{key}="{text}"' for key, text in escaped.items())
    return f"{name}{{{inside}}} {value!r} {moment}"


def history(end: int) -> Iterator[str]:
    """Three hours of two exporters, one of them under a name that a careless query breaks on."""
    count = int(HOURS * 3600 / STEP)
    start = end - count * STEP
    for name, labels, values in series(count, start):
        for index, value in enumerate(values):
            if value is not None:
                yield line(name, labels, value, start + index * STEP)


def series(count: int, start: int) -> Iterator[tuple[str, dict[str, str], Iterator[float | None]]]:
    steps = range(count)
    for number, instance in enumerate((PLAIN, HOSTILE)):
        own = {"instance": instance}
        yield "scene_up", own, (1.0 for _ in steps)
        yield "scene_state", own, (float((i // 90 + number) % 3) for i in steps)
        yield "scene_share", own, (0.7 + 0.25 * math.sin(i / 40) for i in steps)
        yield (
            "scene_phase_started_timestamp_seconds",
            {**own, "phase": f"phase {number + 1}"},
            (float(start + 3600 + number * 4000) for _ in steps),
        )
        for kind, rate in (("read", 40.0), ("write", 15.0)):
            wave = [rate * (1 + 0.3 * math.sin(i / 25 + number)) * STEP for i in steps]
            yield "scene_requests_total", {**own, "kind": kind}, running(wave)
            yield "scene_hits_total", {**own, "kind": kind}, running([0.87 * one for one in wave])
        for position, table in enumerate(("public.users", "public.audit_logs", "public.orders")):
            rows = 1e6 * (position + 1) + number
            yield "scene_rows", {**own, "table": table}, (rows + i for i in steps)
            size = 4.2e9 * (position + 1)
            yield "scene_size_bytes", {**own, "table": table}, (size for _ in steps)
        for position, edge in enumerate(("0.001", "0.0025", "0.005", "0.01", "0.025", "+Inf")):
            # For half an hour nothing is measured: a gap, and no line over it.
            grown = [300.0 * share(position, i + 60 * number) for i in steps]
            values = running(grown)
            gap = range(150, 210)
            yield (
                "scene_duration_seconds_bucket",
                {**own, "le": edge},
                (None if i in gap else value for i, value in enumerate(values)),
            )


def running(increments: list[float]) -> Iterator[float]:
    total = 1000.0
    for one in increments:
        total += one
        yield total


def share(position: int, index: int) -> float:
    slow = 0.5 + 0.5 * math.sin(index / 60)
    return (0.3 - 0.2 * slow, 0.7 - 0.3 * slow, 0.9 - 0.2 * slow, 0.98 - 0.1 * slow, 1.0, 1.0)[
        position
    ]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    program = shutil.which("promtool")
    require_present("promtool", program is not None)
    end = int(time.time()) // STEP * STEP
    lines = folder / "history.om"
    lines.write_text("\n".join([*history(end), "# EOF\n"]), encoding="utf-8")
    blocks = ["tsdb", "create-blocks-from", "openmetrics", str(lines), str(folder / "data")]
    subprocess.run([str(program), *blocks], check=True, capture_output=True)
    rules = folder / "rules.yml"
    rules.write_text(RULES, encoding="utf-8")
    loaded = f"rule_files: [{rules}]\n"
    with timeseries("prometheus", folder, loaded, data=folder / "data") as (_, url):
        for _ in range(100):
            with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=5) as answer:  # noqa: S310
                if len(json.load(answer)["data"]["alerts"]) == 2:
                    break
            time.sleep(0.1)
        yield Scene(url, end)


@pytest.fixture(scope="module")
def devtools() -> Iterator[str]:
    with browser() as address:
        yield address


@asynccontextmanager
async def previewing(prometheus: str, *boards: dict[str, Any]) -> AsyncIterator[str]:
    shown = boards or (BOARD, OTHER)
    application = make_app({str(one["uid"]): one for one in shown}, prometheus)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def address(base: str, scene: Scene, **more: Any) -> str:
    """Of the board over the history's last three hours."""
    times = {"from": (scene.end - 10_800) * 1000, "to": scene.end * 1000}
    return f"{base}/d/scene?{urllib.parse.urlencode({**times, **more}, doseq=True)}"


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
async def test_every_panel_draws(
    size: tuple[int, int], theme: str, scene: Scene, devtools: str, tmp_path: Path
) -> None:
    width, height = size
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene, theme=theme), width=width, height=height) as tab,
    ):
        found = await tab.evaluate(STATES)
        shots = Path(os.environ.get("PHASEGATE_SCREENSHOTS", tmp_path))
        await tab.resize(width, await tab.evaluate("document.body.scrollHeight"))
        await tab.screenshot(shots / f"{theme}-{width}.png")
        for panel, count in DRAWN.items():
            assert found[str(panel)] == ["ready", count], panel
        assert found["8"][0] == "ready"
        assert found["8"][1] > 500
        assert found["14"] == ["empty", 0]
        assert found["15"] == ["error", 0]
        # The one error is the query that is broken on purpose, answered with 400.
        assert [one for one in tab.errors if "status of 400" not in one] == []
        assert await tab.evaluate("document.documentElement.scrollWidth") <= width
        assert all(one.startswith((base, "data:", "about:")) for one in tab.requested)
