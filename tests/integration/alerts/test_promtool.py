"""Every alert is proved by promtool on series with the names and labels of a real exposition: it
fires, is silent just below its limit and without data, goes on for a while, and resolves."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate.alerts.model import Alert
from phasegate.alerts.rules import make_group, make_labels
from phasegate.contract.settings import Settings
from tests.fixtures.exposition import Exposed
from tests.fixtures.history import INSTANCE, JOB
from tests.integration.alerts.scenes import SCENES, Scene
from tests.integration.alerts.unit_tests import MORE, Case, Fired, only, place, run_cases

SETTINGS = Settings()
GROUP = make_group(SETTINGS)
ALWAYS = "Watchdog"
# What the exposition's own migration has: somebody accepted a criterion.
IN_ORDER = {ALWAYS, "GateOverridden"}
LEAD_SECONDS = 600.0
"""In order, before anything goes wrong, besides what the expression looks back over."""
SLACK_SECONDS = 120.0
TESTS = BAD, ALMOST, NOTHING = ("bad", "almost bad", "no data")
BROKEN = ("<no value>", "()", "[]", "NaN", "{{", "<error", "=&", "%!")
ALERTS = {(one.name, one.severity): one for one in GROUP.alerts if one.name != ALWAYS}
PROVED = [
    pytest.param(ALERTS[key], scene, id=f"{key[0]}-{key[1]}-{number}")
    for key, scenes in SCENES.items()
    if key in ALERTS
    for number, scene in enumerate(scenes, 1)
]


def test_every_alert_has_a_scene_and_no_scene_is_left_over() -> None:
    assert len(ALERTS) == len(GROUP.alerts) - 1
    assert set(SCENES) == set(ALERTS)


@pytest.mark.parametrize(("alert", "scene"), PROVED)
def test_it_fires_is_silent_below_and_without_data_and_resolves(
    alert: Alert, scene: Scene, exposed: Exposed, tmp_path: Path
) -> None:
    prove(alert, scene, exposed, tmp_path)


def prove(alert: Alert, scene: Scene, exposed: Exposed, folder: Path) -> None:
    """All that an alert owes to whom it wakes."""
    cases = make_cases(alert, scene)
    group = only(GROUP, alert.name, alert.severity)
    fired = run_cases(exposed, group, SETTINGS, cases, folder)
    seen = {test: sorted({one.second for one in fired if one.test == test}) for test in TESTS}
    [bad, _, nothing] = cases
    early, late, kept, over = bad.looks
    assert late in seen[BAD], "never fires"
    assert early not in seen[BAD], "fires before its time"
    assert (kept in seen[BAD]) is (alert.keep > 0), "does not go on"
    assert over not in seen[BAD], "does not resolve"
    assert seen[ALMOST] == [], "fires below its limit"
    assert seen[NOTHING] == (nothing.looks[-1:] if alert.absence else [])
    for one in fired:
        if (one.test, one.second) == (BAD, late):
            check_texts(alert, scene, one)


def make_cases(alert: Alert, scene: Scene) -> list[Case]:
    """Bad and over again; almost as bad; no series at all."""
    begin = LEAD_SECONDS + scene.window
    end = begin + scene.window + alert.hold + SLACK_SECONDS
    over = end + scene.window + alert.keep + SLACK_SECONDS
    # One scrape late is what was bad last, and half a minute later the rule sees it.
    kept = end + max(alert.keep - 60, 0)
    looks = [begin + max(alert.hold - 30, 0), end, kept if alert.keep else end + 90, over]
    half = begin + (end - begin) / 2 // 30 * 30
    names, alone = [alert.name], alert.absence
    bad, almost = (place(one, begin, end, over) for one in (scene.bad, scene.almost))
    return [
        Case(BAD, over, looks, names, bad, scene.rest, alone),
        Case(ALMOST, over, [half, end, over], names, almost, scene.rest, alone),
        Case(NOTHING, end, [alert.hold / 2 // 30 * 30, end], names, None),
    ]


def check_texts(alert: Alert, scene: Scene, fired: Fired) -> None:
    """Labels and annotations are what somebody can act on at three in the morning."""
    own = make_labels(alert, SETTINGS)
    # What is absent has no labels but those that it was looked for by.
    where = {} if alert.absence else {"instance": INSTANCE, **MORE}
    assert fired.labels == {**scene.labels, "alertname": alert.name, "job": JOB, **where, **own}
    texts = fired.annotations
    assert scene.says in texts["summary"]
    for name in ("summary", "description", "runbook_url", "dashboard_url"):
        assert texts[name]
        assert not [part for part in BROKEN if part in texts[name]], texts[name]
        assert not texts[name].endswith("=")
    assert texts["runbook_url"].endswith(f"#{alert.name.lower()}")
    assert f"viewPanel={texts['__panelId__']}&" in texts["dashboard_url"]
    assert f"/d/{texts['__dashboardUid__']}/" in texts["dashboard_url"]


def test_in_order_nothing_wakes_anybody(exposed: Exposed, tmp_path: Path) -> None:
    names = sorted({one.name for one in GROUP.alerts})
    case = Case("rest", 7_200, [30, 600, 3_600, 7_200], names)
    fired = run_cases(exposed, GROUP, SETTINGS, [case], tmp_path)
    assert {one.alert for one in fired} == IN_ORDER


def test_the_watchdog_always_fires(exposed: Exposed, tmp_path: Path) -> None:
    group = only(GROUP, ALWAYS, "none")
    case = Case(NOTHING, 600, [0, 600], [ALWAYS], None)
    fired = run_cases(exposed, group, SETTINGS, [case], tmp_path)
    assert [one.second for one in fired] == [0, 600]
