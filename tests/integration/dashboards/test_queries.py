"""Everything that a board asks, of a real Prometheus that holds what a real exporter serves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from phasegate.contract import metrics
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.dashboards.build import render_boards
from tests.fixtures.boards import (
    ALL,
    MOST_POINTS,
    Answer,
    Asking,
    Sight,
    default_values,
    fetch_variables,
    interpolate,
    targets,
)
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import (
    HOUR,
    INSTANCE,
    JOB,
    Change,
    make_history,
    serve_history,
    write_series,
)

SCRAPE = 60.0
DAY = 24 * HOUR
BOARDS = {
    name: json.loads(text)
    for name, text in render_boards(Settings(monitoring=Monitoring(scrape_interval=SCRAPE))).items()
}
HOSTILE = ((), (".",), ("+",), ('"',), ("|",), (".", "+", '"', "|", "\\", "`x"[1:]))
"""What may be chosen of a variable: nothing, signs of an expression, several of them."""
ALERT = {"alertname": "LowCacheHitRate", "severity": "warning", "criterion": "cache_hit_rate"}


class Ground(NamedTuple):
    """A Prometheus with six hours in which everything happened that a panel shows."""

    asking: Asking
    now: float

    def sight(self, seconds: float, until: float | None = None) -> Sight:
        """The last so many seconds."""
        end = self.now if until is None else until
        return Sight(end - seconds, end, SCRAPE)


def make_text(exposed: Exposed, now: float, **more: Any) -> str:
    """History in which also the faults happened, and with what the rules would say of it."""
    faults = [Change(one.metric, max(one.value, 1.0), one.labels) for one in exposed.faulty]
    # What is there in order, too, and then is 0 or stands still.
    faults += [
        Change(metrics.COLLECTOR_ERRORS.name, 0.1),
        Change(metrics.CACHE_MEMORY_LIMIT.name, 2.0**28),
        Change(metrics.PARTITIONS_SKIPPED.name, 1),
    ]
    text = make_history(exposed, end=now, interval=SCRAPE, changes=faults, **more)
    instances = more.get("instances", (INSTANCE,))
    rows = []
    for instance in instances:
        labels = {**ALERT, "job": JOB, "instance": instance, **more.get("more", {})}
        since = now - HOUR
        for name, its, value in (
            ("ALERTS", {**labels, "alertstate": "firing"}, 1.0),
            ("ALERTS_FOR_STATE", labels, since),
        ):
            for back in range(60, -1, -1):
                rows.append(f"{write_series(name, its)} {value:.0f} {now - back * SCRAPE:.3f}")
    return text.replace("# EOF\n", "\n".join([*rows, "# EOF\n"]))


@pytest.fixture(scope="module")
def ground(exposed: Exposed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """One exporter."""
    now = float(int(time.time()))
    folder = tmp_path_factory.mktemp("boards")
    with serve_history(make_text(exposed, now), folder) as url, closing(Asking(url)) as asking:
        yield Ground(asking, now)


@pytest.fixture(scope="module")
def crowd(exposed: Exposed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Two exporters on one database, and a label more of everything."""
    now = float(int(time.time()))
    text = make_text(exposed, now, instances=("a:9899", "b:9899"), more={"cluster": "eu"})
    folder = tmp_path_factory.mktemp("crowd")
    with serve_history(text, folder) as url, closing(Asking(url)) as asking:
        yield Ground(asking, now)


def ask(
    ground: Ground,
    board: Mapping[str, Any],
    sight: Sight,
    values: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[tuple[str, Answer]]:
    """Every question of a board, by the panel's title and the question's letter."""
    variables = fetch_variables(board, ground.asking, sight)
    chosen = {**default_values(variables), **(values or {})}
    for panel, target in targets(board):
        step = sight.step(panel)
        expression = interpolate(target["expr"], variables, chosen, sight, step)
        answer = (
            ground.asking.at(expression, sight.end)
            if target["instant"]
            else ground.asking.over(expression, sight, step)
        )
        yield f"{panel['title']} {target['refId']}", answer


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
def test_every_question_has_an_answer_of_figures(ground: Ground, name: str) -> None:
    sight = ground.sight(6 * HOUR)
    bad = {
        place: answer.error or answer.series[:2]
        for place, answer in ask(ground, BOARDS[name], sight)
        if not answer.finite
    }
    assert bad == {}


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
def test_thirty_days_are_not_too_many_points(ground: Ground, name: str) -> None:
    board, sight = BOARDS[name], ground.sight(30 * DAY)
    points = {panel["title"]: (30 * DAY) / sight.step(panel) for panel, _ in targets(board)}
    assert max(points.values()) < MOST_POINTS
    bad = {place: answer.error for place, answer in ask(ground, board, sight) if answer.error}
    assert bad == {}


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("chosen", HOSTILE, ids=repr)
def test_no_choice_of_a_variable_breaks_a_question(
    ground: Ground, name: str, chosen: tuple[str, ...]
) -> None:
    board, sight = BOARDS[name], ground.sight(HOUR)
    names = [one["name"] for one in board["templating"]["list"] if one.get("multi")]
    bad = {
        place: answer.error
        for place, answer in ask(ground, board, sight, dict.fromkeys(names, chosen))
        if answer.error
    }
    assert bad == {}


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
def test_without_data_a_question_has_no_answer_and_no_error(ground: Ground, name: str) -> None:
    long_ago = ground.sight(HOUR, until=ground.now - 20 * DAY)
    bad = {
        place: answer
        for place, answer in ask(ground, BOARDS[name], long_ago)
        if answer.error or answer.series
    }
    assert bad == {}


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
def test_every_mark_stands_within_the_history(ground: Ground, name: str) -> None:
    sight = ground.sight(6 * HOUR)
    variables = fetch_variables(BOARDS[name], ground.asking, sight)
    for mark in BOARDS[name]["annotations"]["list"]:
        if mark.get("builtIn"):
            continue
        chosen = default_values(variables)
        expression = interpolate(mark["expr"], variables, chosen, sight, 60)
        answer = ground.asking.over(expression, sight, 60)
        assert answer.finite, (mark["name"], answer)
        if mark.get("useValueForTime"):
            moments = [value / 1000 for _, values in answer.series for value in values]
            assert sight.begin <= min(moments) <= max(moments) <= sight.end


@pytest.mark.xdist_group("boards")
def test_the_variables_know_what_is_there(ground: Ground) -> None:
    variables = fetch_variables(BOARDS["migration.json"], ground.asking, ground.sight(6 * HOUR))
    options = {
        name: [one["value"] for one in variable["options"]] for name, variable in variables.items()
    }
    assert options["job"] == [JOB]
    assert options["instance"] == [INSTANCE]
    assert len(options["database"]) == 1
    assert "users" in options["table"]
    assert ground.now - 6 * HOUR < float(options["began"][0]) < ground.now


@pytest.mark.xdist_group("boards")
def test_a_database_narrows_the_instances_and_one_that_is_down_narrows_none(
    ground: Ground,
) -> None:
    sight = ground.sight(HOUR)
    board = BOARDS["overview.json"]
    variables = fetch_variables(board, ground.asking, sight)
    [query] = [
        one["query"]["query"] for one in board["templating"]["list"] if one["name"] == "instance"
    ]

    def instances(database: str) -> int:
        chosen = {**default_values(variables), "database": (database,)}
        asked = interpolate(query, variables, chosen, sight)
        answer = ground.asking.at(asked.removeprefix("query_result(")[:-1], sight.end)
        assert not answer.error
        return len(answer.series)

    [here] = [one["value"] for one in variables["database"]["options"]]
    assert (instances(here), instances("another"), instances(ALL)) == (1, 0, 1)


@pytest.mark.xdist_group("boards")
@pytest.mark.parametrize("name", BOARDS)
def test_two_exporters_on_one_database_are_shown_once(
    crowd: Ground, ground: Ground, name: str
) -> None:
    """And no label more makes a question ambiguous."""
    of_each = {"exporter {{instance}}", "{{instance}}"}
    by_instance = {
        f"{panel['title']} {target['refId']}"
        for panel, target in targets(BOARDS[name])
        if target.get("legendFormat") in of_each or "instance)" in target["expr"]
    }
    one = dict(ask(ground, BOARDS[name], ground.sight(HOUR)))
    for place, answer in ask(crowd, BOARDS[name], crowd.sight(HOUR)):
        assert answer.finite, (place, answer)
        times = 2 if place in by_instance or place.startswith("Alerts A") else 1
        assert len(answer.series) == times * len(one[place].series), place
