"""Customers' issues, judged: what each source may say, and the only verdict that is right."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from phasegate.contract.issues import (
    Alert,
    AlertAnswer,
    AlertRule,
    IssueAnswers,
    SignedItem,
    SignedList,
    TrackerAnswer,
    can_match,
    does_match,
    evaluate_issues,
)
from phasegate.contract.model import Judgement
from phasegate.contract.settings_issues import AlertSource, Issues, Signoff, TrackerQuery
from tests.fixtures.dossiers import NOW

MATCH = {"alertname": "Customer.*", "team": "shop"}
SOURCE = AlertSource(name="prom", url="http://127.0.0.1:9", match=MATCH)
QUERY = TrackerQuery(name="desk", url="http://127.0.0.1:9", path="total")
RULE = AlertRule("CustomerErrors", "ok", "", NOW - 10, 15.0, ("alertname", "team"))
DOG = Alert("Watchdog{}", "firing", NOW - 9_000)
QUIET = AlertAnswer("prom", (), (DOG,), (RULE,))
ITEM = SignedItem("inbox", True, "ann", NOW - 3_600, NOW + 3_600)
SIGNED = SignedList("signoff.yaml", "0" * 64, (ITEM,))
NONE = TrackerAnswer("desk", 0)
ALL = IssueAnswers((QUIET,), (NONE,), SIGNED)


def judge(
    answers: IssueAnswers = ALL,
    unreadable: tuple[str, ...] = (),
    *,
    required: tuple[str, ...] = (),
    **limits: float,
) -> Judgement:
    file: Any = "signoff.yaml"
    configured = Issues(
        alerts=(SOURCE,), tracker=(QUERY,), signoff=Signoff(file=file, required=required)
    )
    given = {"judged": NOW, "since": 0.0, "max_age": math.inf} | limits
    return evaluate_issues("customer_issues", answers, configured, unreadable, **given)


def alerting(**parts: Any) -> IssueAnswers:
    return replace(ALL, alerts=(replace(QUIET, **parts),))


def ruled(**parts: Any) -> IssueAnswers:
    return alerting(rules=(replace(RULE, **parts),))


def dogged(*dogs: Alert) -> IssueAnswers:
    return alerting(watchdogs=dogs)


def counted(count: int, **parts: Any) -> IssueAnswers:
    return replace(ALL, tracker=(TrackerAnswer("desk", count, **parts),))


def signed(**parts: Any) -> IssueAnswers:
    return replace(ALL, signoff=replace(SIGNED, items=(replace(ITEM, **parts),)))


def listed(*items: SignedItem) -> IssueAnswers:
    return replace(ALL, signoff=replace(SIGNED, items=items))


FIRING = Alert("CustomerErrors{team=shop}", "firing", NOW - 60)
SILENT = replace(FIRING, state="suppressed", suppressed_by=("silenced by 7 of bob",))
OPEN = SignedItem("calls", False)
CASES = [
    pytest.param(ALL, "passed", "alerts prom, tracker desk, signoff", id="none"),
    pytest.param(
        alerting(alerts=(FIRING,)),
        *("failed", "alerts prom: CustomerErrors{team=shop} fires since 2027-01-15T07:59:00Z"),
        id="firing",
    ),
    pytest.param(
        alerting(alerts=(replace(FIRING, state="pending"),)), "passed", "no issue", id="pending"
    ),
    pytest.param(
        alerting(alerts=(SILENT,)), "inconclusive", "is silenced by 7 of bob", id="silenced"
    ),
    pytest.param(
        alerting(alerts=(replace(SILENT, suppressed_by=()),)),
        *("inconclusive", "is suppressed"),
        id="suppressed by nobody known",
    ),
    pytest.param(alerting(alerts=(SILENT, FIRING)), "failed", "fires", id="silenced and firing"),
    pytest.param(dogged(), "inconclusive", "Watchdog, which always fires, is miss", id="no dog"),
    pytest.param(
        dogged(replace(DOG, state="pending")), "inconclusive", "is missing", id="a pending dog"
    ),
    pytest.param(
        dogged(replace(DOG, updated=NOW - 300)), "passed", "no issue", id="a dog sent in time"
    ),
    pytest.param(
        dogged(replace(DOG, updated=NOW - 301)),
        *("inconclusive", "last sent 301 s ago, not within 5m"),
        id="a dog that was sent long ago",
    ),
    pytest.param(
        dogged(replace(DOG, updated=NOW + 60)), "inconclusive", "60 s in the", id="a future dog"
    ),
    pytest.param(
        dogged(replace(DOG, updated=0.0)), "inconclusive", "last sent never", id="a timeless dog"
    ),
    pytest.param(
        dogged(replace(DOG, updated=NOW - 900), replace(DOG, updated=NOW)),
        *("passed", "no issue"),
        id="one of two dogs",
    ),
    pytest.param(
        alerting(warnings=("a store is gone",)), "inconclusive", "it warns: a store", id="warnings"
    ),
    pytest.param(alerting(rules=()), "inconclusive", "no alerting rule can match", id="no rule"),
    pytest.param(alerting(rules=None), "passed", "no issue", id="an alertmanager has no rules"),
    pytest.param(
        ruled(health="err", error="bad query"), "inconclusive", "err: bad query", id="a sick rule"
    ),
    pytest.param(ruled(health="unknown"), "inconclusive", "health unknown", id="an unknown rule"),
    pytest.param(ruled(health=""), "inconclusive", "health unknown", id="a rule without health"),
    pytest.param(ruled(evaluated=NOW - 120), "passed", "no issue", id="evaluated in time"),
    pytest.param(ruled(evaluated=NOW - 121), "inconclusive", "121 s ago", id="evaluated long ago"),
    pytest.param(
        ruled(evaluated=NOW - 121, interval=60.0), "passed", "no issue", id="a slow group"
    ),
    pytest.param(ruled(evaluated=0.0), "inconclusive", "evaluated never", id="never evaluated"),
    pytest.param(
        ruled(evaluated=NOW + 60), "inconclusive", "in the future", id="evaluated in the future"
    ),
    pytest.param(
        ruled(evaluated=math.nan), "inconclusive", "last evaluated", id="evaluated at no time"
    ),
    pytest.param(counted(3), "failed", "tracker desk: 3 open issues", id="counted"),
    pytest.param(counted(3, listed=True), "failed", "at least 3 open", id="listed"),
    pytest.param(
        counted(0, partial="there is a next page"),
        *("inconclusive", "none counted, but there is a next page"),
        id="none on the first page",
    ),
    pytest.param(listed(ITEM, OPEN), "failed", "signoff: calls is open", id="an open item"),
    pytest.param(listed(), "inconclusive", "the list holds no item", id="an empty list"),
    pytest.param(listed(ITEM, ITEM), "inconclusive", "inbox stands there 2 t", id="twice"),
    pytest.param(
        listed(ITEM, replace(ITEM, checked=False)), "failed", "inbox is open", id="open and checked"
    ),
    pytest.param(signed(by=""), "inconclusive", "without by", id="by nobody"),
    pytest.param(signed(at=None), "inconclusive", "without at", id="at no time"),
    pytest.param(signed(expires=None), "inconclusive", "without expires", id="for ever"),
    pytest.param(
        signed(expires=NOW), "inconclusive", "by ann until 2027-01-15T08:00:00Z", id="just expired"
    ),
    pytest.param(signed(expires=NOW + 0.1), "passed", "no issue", id="about to expire"),
    pytest.param(signed(at=NOW + 60), "inconclusive", "60 s in the future", id="a future time"),
    pytest.param(signed(at=math.nan), "inconclusive", "signed", id="signed at no number"),
    pytest.param(signed(expires=math.nan), "inconclusive", "no known time", id="until no number"),
    pytest.param(replace(ALL, alerts=()), "inconclusive", "prom: it was not", id="no alerts"),
    pytest.param(replace(ALL, tracker=()), "inconclusive", "desk: it was not asked", id="no query"),
    pytest.param(replace(ALL, signoff=None), "inconclusive", "signoff: it was", id="no list"),
    pytest.param(IssueAnswers(), "inconclusive", "was not asked", id="nothing"),
]


@pytest.mark.parametrize(("answers", "verdict", "said"), CASES)
def test_what_was_said_has_its_verdict(answers: IssueAnswers, verdict: str, said: str) -> None:
    found = judge(answers)
    assert (found.verdict, said in found.reason) == (verdict, True), found.reason
    assert bool(found.remedy) is (verdict != "passed")
    assert found.measured == sum(found.facts["sources"].values())


def test_an_issue_outranks_what_could_not_be_read_and_that_a_doubt() -> None:
    unread = ("tracker desk: status 500",)
    assert judge(alerting(alerts=(FIRING,)), unread).verdict == "failed"
    assert judge(replace(alerting(alerts=(SILENT,)), tracker=()), unread).verdict == "error"
    assert judge(replace(ALL, tracker=()), unread).reason == unread[0]


def test_a_sign_off_is_of_the_time_that_is_asked_about() -> None:
    assert judge(max_age=3_600.0).verdict == "passed"
    assert judge(max_age=3_599.0).verdict == "inconclusive"
    assert judge(since=NOW - 3_600).verdict == "passed"
    assert "before the time" in judge(since=NOW - 3_599).reason


def test_a_shorter_list_does_not_pass() -> None:
    assert judge(required=("inbox",)).verdict == "passed"
    found = judge(required=("inbox", "calls"))
    assert (found.verdict, "calls is required" in found.reason) == ("inconclusive", True)


def test_notes_say_what_limits_nothing() -> None:
    notes = judge(alerting(alerts=(replace(FIRING, state="pending"),))).facts["notes"]
    assert notes == ["alerts prom: CustomerErrors{team=shop} is pending since 2027-01-15T07:59:00Z"]
    [note] = judge(alerting(rules=None)).facts["notes"]
    assert "knows no rules" in note


def test_a_label_that_no_rule_sets_may_be_misspelt() -> None:
    found = judge(ruled(labels=("alertname",)))
    assert (found.verdict, "no rule sets the label team" in found.reason) == ("inconclusive", True)


def test_labels_match_whole_and_one_that_is_lacking_is_empty() -> None:
    assert does_match(MATCH, {"alertname": "CustomerErrors", "team": "shop"})
    assert not does_match(MATCH, {"alertname": "CustomerErrors", "team": "shopping"})
    assert not does_match(MATCH, {"alertname": "CustomerErrors"})
    assert does_match({"team": "|shop"}, {})


def test_a_rule_can_match_unless_its_own_labels_forbid_it() -> None:
    assert can_match(MATCH, "CustomerErrors", {"team": "shop"})
    assert can_match(MATCH, "CustomerErrors", {})
    assert can_match(MATCH, "CustomerErrors", {"team": "{{ $labels.owner }}"})
    assert not can_match(MATCH, "CustomerErrors", {"team": "ops"})
    assert not can_match(MATCH, "DiskFull", {"team": "shop"})
