"""Lists that people sign: each kind of file has its one verdict, by the real command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.issues import Judge, make_judge

HOUR = 3_600.0
ISSUES = {"signoff": {"file": "signoff.yaml"}}


@pytest.fixture
def judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    return make_judge(tmp_path, capsys)


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def item(**keys: Any) -> dict[str, Any]:
    given = {"item": "inbox", "checked": True, "by": "ann", "at": moment(-HOUR)}
    return given | {"expires": moment(HOUR)} | keys


def write(folder: Path, *items: dict[str, Any]) -> None:
    (folder / "signoff.yaml").write_text(json.dumps(items))


def test_checked_open_expired_and_absent_are_0_1_3_and_4(tmp_path: Path, judge: Judge) -> None:
    assert judge(ISSUES)[0] == 4
    write(tmp_path, item())
    assert judge(ISSUES)[0] == 0
    write(tmp_path, item(), {"item": "calls", "checked": False})
    code, found = judge(ISSUES)
    assert (code, found["reason"]) == (1, "signoff: calls is open")
    write(tmp_path, item(expires=moment(-1)))
    code, found = judge(ISSUES)
    assert (code, "which is over" in found["reason"]) == (3, True)


def test_yaml_as_people_write_it(tmp_path: Path, judge: Judge) -> None:
    lines = f"- item: inbox read\n  checked: yes\n  by: Ann\n  at: {moment(-HOUR)}\n"
    (tmp_path / "signoff.yaml").write_text(lines + f"  expires: {moment(HOUR)}\n")
    assert judge(ISSUES)[0] == 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"by": None}, "found nothing", id="by nothing"),
        pytest.param({"by": ""}, "an empty text", id="by nobody"),
        pytest.param({"checked": "true"}, "true or false", id="checked by a text"),
        pytest.param({"checked": 1}, "true or false", id="checked by a number"),
        pytest.param({"checked": None}, "true or false", id="checked by nothing"),
        pytest.param({"at": "2026-01-01"}, "a time such as", id="a day"),
        pytest.param({"at": "2026-01-01T00:00:00"}, "a time such as", id="a time of no zone"),
        pytest.param({"at": "1767225600"}, "it has no date", id="unix seconds"),
        pytest.param({"at": "2026-13-01T00:00:00Z"}, "a time such as", id="a thirteenth month"),
        pytest.param({"expires": "never"}, "a time such as", id="for ever"),
        pytest.param({"check": True}, "unknown key", id="an unknown key"),
        pytest.param({"by": "${HOME}"}, "not set", id="a variable"),
    ],
)
def test_an_item_that_is_none_is_an_error(
    keys: dict[str, Any], said: str, tmp_path: Path, judge: Judge
) -> None:
    write(tmp_path, item(**keys))
    code, found = judge(ISSUES)
    assert (code, said in found["reason"]) == (4, True), found["reason"]
    assert "signoff.yaml:1:" in found["reason"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "signoff", id="empty"),
        pytest.param(b"[", "valid YAML", id="malformed"),
        pytest.param(b"{}", "a list of items", id="a mapping"),
        pytest.param(b"- a\n", "a mapping", id="a text"),
        pytest.param(b"\xff\xfe", "UTF-8", id="no text"),
        pytest.param(b"- {item: a, checked: true}\n---\n- {}\n", "", id="two documents"),
        pytest.param(b"- &a {item: a, checked: true}\n- *a\n", "", id="an alias"),
        pytest.param(b"- {item: a, checked: false, checked: true}", "the same key", id="twice"),
        pytest.param(b"#" * 2_000_000, "at most", id="huge"),
        pytest.param(b"[" * 50, "levels", id="deep"),
        pytest.param(b"- {item: a}\n", "checked", id="unchecked"),
    ],
)
def test_a_file_that_is_no_list_is_an_error(
    data: bytes, said: str, tmp_path: Path, judge: Judge
) -> None:
    (tmp_path / "signoff.yaml").write_bytes(data)
    code, found = judge(ISSUES)
    assert (code, said in found["reason"]) == (4, True), found["reason"]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        pytest.param([], "holds no item", id="empty"),
        pytest.param([item(), item()], "stands there 2 times", id="twice"),
        pytest.param([{"item": "a", "checked": True}], "by and at and expires", id="bare"),
        pytest.param([item(at=moment(HOUR), expires=moment(2 * HOUR))], "in the future", id="soon"),
    ],
)
def test_what_was_not_signed_well_decides_nothing(
    items: list[dict[str, Any]], said: str, tmp_path: Path, judge: Judge
) -> None:
    write(tmp_path, *items)
    code, found = judge(ISSUES)
    assert (code, said in found["reason"]) == (3, True), found["reason"]


def test_the_time_and_the_age_that_are_asked_for(tmp_path: Path, judge: Judge) -> None:
    write(tmp_path, item())
    assert judge(ISSUES, "--since", moment(-2 * HOUR))[0] == 0
    assert judge(ISSUES, "--since", moment(-HOUR / 2))[0] == 3
    assert judge(ISSUES, "--max-age", "2h")[0] == 0
    assert judge(ISSUES, "--max-age", "30m")[0] == 3


def test_required_items_and_the_file_of_a_replay(tmp_path: Path, judge: Judge) -> None:
    write(tmp_path, item())
    required = {"signoff": {"file": "signoff.yaml", "required": ["inbox", "calls"]}}
    code, found = judge(required)
    assert (code, "calls is required and not in the list" in found["reason"]) == (3, True)
    kept = str(tmp_path / "kept.json")
    first = judge(ISSUES, "--save-evidence", kept)
    (tmp_path / "signoff.yaml").unlink()
    assert judge(ISSUES, "--evidence", kept) == first
    assert first[0] == 0
    assert judge(required, "--evidence", kept)[0] == 2


def test_nothing_configured_names_the_keys(judge: Judge) -> None:
    code, found = judge({})
    assert (code, found["remedy"]) == (
        3,
        "it needs issues.alerts or issues.tracker or issues.signoff",
    )


def test_hostile_names_are_shown_as_one_plain_line(tmp_path: Path, judge: Judge) -> None:
    name = "\u009b31m\u202e ::error::x password=canary-4711" + "y" * 1_000
    write(tmp_path, {"item": name, "checked": False})
    code, found = judge(ISSUES)
    assert (code, found["reason"].isprintable(), len(found["reason"]) < 400) == (1, True, True)
    assert "canary" not in found["reason"]
