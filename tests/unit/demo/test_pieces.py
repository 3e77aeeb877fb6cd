"""The demo's smaller parts: its SQL, its configuration, its users, its plain screen."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from phasegate.contract.settings_load import load_settings
from phasegate.demo.config import Places, render_config
from phasegate.demo.screen import Screen, TerminalScreen
from phasegate.demo.sql_steps import read_steps
from phasegate.demo.traffic import BUSY_USERS, MIX, plan_requests


def test_steps_hold_all_statements_of_the_file() -> None:
    steps = read_steps("legacy")
    assert len(steps) > 5
    assert len({step.title for step in steps}) == len(steps)
    assert all(step.sql.endswith(";") for step in steps)
    file = Path(__file__).parents[3] / "demo" / "sql" / "legacy.sql"
    assert file.read_text("utf-8").count("\n-- step:") == len(steps)


def test_configuration_is_valid_and_holds_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "phasegate.yaml"
    file.write_text(
        render_config(Places("http://127.0.0.1:61234", "http://127.0.0.1:61235", "demo:perm:")),
        "utf-8",
    )
    environ = {
        "DATABASE_URL": "postgresql://exporter:canary@127.0.0.1:61000/mono",
        "REDIS_URL": "redis://127.0.0.1:61001/0",
    }
    settings = load_settings(file, environ)
    assert settings.environment == "demo"
    assert settings.cache is not None
    assert settings.cache.key_pattern == "demo:perm:*"
    assert [lookup.query_type for lookup in settings.lookups] == ["permission_check"]
    assert settings.application is not None
    assert settings.application.metrics_url == "http://127.0.0.1:61234/metrics"
    assert "canary" not in file.read_text("utf-8")


KEYS = [f"key{number}" for number in range(1000)]


def test_traffic_is_a_function_of_its_seed() -> None:
    first, again, other = (list(islice(plan_requests(seed, KEYS), 500)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_traffic_keeps_its_mix_and_asks_mostly_for_few() -> None:
    requests = list(islice(plan_requests(7, KEYS), 20_000))
    deck = sum(MIX.values())
    for start in range(0, 20_000, deck):
        assert Counter(request.kind for request in requests[start : start + deck]) == MIX
    busy = {f"/users/{key}/permissions" for key in KEYS[:BUSY_USERS]}
    checks = [request.path for request in requests if request.kind == "check"]
    assert 0.96 < sum(path in busy for path in checks) / len(checks) < 0.98


def test_no_two_streams_insert_the_same_user() -> None:
    streams = [islice(plan_requests(seed, KEYS), 3_000) for seed in (1, 2, 11)]
    made = [request.body for stream in streams for request in stream if request.kind == "insert"]
    assert len({body["email"] for body in made if body}) == len(made) == 180


def test_plain_screen_prints_a_line_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    with screen.measuring("before") as show:
        show(1.2, 12, {"id lookup P95": "1 ms", "targets": "up"})
    screen.compare({"targets": ("up", "DOWN: cache")})
    screen.summarise("What it means", ["much"])
    assert capsys.readouterr().out.splitlines() == [
        "  before   1/12 s | id lookup P95 1 ms | targets up",
        "           before  after",
        "  targets  up      DOWN: cache",
        "",
        "What it means",
        "  - much",
    ]


def test_terminal_screen_shows_the_same_words(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalScreen().measuring("before") as show:
        show(1.2, 12, {"id lookup P95": "1 ms of 5 probes"})
    shown = capsys.readouterr().out
    assert "before  1 of 12 s" in shown
    assert "1 ms of 5 probes" in shown
