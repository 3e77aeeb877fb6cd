"""Alerts over HTTP: each kind of answer of a Prometheus or an Alertmanager has its one verdict."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phasegate.servers.ports import free_port
from tests.fixtures.answers import Answering, answering
from tests.fixtures.issues import Judge, make_judge

MATCH = {"alertname": "Customer.*", "team": "shop"}


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering(Answering(status=200, body=b"[]")) as answer:
        yield answer


@pytest.fixture
def judge(server: Answering, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    given = make_judge(tmp_path, capsys)

    def judge_now(issues: object, *arguments: str) -> tuple[int, dict[str, Any]]:
        server.pages = {path: at_last(page) for path, page in server.pages.items()}
        return given(issues, *arguments)

    return judge_now


def moment(seconds: int = 0) -> str:
    """So many seconds from when it is judged: tables of tests are made long before that."""
    return f"@{seconds}@"


def at_last(page: bytes) -> bytes:
    def write(found: re.Match[bytes]) -> bytes:
        then = time.gmtime(time.time() + int(found[1]))
        return time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", then).encode()

    return re.sub(rb"@(-?\d+)@", write, page)


def fired(name: str = "CustomerErrors", state: str = "firing", **labels: str) -> dict[str, Any]:
    labels = {"alertname": name, "team": "shop"} | labels
    return {"labels": labels, "annotations": {}, "state": state, "activeAt": moment(), "value": "1"}


def rule(name: str = "CustomerErrors", **keys: Any) -> dict[str, Any]:
    given = {"name": name, "type": "alerting", "health": "ok", "labels": {"team": "shop"}}
    return given | {"query": "up == 0", "lastEvaluation": moment(-5), "alerts": []} | keys


DOG = fired("Watchdog", team="")


def told(data: Any, **keys: Any) -> bytes:
    return json.dumps({"status": "success", "data": data} | keys).encode()


def prometheus(server: Answering, *alerts: Any, rules: Any = None, **keys: Any) -> dict[str, Any]:
    """Lets the server answer so; the settings that ask it."""
    found = [rule(), rule("Watchdog", labels={})] if rules is None else rules
    groups = [{"name": "g", "file": "f", "interval": 15, "rules": found}]
    server.pages = {
        "/api/v1/alerts": told({"alerts": list(alerts)}),
        "/api/v1/rules": told({"groups": groups}),
    }
    return asking(server, **keys)


def asking(server: Answering, **keys: Any) -> dict[str, Any]:
    return {"alerts": [{"name": "prod", "url": f"{server.url}/", "match": MATCH} | keys]}


def managed(name: str = "CustomerErrors", state: str = "active", **keys: Any) -> dict[str, Any]:
    status = {"state": state, "silencedBy": [], "inhibitedBy": []} | keys
    labels = {"alertname": name, "team": "shop"}
    times = {"startsAt": moment(-60), "updatedAt": moment(), "endsAt": moment(60)}
    return {"labels": labels, "status": status, "receivers": [], "fingerprint": "f"} | times


def alertmanager(server: Answering, *alerts: Any, silences: Any = ()) -> dict[str, Any]:
    server.pages = {
        "/api/v2/alerts": json.dumps(alerts).encode(),
        "/api/v2/silences": json.dumps(list(silences)).encode(),
    }
    return asking(server, api="alertmanager")


LIVING = managed("Watchdog")
SILENCE = {"id": "s-1", "createdBy": "bob", "comment": "noise", "endsAt": "2030-01-01T00:00:00Z"}
ALERTS = [
    pytest.param((DOG,), None, 0, "no issue known to alerts prod", id="quiet"),
    pytest.param((DOG, fired()), None, 1, "CustomerErrors{team=shop} fires since 2", id="firing"),
    pytest.param((DOG, fired(state="pending")), None, 0, "no issue", id="pending"),
    pytest.param((DOG, fired(state="inactive")), None, 0, "no issue", id="inactive"),
    pytest.param((DOG, fired(team="ops")), None, 0, "no issue", id="of another team"),
    pytest.param((DOG, fired("Disk")), None, 0, "no issue", id="another alert"),
    pytest.param((), None, 3, "Watchdog, which always fires, is missing", id="no watchdog"),
    pytest.param((fired(),), None, 1, "fires", id="no watchdog and firing"),
    pytest.param((fired("Watchdog", "pending"),), None, 3, "is missing", id="a pending watchdog"),
    pytest.param((DOG,), [], 3, "no alerting rule can match", id="no rules"),
    pytest.param((DOG,), [rule("Watchdog")], 3, "no alerting rule", id="the watchdog's rule"),
    pytest.param((DOG,), [rule("Disk")], 3, "no alerting rule", id="another rule"),
    pytest.param((DOG,), [rule(type="recording")], 3, "no alerting rule", id="a recording rule"),
    pytest.param(
        (DOG,), [rule(labels={"team": "ops"})], 3, "no alerting rule", id="a rule of another team"
    ),
    pytest.param(
        (DOG,), [rule(labels={})], 3, "no rule sets the label team", id="labels of series"
    ),
    pytest.param(
        (DOG,), [rule(), rule(health="err", lastError="boom")], 3, "boom", id="a sick rule"
    ),
    pytest.param((DOG,), [rule(health="unknown")], 3, "health unknown", id="an unknown rule"),
    pytest.param(
        (DOG,), [rule(lastEvaluation=moment(-900))], 3, "last evaluated 90", id="a rule at rest"
    ),
    pytest.param(
        (DOG,),
        [rule(lastEvaluation="0001-01-01T00:00:00Z")],
        *(3, "last evaluated never"),
        id="a rule that never ran",
    ),
    pytest.param((DOG,), [rule(lastEvaluation="soon")], 3, "never", id="evaluated at no time"),
    pytest.param((DOG, fired(state="odd")), None, 4, "state 'odd'", id="an unknown state"),
    pytest.param((DOG, {"labels": {}}), None, 4, "not what was exp", id="an alert without state"),
    pytest.param((DOG,), [{"name": "x"}], 4, "not what was expected", id="a rule without type"),
    pytest.param(
        (DOG, fired(password="canary", note="\u202e\n" + "x" * 900)),
        *(None, 1, "CustomerErrors{note="),
        id="hostile labels",
    ),
]


@pytest.mark.parametrize(("alerts", "rules", "expected", "said"), ALERTS)
def test_alerts_of_a_prometheus(
    alerts: tuple[Any, ...],
    rules: Any,
    expected: int,
    said: str,
    *,
    server: Answering,
    judge: Judge,
) -> None:
    code, found = judge(prometheus(server, *alerts, rules=rules))
    assert (code, said in found["reason"]) == (expected, True), found["reason"]
    assert found["reason"].isprintable()
    assert len(found["reason"]) < 500
    assert "canary" not in found["reason"]


ENVELOPES = [
    pytest.param(told({"alerts": [DOG]}, warnings=["partial"]), 3, "it warns: partial", id="warn"),
    pytest.param(told({"alerts": [DOG]}, warnings=[], infos=["x"]), 0, "no issue", id="infos"),
    pytest.param(told(None, status="error", error="down"), 4, "'error': down", id="error"),
    pytest.param(told(None), 4, "not what was expected", id="no data"),
    pytest.param(told({}), 4, "not what was expected", id="no alerts"),
    pytest.param(told([]), 4, "not what was expected", id="a list"),
    pytest.param(told({"alerts": None}), 4, "not what was expected", id="null"),
    pytest.param(b"{}", 4, "not what was expected", id="no status"),
    pytest.param(b"", 4, "not what was expected", id="empty"),
    pytest.param(told({"alerts": [DOG]})[:-9], 4, "not what was expected", id="truncated"),
    pytest.param(b"<html>", 4, "not what was expected", id="html that says it is json"),
]


@pytest.mark.parametrize(("body", "expected", "said"), ENVELOPES)
def test_what_is_around_the_alerts(
    body: bytes, expected: int, said: str, server: Answering, judge: Judge
) -> None:
    settings = prometheus(server)
    server.pages["/api/v1/alerts"] = body
    code, found = judge(settings)
    assert (code, said in found["reason"]) == (expected, True), found["reason"]


def test_warnings_and_errors_of_the_rules_count_too(server: Answering, judge: Judge) -> None:
    settings = prometheus(server, DOG)
    groups = {"groups": [{"interval": 15, "rules": [rule()]}]}
    for body, expected in (
        (told(groups), 0),
        (told(groups, warnings=["x"]), 3),
        (told({"groups": []}), 3),
        (b"no", 4),
    ):
        server.pages["/api/v1/rules"] = body
        assert judge(settings)[0] == expected


MANAGED = [
    pytest.param((LIVING,), (), 0, "no issue", id="quiet"),
    pytest.param((LIVING, managed()), (), 1, "fires since", id="active"),
    pytest.param((LIVING, managed(state="unprocessed")), (), 1, "fires", id="unprocessed"),
    pytest.param((LIVING, managed("Disk")), (), 0, "no issue", id="another alert"),
    pytest.param((), (), 3, "is missing", id="no watchdog"),
    pytest.param(
        (managed("Watchdog", "suppressed", silencedBy=["s-1"]),), (), 0, "no iss", id="silenced dog"
    ),
    pytest.param((LIVING | {"updatedAt": moment(-600)},), (), 3, "last sent 60", id="an old dog"),
    pytest.param((LIVING | {"updatedAt": ""},), (), 3, "last sent never", id="a timeless dog"),
    pytest.param(
        (LIVING, managed(state="suppressed", silencedBy=["s-1"])),
        (SILENCE,),
        *(3, "silenced by s-1 of bob until 2030-01-01T00:00:00Z (noise)"),
        id="silenced",
    ),
    pytest.param(
        (LIVING, managed(state="suppressed", silencedBy=["s-2"])),
        (SILENCE,),
        *(3, "CustomerErrors{team=shop} is silenced by s-2"),
        id="silenced by nobody known",
    ),
    pytest.param(
        (LIVING, managed(state="suppressed", inhibitedBy=["f0"])),
        *((), 3, "inhibited by the alert f0"),
        id="inhibited",
    ),
    pytest.param(
        (LIVING, managed(state="suppressed", mutedBy=["nights"])), (), 3, "muted by n", id="muted"
    ),
    pytest.param(
        (LIVING, managed("Disk", "suppressed", silencedBy=["s-1"])),
        *((), 0, "no issue"),
        id="another one silenced",
    ),
    pytest.param((LIVING, managed(state="odd")), (), 4, "state 'odd'", id="an unknown state"),
    pytest.param((LIVING, {}), (), 4, "not what was expected", id="no alert"),
]


@pytest.mark.parametrize(("alerts", "silences", "expected", "said"), MANAGED)
def test_alerts_of_an_alertmanager(
    alerts: tuple[Any, ...],
    silences: tuple[Any, ...],
    expected: int,
    said: str,
    *,
    server: Answering,
    judge: Judge,
) -> None:
    code, found = judge(alertmanager(server, *alerts, silences=silences))
    assert (code, said in found["reason"]) == (expected, True), found["reason"]


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        pytest.param({"status": 500}, "status 500", id="500"),
        pytest.param({"status": 401}, "refuses these credentials", id="401"),
        pytest.param({"status": 302}, "leads elsewhere", id="redirect"),
        pytest.param({"headers": {"Content-Type": "text/html"}}, "expected JSON", id="html"),
        pytest.param({"declared": 900_000}, "ends in the middle", id="cut"),
    ],
)
@pytest.mark.parametrize("make", [prometheus, alertmanager])
def test_what_is_no_answer_is_an_error(
    make: Any, spoiled: dict[str, Any], said: str, server: Answering, judge: Judge
) -> None:
    settings = make(server)
    for name, value in spoiled.items():
        setattr(server, name, value)
    code, found = judge(settings)
    assert (code, bool(re.search(said, found["reason"]))) == (4, True), found["reason"]
    assert found["reason"].startswith("alerts prod: ")


def test_an_alertmanager_is_no_prometheus(server: Answering, judge: Judge) -> None:
    alertmanager(server, LIVING)
    code, found = judge(asking(server))
    assert (code, "not what was expected" in found["reason"]) == (4, True)


def test_one_that_does_not_answer_hides_no_firing_one(server: Answering, judge: Judge) -> None:
    [good] = prometheus(server, DOG)["alerts"]
    gone = good | {"name": "gone", "url": f"http://127.0.0.1:{free_port()}"}
    assert judge({"alerts": [gone, good]})[0] == 4
    [bad] = prometheus(server, DOG, fired())["alerts"]
    assert judge({"alerts": [gone, bad]})[0] == 1


def test_the_watchdog_has_the_name_that_is_configured_and_is_no_issue(
    server: Answering, judge: Judge
) -> None:
    match = {"team": "shop"}
    alive = fired("Alive")
    assert judge(prometheus(server, alive, watchdog="Alive", match=match))[0] == 0
    assert judge(prometheus(server, alive, match=match))[0] == 1
    # Its own rule could match, and is no rule that tells of an issue.
    only = [rule("Alive", labels={})]
    code, found = judge(prometheus(server, alive, rules=only, watchdog="Alive", match=match))
    assert (code, "no alerting rule can match" in found["reason"]) == (3, True)


def test_tenants_and_tokens_are_sent_and_kept_nowhere(
    server: Answering, judge: Judge, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("canary-token")
    keys = {"headers": {"X-Scope-OrgID": "canary-tenant"}, "bearer_file": "token"}
    kept = tmp_path / "kept.json"
    settings = prometheus(server, DOG, fired(echo="canary-tenant"), **keys)
    first = judge(settings, "--save-evidence", str(kept))
    assert first[0] == 1
    sent = [(path, headers["X-Scope-OrgID"]) for path, headers in server.asked]
    assert sent == [
        ("/api/v1/alerts", "canary-tenant"),
        ("/api/v1/rules?type=alert", "canary-tenant"),
    ]
    assert "canary" not in kept.read_text() + json.dumps(first)
    server.status = 500
    assert judge(settings, "--evidence", str(kept)) == first
    assert judge(prometheus(server, match={"team": "x"}), "--evidence", str(kept))[0] == 2


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"match": {}}, "every alert would match", id="no matcher"),
        pytest.param({"match": {"team": "("}}, "match.team", id="no expression"),
        pytest.param({"match": {"a-b": "x"}}, "a label", id="no label"),
        pytest.param({"api": "grafana"}, "prometheus, alertmanager", id="another api"),
        pytest.param({"watchdog": ""}, "the name of an alert", id="no watchdog"),
        pytest.param({"silences": True}, "unknown key", id="an unknown key"),
        pytest.param({"name": None}, "issues.alerts[0].name", id="no name"),
    ],
)
def test_settings_that_could_not_be_meant_are_refused(
    keys: dict[str, Any], said: str, server: Answering, judge: Judge
) -> None:
    code, found = judge(asking(server, **keys))
    assert (code, said in found["reason"]) == (2, True), found["reason"]
