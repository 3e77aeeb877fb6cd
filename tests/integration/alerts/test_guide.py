"""The guide's three queries and three alerts: its own PromQL finds our series, and each alert wakes
at the guide's limit and after the guide's time."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from phasegate.contract import metrics
from phasegate.contract.promql import CACHE_HIT_RATE, UUID_LOOKUP_P95
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import Change, ask
from tests.integration.alerts.scenes import LOG, SCENES
from tests.integration.alerts.test_promtool import (
    ALERTS,
    GROUP,
    LEAD_SECONDS,
    SETTINGS,
    prove,
)
from tests.integration.alerts.unit_tests import Case, only, place, run_cases

HOUR = 3_600.0
# To the letter.
LATENCY = (
    'histogram_quantile(0.95, rate(db_query_duration_seconds_bucket{query_type="uuid_lookup"}[5m]))'
)
HIT_RATE = "rate(cache_hits_total[5m]) / rate(cache_requests_total[5m])"
GROWTH = "rate(audit_logs_created_total[1h])"
PARTITIONS = 'pg_table_size_bytes{table=~"audit_logs_.*"}'
GROWN = "HighAuditLogGrowth"


def values(url: str, query: str) -> list[float]:
    """What the query finds: something, and only figures."""
    found = [value for _, value in ask(url, query)]
    assert found
    assert all(math.isfinite(value) for value in found)
    return found


def test_the_guides_latency_is_that_of_the_record(history_prometheus: str) -> None:
    [guide] = values(history_prometheus, LATENCY)
    [record] = [one for one in GROUP.records if one.name == UUID_LOOKUP_P95]
    [ours] = values(history_prometheus, record.expression)
    assert ours == pytest.approx(guide)
    assert 0.002 < guide < 0.005


def test_the_guides_hit_rate_is_that_of_the_record(history_prometheus: str) -> None:
    guide = values(history_prometheus, HIT_RATE)
    [record] = [one for one in GROUP.records if one.name == CACHE_HIT_RATE]
    [ours] = values(history_prometheus, record.expression)
    assert guide == pytest.approx([ours, ours])
    assert ours == pytest.approx(0.96)


@pytest.mark.parametrize(
    ("rows", "wakes"), [(9_999, []), (10_001, ["warning"]), (50_001, ["critical", "warning"])]
)
def test_growth_wakes_by_rows_an_hour(
    rows: float, wakes: list[str], exposed: Exposed, tmp_path: Path
) -> None:
    begin, end = LEAD_SECONDS, LEAD_SECONDS + HOUR + 420
    bad = place([Change(metrics.AUDIT_CREATED.name, rows / HOUR, LOG)], begin, end, end)
    case = Case("growth", end, [begin, end], [GROWN], bad)
    fired = run_cases(exposed, only(GROUP, GROWN), SETTINGS, [case], tmp_path)
    assert sorted((one.second, one.labels["severity"]) for one in fired) == [
        (end, severity) for severity in wakes
    ]


def test_the_guides_growth_is_by_the_second(history_prometheus: str) -> None:
    """Its limits are by the hour: as it stands in the guide it wakes nobody under ten thousand
    rows a second."""
    [guide] = values(history_prometheus, GROWTH)
    [hour] = values(history_prometheus, GROWTH.replace("rate", "increase"))
    assert guide == pytest.approx(hour / HOUR)


@pytest.mark.parametrize(
    ("key", "condition", "hold"),
    [
        (("HighUUIDLookupLatency", "critical"), f"{UUID_LOOKUP_P95}{{}} > 0.02", 300),
        (("LowCacheHitRate", "warning"), f"{CACHE_HIT_RATE}{{}} < 0.9", 600),
        (("AuditPartitionSize", "warning"), "pg_table_size_bytes{} > 10737418240", 1_800),
    ],
    ids=["HighUUIDLookupLatency", "LowCacheHitRate", "AuditPartitionSize"],
)
def test_the_guides_alert_fires_is_silent_below_and_resolves(
    key: tuple[str, str], condition: str, hold: float, exposed: Exposed, tmp_path: Path
) -> None:
    alert = ALERTS[key]
    assert alert.expression == condition.replace("{}", '{job="phasegate"}')
    assert alert.hold == hold
    for number, scene in enumerate(SCENES[key]):
        folder = tmp_path / str(number)
        folder.mkdir()
        prove(alert, scene, exposed, folder)


def test_the_guides_literal_selects_every_partition_of_ours(
    history_prometheus: str, exposed: Exposed
) -> None:
    found = {labels["table"] for labels, _ in ask(history_prometheus, PARTITIONS)}
    assert found == {line.labels["table"] for line in exposed.find(metrics.TABLE_SIZE.name)}
    assert len(found) > 2
    # And nothing else of the exporter's: the label is a table's name in other series too.
    assert {labels["parent"] for labels, _ in ask(history_prometheus, PARTITIONS)} == {"audit_logs"}
