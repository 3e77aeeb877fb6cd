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

from phasegate.dashboards.preview.chromium import Tab
from phasegate.dashboards.preview.pictures import DRAWN, Picture, take_pictures
from phasegate.dashboards.preview.server import make_app
from phasegate.servers.ports import free_port
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
COUNTS = {1: 1, 2: 2, 3: 1, 4: 3, 5: 2, 6: 3, 7: 2, 10: 3, 11: 6, 12: 1, 13: 2}
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


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
async def test_every_panel_draws(
    size: tuple[int, int], scene: Scene, devtools: str, tmp_path: Path
) -> None:
    width, height = size
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene), width=width, height=height) as tab,
    ):
        for theme in ("dark", "light"):
            assert await tab.evaluate("document.documentElement.dataset.theme") == theme
            found = await tab.evaluate(STATES)
            for panel, count in COUNTS.items():
                assert found[str(panel)] == ["ready", count], panel
            assert found["8"][0] == "ready"
            assert found["8"][1] > 500
            assert found["14"] == ["empty", 0]
            assert found["15"] == ["error", 0]
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width
            await tab.resize(width, await tab.evaluate("document.body.scrollHeight"))
            await tab.settle()
            shots = Path(os.environ.get("PHASEGATE_SCREENSHOTS", tmp_path))
            await tab.screenshot(shots / f"{theme}-{width}.png")
            await tab.evaluate("void document.querySelector('#theme').click()")
        # The one error is the query that is broken on purpose, answered with 400.
        assert [one for one in tab.errors if "status of 400" not in one] == []
        assert all(one.startswith((base, "data:", "about:")) for one in tab.requested)


async def texts(tab: Tab, selector: str) -> list[str]:
    """The texts of the elements that match."""
    chosen = f"document.querySelectorAll({json.dumps(selector)})"
    found: list[str] = await tab.evaluate(f"[...{chosen}].map((one) => one.textContent)")
    return found


async def click(tab: Tab, selector: str) -> None:
    """Clicks, and waits until the page has drawn what that asked for."""
    await tab.evaluate(f"void document.querySelector({json.dumps(selector)}).click()")
    await tab.wait_for(DRAWN)


async def test_a_chart_shows_limits_gaps_annotations_and_overrides(
    scene: Scene, devtools: str
) -> None:
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene)) as tab,
    ):
        latency, traffic = '[data-panel-id="5"] ', '[data-panel-id="6"] '
        assert await texts(tab, latency + ".threshold-text") == ["limit 6 ms", "limit 10 ms"]
        assert await texts(tab, latency + ".annotation text") == [
            "phase 1: phase begins", "phase 2: phase begins",
        ]  # fmt: skip
        # Two series, each in two parts: nothing is drawn where nothing was measured.
        assert len(await texts(tab, latency + "path.line")) == 4
        assert await texts(tab, latency + "button.series") == [HOSTILE, PLAIN]
        label = await tab.evaluate(f"document.querySelector('{latency}svg').ariaLabel")
        assert label.startswith(f"Lookup latency, p95: {HOSTILE} ")
        stroke = "document.querySelector('{} [data-name={}] .line').getAttribute('{}')"
        assert await tab.evaluate(stroke.format(traffic, "read", "stroke")) == "#0072B2"
        assert await tab.evaluate(stroke.format(traffic, "write", "stroke")) == "#D55E00"
        assert await tab.evaluate(stroke.format(traffic, "write", "stroke-dasharray")) == "10 6"
        assert len(await texts(tab, traffic + "[data-name=share] rect")) > 100
        ticks = await texts(tab, traffic + ".axis text")
        assert "100%" in ticks
        assert any(one.endswith(" req/s") for one in ticks)


async def test_values_tables_and_words(scene: Scene, devtools: str) -> None:
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene)) as tab,
    ):
        assert sorted(await texts(tab, '[data-panel-id="2"] .tile-value')) == sorted(
            ["✗ failed", "? inconclusive"]
        )
        assert await texts(tab, '[data-panel-id="3"] .dial-value') == ["87.0%"]
        assert await texts(tab, '[data-panel-id="4"] .bar-value') == [
            "7.82 GiB", "11.7 GiB", "3.91 GiB",
        ]  # fmt: skip
        heads = await texts(tab, '[data-panel-id="10"] th')
        assert heads == ["Table", "Size", "Rows"]
        first = await texts(tab, '[data-panel-id="10"] tbody tr:first-child td')
        assert first == ["public.orders", "11.7 GiB", "3 Mil"]
        assert await texts(tab, '[data-panel-id="11"] th') == ["instance", "table", "Rows"]
        link = await tab.evaluate("document.querySelector('[data-panel-id=\"10\"] td a').href")
        assert link.startswith(f"{base}/d/scene-other?var-table=public.orders&from=")
        # What a board says is never HTML.
        assert await texts(tab, ".prose b") == []
        assert "<b>no HTML</b>" in "".join(await texts(tab, ".prose p"))
        assert await texts(tab, '[data-panel-id="13"] .badge') == ["● Firing", "◌ Pending"]
        nothing = await texts(tab, '[data-panel-id="14"] .nothing')
        assert nothing == ["No lookup was tried: is the probe configured?"]
        [failure] = await texts(tab, '[data-panel-id="15"] .failure')
        assert "parse error: unclosed left parenthesis" in failure
        assert await tab.evaluate("document.querySelector('[data-panel-id=\"17\"]')") is None
        await click(tab, ".row-title:last-of-type")
        await tab.wait_for("!!document.querySelector('[data-panel-id=\"17\"][data-state=ready]')")
        assert await texts(tab, '[data-panel-id="17"] .tile-value') != []


async def test_a_variable_asks_again_and_stands_in_the_address(scene: Scene, devtools: str) -> None:
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene)) as tab,
    ):
        before = len(tab.requested)
        await click(tab, f'[data-variable="instance"] input[value="{PLAIN}"]')
        assert sum("/query_range" in one for one in tab.requested[before:]) >= 6
        assert (await tab.evaluate(STATES))["5"] == ["ready", 1]
        assert await texts(tab, '[data-panel-id="5"] button.series') == [PLAIN]
        search = await tab.evaluate("location.search")
        assert urllib.parse.parse_qs(search[1:])["var-instance"] == [PLAIN]
        # Nothing chosen is all again.
        await click(tab, f'[data-variable="instance"] input[value="{PLAIN}"]')
        assert (await tab.evaluate(STATES))["5"] == ["ready", 2]


@pytest.mark.parametrize(
    ("variables", "drawn"),
    [
        ({"var-instance": "$__all"}, 2),
        ({"var-instance": "All"}, 2),
        ({"var-instance": HOSTILE}, 1),
        ({"var-instance": [HOSTILE, PLAIN]}, 2),
        ({"var-instance": ["d", ".*", "+", '"', "|", "\\", "(", "${job}", "\n"]}, 0),
        ({"var-job": 'x"} or vector(1) or up{job="'}, 0),
        ({"var-job": "phasegate", "var-note": '"|.+\\'}, 2),
    ],
)
async def test_hostile_values_choose_what_they_say_and_break_nothing(
    variables: dict[str, Any], drawn: int, scene: Scene, devtools: str
) -> None:
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene, viewPanel="panel-5", **variables)) as tab,
    ):
        found = await tab.evaluate(STATES)
        assert found == {"5": ["ready" if drawn else "empty", drawn]}
        assert tab.errors == []


async def test_the_address_is_kept_in_step(scene: Scene, devtools: str) -> None:
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, address(base, scene, **{"var-instance": PLAIN})) as tab,
    ):
        await click(tab, "#theme")
        assert await tab.evaluate("document.documentElement.dataset.theme") == "light"
        await click(tab, '[data-panel-id="5"] h3 a')
        assert list(await tab.evaluate(STATES)) == ["5"]
        [query] = await texts(tab, "#queries pre")
        assert f'instance=~"{PLAIN}"' in query
        assert "[120s]" in query
        box = await tab.evaluate(
            "(({x, y, width}) => [x, y, width])("
            "document.querySelector('svg.chart').getBoundingClientRect())"
        )
        left, top, width = box
        for x, kind in ((0.4, "mouseMoved"), (0.4, "mousePressed"), (0.6, "mouseMoved"),
                        (0.6, "mouseReleased")):  # fmt: skip
            await tab.point(left + width * x, top + 60, kind)
        await tab.wait_for(DRAWN)
        search = urllib.parse.parse_qs((await tab.evaluate("location.search"))[1:])
        assert search["theme"] == ["light"]
        assert search["viewPanel"] == ["panel-5"]
        zoomed = int(search["to"][0]) - int(search["from"][0])
        assert zoomed == pytest.approx(0.2 * 10_800_000, rel=0.15)
        await click(tab, '#range [data-from="now-15m"]')
        assert "Last 15 minutes" in (await texts(tab, "#range summary"))[0]
        await click(tab, "#toolbar button")
        assert len(await tab.evaluate(STATES)) > 10
        [other] = await tab.evaluate(
            "[...document.querySelectorAll('.board-link')].map((one) => one.href)"
        )
        asked = urllib.parse.urlsplit(other)
        assert asked.path == "/d/scene-other"
        kept = urllib.parse.parse_qs(asked.query)
        assert (kept["from"], kept["to"]) == (["now-15m"], ["now"])
        assert kept["var-instance"] == [PLAIN]
        assert kept["theme"] == ["light"]


async def test_a_prometheus_that_is_gone_is_told_on_every_panel(
    scene: Scene, devtools: str
) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    async with (
        previewing(gone) as base,
        looking_at(devtools, address(base, scene)) as tab,
    ):
        found = await tab.evaluate(STATES)
        assert {id for id, (state, _) in found.items() if state != "error"} == {"12"}
        told = await texts(tab, ".failure p")
        assert set(told) == {f"{gone} could not be reached: Connection refused"}
        assert len(await texts(tab, "#controls .warning .bubble")) == 3
        assert [one for one in tab.errors if "status of 502" not in one] == []


async def test_a_board_that_is_not_there_is_told(scene: Scene, devtools: str) -> None:
    until = "document.documentElement.dataset.state === 'error'"
    async with (
        previewing(scene.prometheus) as base,
        looking_at(devtools, f"{base}/d/none", until=until) as tab,
    ):
        assert "there are: scene, scene-other" in (await texts(tab, ".failure"))[0]


async def test_pictures_are_written(scene: Scene, devtools: str, tmp_path: Path) -> None:
    times = f"from={scene.end - 10_800}000&to={scene.end}000"
    small = Picture(f"scene?{times}&viewPanel=1", tmp_path / "a.png", width=400, height=300)
    whole = Picture(f"scene?{times}", tmp_path / "b.png", height=0, theme="light")
    async with previewing(scene.prometheus) as base:
        await take_pictures(base, [small, whole])
    assert read_size(small.file) == (400, 300)
    width, height = read_size(whole.file)
    assert width == 1280
    assert 1300 < height < 1600


def read_size(file: Path) -> tuple[int, int]:
    """Of a PNG, by its first chunk."""
    head = file.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
