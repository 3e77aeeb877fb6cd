"""The example for Alertmanager: who is told of what, and what one notification keeps quiet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from phasegate.alerts.build import render_all
from phasegate.alerts.routes import COLLECTORS_OF
from phasegate.contract.built_files import write_files
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.exporter.app import make_targets
from phasegate.exporter.collectors import build_collectors
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.wiring import Wiring
from tests.fixtures.alertmanager import fetch_alerts, post_alerts, run_alertmanager
from tests.fixtures.dossiers import APPLICATION, CONFIG, make_settings
from tests.fixtures.programs import run_program

SHIPPED = Path(__file__).parents[3] / "alerts" / "alertmanager.yml"
PLACE = {"job": "phasegate", "instance": "a:9899"}
OTHER = {"job": "phasegate", "instance": "b:9899"}
USERS = {"schema": "public", "table": "users"}
AUDIT = "{table: public.audit_logs, category_column: category, watch: [{table: public.users}]}"
READER = "replicas: {reader: {url: postgresql://judge@reader.example/mono_prod}}"
EVERYTHING = (CONFIG + APPLICATION).replace("{table: public.audit_logs}", AUDIT)
EVERYTHING = EVERYTHING.replace("database:\n", f"database:\n  {READER}\n", 1)
CHAIN = ("on-call", "database-team", "platform-team", "incident-commander")


def route(config: Path, *labels: str) -> str:
    """The receivers of an alert with these labels, as amtool names them."""
    told = run_program("amtool", "config", "routes", "test", f"--config.file={config}", *labels)
    assert told.returncode == 0, told.stderr
    return told.stdout.strip()


def test_amtool_takes_the_example() -> None:
    checked = run_program("amtool", "check-config", SHIPPED)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_critical_alert_pages_and_the_chain_of_the_guide_is_in_the_example() -> None:
    assert route(SHIPPED, "severity=critical", "team=database") == "on-call,database-team"
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    receivers = {one["name"]: one for one in config["receivers"]}
    assert set(CHAIN) <= set(receivers)
    assert "pagerduty_configs" in receivers["on-call"]
    assert receivers["database-team"]["slack_configs"][0]["channel"] == "#database-team"
    assert receivers["platform-team"]["slack_configs"][0]["channel"] == "#platform-team"
    # Each level can be called by hand, whatever the alert.
    for level in CHAIN[1:]:
        assert route(SHIPPED, "severity=critical", f"escalation={level}") == level


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["severity=warning", "team=database"], "database-team"),
        (["severity=info", "team=database", "alertname=GateOverridden"], "database-team"),
        (["severity=none", "team=database", "alertname=Watchdog"], "heartbeat"),
        (
            ["severity=critical", "team=database", "alertname=ExporterDown"],
            "on-call,platform-team,database-team",
        ),
        (["severity=critical", "team=payments"], "platform-team"),
    ],
)
def test_only_what_is_critical_pages(labels: list[str], receivers: str) -> None:
    assert route(SHIPPED, *labels) == receivers


def test_no_secret_stands_in_the_example() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    for key in ("routing_key", "service_key", "api_url", "slack_api_url"):
        assert f"{key}:" not in text


def test_another_team_has_its_own_route_and_channel(tmp_path: Path) -> None:
    settings = Settings(monitoring=Monitoring(team="storage"))
    write_files(render_all(settings, ["alertmanager"]), tmp_path)
    config = tmp_path / "alertmanager.yml"
    assert route(config, "severity=critical", "team=storage") == "on-call,storage-team"
    assert "channel: '#storage-team'" in config.read_text(encoding="utf-8")


def test_what_fails_with_a_target_is_what_the_exporter_asks_it_with(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, EVERYTHING)
    targets = make_targets(settings)
    wiring = Wiring(settings, targets, Counters(), Histograms(), EvidenceStore())
    collectors = build_collectors(wiring)
    # These two find out whether their target is there, and so are run even where it is not.
    finders = {"database": {"identity"}, "cache": {"cache"}}
    for target, names in COLLECTORS_OF.items():
        asked = {one.name for one in collectors if one.target is targets[target]}
        assert asked | finders[target] == set(names)


def test_one_cause_is_told_once(tmp_path: Path) -> None:
    """Each alert with what keeps it quiet; None where it is told."""
    latency = {"alertname": "HighUUIDLookupLatency", **USERS}
    told: list[tuple[dict[str, str], str | None]] = [
        ({**latency, **PLACE, "severity": "critical"}, None),
        ({**latency, **PLACE, "severity": "warning"}, "HighUUIDLookupLatency"),
        # Another table, and the same table seen by another exporter.
        ({**latency, **PLACE, "table": "documents", "severity": "warning"}, None),
        ({**latency, **OTHER, "severity": "warning"}, None),
    ]
    assert judge(tmp_path / "same", told) == told
    gone = {"alertname": "ExporterDown", "severity": "critical"}
    told = [
        ({**gone, **OTHER}, None),
        ({**latency, **OTHER, "severity": "critical"}, "ExporterDown"),
        ({**latency, **PLACE, "severity": "critical"}, None),
        ({"alertname": "Watchdog", "severity": "none"}, None),
    ]
    assert judge(tmp_path / "gone", told) == told
    down = {"alertname": "TargetDown", "severity": "critical", **PLACE}
    failing = {"alertname": "CollectorFailing", "severity": "warning"}
    told = [
        ({**down, "target": "database"}, None),
        ({**down, "target": "reader"}, None),
        ({**latency, **PLACE, "severity": "critical"}, "TargetDown"),
        ({**failing, **PLACE, "collector": "schema"}, "TargetDown"),
        ({**failing, **PLACE, "collector": "cache"}, None),
        ({"alertname": "LowCacheHitRate", **PLACE, "severity": "critical"}, None),
        ({"alertname": "LockQueue", **OTHER, **USERS, "severity": "critical"}, None),
    ]
    assert judge(tmp_path / "down", told) == told


def judge(
    folder: Path, alerts: list[tuple[dict[str, str], str | None]]
) -> list[tuple[dict[str, str], str | None]]:
    """The same alerts with what a real Alertmanager says inhibits them, once it says what is
    expected: it hears of what inhibits some time after it has taken it."""
    folder.mkdir()
    with run_alertmanager(SHIPPED, folder) as url:
        post_alerts(url, [{"labels": labels} for labels, _ in alerts])
        for _ in range(50):
            found = _find_inhibitors(fetch_alerts(url), alerts)
            if found == alerts:
                break
            time.sleep(0.1)
    return found


def _find_inhibitors(
    known: list[dict[str, Any]], alerts: list[tuple[dict[str, str], str | None]]
) -> list[tuple[dict[str, str], str | None]]:
    names = {one["fingerprint"]: one["labels"]["alertname"] for one in known}

    def inhibitor(labels: dict[str, str]) -> str | None:
        (found,) = (one for one in known if one["labels"] == labels)
        by: list[Any] = found["status"]["inhibitedBy"]
        return names[by[0]] if by else None

    return [(labels, inhibitor(labels)) for labels, _ in alerts]
