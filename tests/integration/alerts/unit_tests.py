"""Unit tests of promtool, written from scenes, and what promtool says of them.

promtool prints what it got where something else was expected: so nothing is expected, and every
alert that fires is read with its labels and annotations, as Prometheus itself renders them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from phasegate.alerts.model import Group
from phasegate.alerts.spelling import spell_group, to_yaml
from phasegate.contract import metrics
from phasegate.contract.settings import Settings
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import INSTANCE, JOB, Change, Values, evolve, write_series
from tests.fixtures.presence import require_present

NEIGHBOUR = "127.0.0.1:9900"
MORE = {"cluster": "eu-1"}
"""As whoever scrapes several places adds it."""
SCRAPE_SECONDS, EVALUATION_SECONDS = 60.0, 30.0
_TEST = re.compile(r"name: (.*),$")
_MOMENT = re.compile(r"alertname: (\w+), time: (\w+),")
_PAIRS = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SECONDS = {"h": 3_600, "m": 60, "s": 1}


class Fired(NamedTuple):
    """One alert that fired in the test of that name, at that second."""

    test: str
    alert: str
    second: float
    labels: dict[str, str]
    annotations: dict[str, str]


class Case(NamedTuple):
    """Series over `seconds` and when to look for which alerts: none at all where `changes` is None.

    A second exporter on the same database is in order but for `rest`, unless it is `alone`.
    """

    name: str
    seconds: float
    looks: Sequence[float]
    alerts: Sequence[str]
    changes: Sequence[Change] | None = ()
    rest: Sequence[Change] = ()
    alone: bool = False


def run_cases(
    exposed: Exposed, group: Group, settings: Settings, cases: Sequence[Case], folder: Path
) -> list[Fired]:
    """Everything that fires when looked for; fails where promtool finds another fault."""
    program = shutil.which("promtool")
    require_present("promtool", program is not None)
    document = {"groups": [spell_group(group, settings)]}
    (folder / "rules.yml").write_text(to_yaml(document), encoding="utf-8")
    text = json.dumps(document)
    names = frozenset(metric.name for metric in metrics.METRICS if metric.name in text)
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{EVALUATION_SECONDS:.0f}s",
        "tests": [_write_case(exposed, case, names) for case in cases],
    }
    file = folder / "tests.yml"
    file.write_text(json.dumps(tests), encoding="utf-8")
    done = subprocess.run(
        [str(program), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    fired = list(_read(told))
    assert bool(fired) is (done.returncode != 0), told
    return fired


def only(group: Group, name: str, severity: str = "") -> Group:
    """The group with the alerts of that name alone, and what is recorded for them."""
    alerts = tuple(
        one for one in group.alerts if one.name == name and severity in ("", one.severity)
    )
    used = tuple(
        one for one in group.records if any(one.name in alert.expression for alert in alerts)
    )
    return msgspec.structs.replace(group, alerts=alerts, records=used)


def _write_case(exposed: Exposed, case: Case, names: frozenset[str]) -> dict[str, Any]:
    steps = int(case.seconds / SCRAPE_SECONDS) + 1
    times = [SCRAPE_SECONDS * step for step in range(steps)]
    exporters: dict[str, list[Change]] = {}
    if case.changes is not None:
        exporters[INSTANCE] = [*always(case.rest), *case.changes]
        if not case.alone:
            exporters[NEIGHBOUR] = always(case.rest)
    return {
        "name": case.name,
        "interval": f"{SCRAPE_SECONDS:.0f}s",
        "input_series": [
            {
                "series": write_series(
                    one.name, {**one.labels, "job": JOB, "instance": instance, **MORE}
                ),
                "values": " ".join(_spell(one.values)),
            }
            for instance, changes in exporters.items()
            for one in evolve(exposed, times, changes, names)
        ],
        "alert_rule_test": [
            {"eval_time": f"{look:.0f}s", "alertname": alert, "exp_alerts": []}
            for look in case.looks
            for alert in case.alerts
        ],
    }


def _spell(values: Values) -> Iterator[str]:
    """A series that ends is marked as stale, as Prometheus does."""
    before = None
    for value in values:
        if value is not None:
            yield repr(value)
        else:
            yield "_" if before is None else "stale"
        before = value


def _read(told: str) -> Iterator[Fired]:
    test = alert = ""
    second, labels = 0.0, dict[str, str]()
    for line in told.splitlines():
        if found := _TEST.search(line):
            test = found[1]
        elif found := _MOMENT.search(line):
            alert = found[1]
            parts = re.findall(r"(\d+)([hms])", found[2])
            second = float(sum(int(count) * _SECONDS[unit] for count, unit in parts))
        elif line.strip().startswith("Labels:{"):
            labels = _pairs(line)
        elif line.strip().startswith("Annotations:{"):
            yield Fired(test, alert, second, labels, _pairs(line))


def _pairs(line: str) -> dict[str, str]:
    return {key: json.loads(f'"{value}"') for key, value in _PAIRS.findall(line)}


def place(changes: Iterable[Change], begin: float, end: float, whole: float) -> list[Change]:
    """The changes between those seconds of a history of `whole` seconds."""
    return [
        one._replace(since=whole - begin, until=one.until if one.until < 0 else whole - end)
        for one in changes
    ]


def always(changes: Iterable[Change]) -> list[Change]:
    """The changes from the first scrape to the last."""
    return [one._replace(since=float("inf"), until=0.0) for one in changes]
