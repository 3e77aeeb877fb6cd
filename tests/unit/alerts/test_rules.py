"""What every alert must have, whoever adds one."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from phasegate.alerts.model import Alert
from phasegate.alerts.rules import make_annotations, make_group, make_labels
from phasegate.contract.boards import BOARDS, PANELS
from phasegate.contract.criteria import CRITERIA, thresholds
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from tests.unit.alerts.expression_labels import Labels, find_labels

SETTINGS = Settings()
GROUP = make_group(SETTINGS)
RECORDED = {record.name: record.expression for record in GROUP.records}
SEVERITIES = {"critical", "warning", "info", "none"}
BARE = re.compile(r"{{ \$labels\.(\w+)[ |}]")
ANY = re.compile(r"\$labels\.(\w+)")
# What is bad there is a state that a figure goes with.
STATES = {"CacheCold", "ThresholdDrift"}
each = pytest.mark.parametrize(
    "alert", GROUP.alerts, ids=lambda alert: f"{alert.name}-{alert.severity}"
)


def test_each_name_is_there_once_a_severity() -> None:
    counted = Counter((one.name, one.severity) for one in GROUP.alerts)
    assert max(counted.values()) == 1
    assert {one.severity for one in GROUP.alerts} <= SEVERITIES


def test_the_guides_three_are_there_by_name() -> None:
    names = {one.name for one in GROUP.alerts}
    assert {"HighUUIDLookupLatency", "LowCacheHitRate", "HighAuditLogGrowth"} <= names
    assert [record.name for record in GROUP.records] == ["db_uuid_lookup_p95", "cache_hit_rate"]


def test_each_limit_of_a_criterion_that_alerts_has_its_alert() -> None:
    for name, criterion in CRITERIA.items():
        if criterion.alert is not None:
            wanted = set(thresholds(SETTINGS, name)) or {criterion.alert.severity}
            own = {one.severity for one in GROUP.alerts if one.name == criterion.alert.name}
            assert own == wanted


@each
def test_it_leads_to_a_runbook_and_a_panel(alert: Alert) -> None:
    board, panel = alert.panel
    assert panel in PANELS[board]
    texts = make_annotations(alert, SETTINGS)
    assert texts["runbook_url"].endswith(f"/{alert.page}/#{alert.name.lower()}")
    assert texts["__dashboardUid__"] == BOARDS[board].uid
    assert texts["__panelId__"] == str(PANELS[board][panel])
    assert texts["dashboard_url"].startswith(f"https://grafana.example/d/{BOARDS[board].uid}/")


@each
def test_its_summary_says_value_and_limit_or_a_state(alert: Alert) -> None:
    figure = "$value" in alert.summary
    limit = re.search(r"\((limit [^()]+|must be 0)\)", alert.summary) is not None
    assert figure is limit or alert.name in STATES
    assert alert.summary == alert.summary.strip()
    assert re.search(r"[.…]$", alert.description)


@each
def test_its_texts_name_labels_that_its_series_have(alert: Alert) -> None:
    check_texts(alert, find_labels(alert.expression, RECORDED))


def check_texts(alert: Alert, labels: Labels) -> None:
    """Fails on a label that no series has, or that is printed though some lack it."""
    for text in make_annotations(alert, SETTINGS).values():
        assert set(ANY.findall(text)) <= labels.possible, text
        assert set(BARE.findall(text)) <= labels.sure, text


@pytest.mark.parametrize("alert", GROUP.alerts, ids=lambda alert: f"{alert.name}-{alert.severity}")
def test_no_label_of_its_own_hides_one_that_tells_its_series_apart(alert: Alert) -> None:
    """A label of a rule replaces the series' own: two series become one, and Prometheus refuses to
    evaluate the rule."""
    labels = find_labels(alert.expression, RECORDED)
    assert not set(make_labels(alert, SETTINGS)) & labels.possible


@each
def test_one_exporter_is_told_from_another(alert: Alert) -> None:
    labels = find_labels(alert.expression, RECORDED)
    assert alert.absence or {"job", "instance"} <= labels.sure


def test_labels_and_team_of_the_configuration_are_on_every_alert() -> None:
    settings = Settings(monitoring=Monitoring(team="storage", labels={"service": "mono"}))
    for one in make_group(settings).alerts:
        labels = make_labels(one, settings)
        assert (labels["team"], labels["service"]) == ("storage", "mono")
        assert labels["severity"] == one.severity


def test_every_expression_selects_the_job_of_the_configuration() -> None:
    settings = Settings(monitoring=Monitoring(job='a "b"'))
    group = make_group(settings)
    expressions = [one.expression for one in group.records]
    for expression in expressions + [one.expression for one in group.alerts]:
        selectors = re.findall(r"\{[^{}]*\}", expression)
        assert [one for one in selectors if 'job="a \\"b\\""' not in one] == []


@pytest.mark.parametrize(
    ("expression", "sure", "possible"),
    [
        ("up < 1", "instance job", "instance job"),
        ('absent(up{job="x",a!="b"})', "job", "job"),
        ("phasegate_up or phasegate_health_up", "instance job", "check instance job target"),
        ("sum by (job) (phasegate_up)", "job", "job"),
        ("sum without (target) (phasegate_up) > 0", "instance job", "instance job"),
        ("time() - phasegate_migration_paused", "instance job", "instance job"),
        (
            "histogram_quantile(0.9, increase(db_query_duration_seconds_bucket[5m]))",
            "instance job query_type schema table",
            "instance job query_type schema table",
        ),
        ("phasegate_up and on (job) up", "instance job target", "instance job target"),
        ("phasegate_up - on (job) up", "job", "job"),
    ],
)
def test_labels_are_read_as_prometheus_gives_them(
    expression: str, sure: str, possible: str
) -> None:
    assert find_labels(expression, {}) == Labels(
        frozenset(sure.split()), frozenset(possible.split())
    )


@pytest.mark.parametrize("expression", ["phasegate_lag > 0", "phasegate_up / up"])
def test_what_can_never_fire_is_found(expression: str) -> None:
    with pytest.raises(AssertionError, match=r"nothing emits|has a partner"):
        find_labels(expression, {})
