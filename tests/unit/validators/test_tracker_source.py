"""Counts of trackers: each kind of answer has its one verdict, and only a count of none passes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from phasegate.servers.ports import free_port
from tests.fixtures.answers import Answering, answering
from tests.fixtures.issues import Judge, make_judge

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to" / "count-customer-issues.md"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering(Answering(body=b'{"total": 0}')) as answer:
        yield answer


@pytest.fixture
def judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    return make_judge(tmp_path, capsys)


def query(server: Answering, **keys: Any) -> dict[str, Any]:
    return {"tracker": [{"name": "desk", "url": f"{server.url}/q?a=b", "path": "total"} | keys]}


COUNTS = [
    pytest.param(b'{"total": 0}', "total", 0, id="none"),
    pytest.param(b'{"total": 2}', "total", 1, id="two"),
    pytest.param(b"[]", "@", 0, id="an empty list"),
    pytest.param(b'[{"open": false}]', "[?open]", 0, id="none of a list"),
    pytest.param(b'[{"open": true}]', "[?open]", 1, id="one of a list"),
    pytest.param(b'{"data": {"n": {"count": 0}}, "errors": []}', "data.n.count", 0, id="graphql"),
]
BAD = [
    pytest.param({"body": b'{"total": null}'}, "gives nothing", id="null"),
    pytest.param({"body": b'{"message": "Not found"}'}, "gives nothing", id="an error object"),
    pytest.param({"body": b"{}"}, "gives nothing", id="empty object"),
    pytest.param({"body": b'{"total": false}'}, "gives a bool", id="false"),
    pytest.param({"body": b'{"total": "0"}'}, "gives a str", id="text"),
    pytest.param({"body": b'{"total": 0.0}'}, "gives 0.0", id="a fraction"),
    pytest.param({"body": b'{"total": -1}'}, "gives -1", id="less than none"),
    pytest.param(
        {"body": b'{"total": 99999999999999999999}'}, "gives 99999999999999999999", id="huge"
    ),
    pytest.param({"body": b'{"total": {}}'}, "gives a dict", id="an object"),
    pytest.param({"body": b'{"total": NaN}'}, "not what was expected", id="NaN"),
    pytest.param({"body": b'{"total": Infinity}'}, "not what was expected", id="infinity"),
    pytest.param({"body": b'{"total": 1e999}'}, "not what was expected", id="beyond any number"),
    pytest.param({"body": b'{"total": 0'}, "not what was expected", id="truncated"),
    pytest.param({"body": b""}, "not what was expected", id="empty"),
    pytest.param({"body": b"\xff\xfe"}, "not what was expected", id="no text"),
    pytest.param({"body": b"[" * 100_000}, "not what was expected", id="deep"),
    pytest.param({"body": b'{"total": 0}', "declared": 90}, "ends in the middle", id="cut short"),
    pytest.param(
        {"body": b'{"total": 0, "errors": [{"message": "no"}]}'}, "holds errors", id="graphql error"
    ),
    pytest.param(
        {"body": b"<html>log in</html>", "headers": {"Content-Type": "text/html"}},
        "answered text/html, expected JSON",
        id="html",
    ),
    pytest.param({"headers": {}}, "expected JSON", id="no content type"),
    pytest.param({"status": 204, "body": b""}, "status 204", id="no content"),
    pytest.param(
        {"status": 302, "headers": JSON | {"Location": "/login"}}, "leads elsewhere", id="redirect"
    ),
    pytest.param({"status": 401}, "refuses these credentials", id="401"),
    pytest.param({"status": 403}, "refuses these credentials", id="403"),
    pytest.param({"status": 404}, "nothing is there", id="404"),
    pytest.param({"status": 500}, "status 500", id="500"),
    pytest.param({"status": 503}, "status 503", id="503"),
    pytest.param({"status": 429}, "too many requests$", id="429"),
    pytest.param(
        {"status": 429, "headers": JSON | {"Retry-After": "60"}}, "again in 60 s", id="429 after"
    ),
    pytest.param(
        {"status": 429, "headers": JSON | {"RateLimit-Reset": "30"}}, "again in 30 s", id="in 30 s"
    ),
    pytest.param(
        {
            "status": 403,
            "headers": JSON | {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000000"},
        },
        "too many requests; again at 2027-01-15T08:00:00Z",
        id="403 of a limit",
    ),
]
CUT_SHORT = [
    pytest.param({"headers": JSON | {"Link": '<x?page=2>; rel="next"'}}, "next page", id="link"),
    pytest.param({"headers": JSON | {"Link": "<x?page=2>; rel=next"}}, "next page", id="bare"),
    pytest.param({"headers": JSON | {"Link": '<x>; rel="last next"'}}, "next page", id="both"),
    pytest.param(
        {"body": b'{"total": 0, "d": [{"hasNextPage": true}]}'}, "next page", id="graphql"
    ),
    pytest.param(
        {"body": b'{"total": 0, "d": ' + b"[" * 900 + b"]" * 900 + b"}"}, "too deep", id="deep"
    ),
    pytest.param({"headers": JSON | {"X-Next-Page": "2"}}, "next page", id="gitlab"),
    pytest.param({"body": b'{"total": 0, "isLast": false}'}, "next page", id="jira"),
    pytest.param({"body": b'{"total": 0, "nextPageToken": "x"}'}, "next page", id="a token"),
    pytest.param(
        {"body": b'{"total": 0, "incomplete_results": true}'}, "gave up before", id="github"
    ),
]


@pytest.mark.parametrize(("body", "path", "code"), COUNTS)
def test_only_a_count_of_none_passes(
    body: bytes, path: str, code: int, server: Answering, judge: Judge
) -> None:
    server.body = body
    assert judge(query(server, path=path))[0] == code


@pytest.mark.parametrize(("spoiled", "said"), BAD)
def test_what_is_no_count_is_an_error(
    spoiled: dict[str, Any], said: str, server: Answering, judge: Judge
) -> None:
    for name, value in spoiled.items():
        setattr(server, name, value)
    code, found = judge(query(server))
    assert (code, found["verdict"]) == (4, "error")
    assert re.search(said, found["reason"]), found["reason"]
    assert found["reason"].startswith("tracker desk: ")


@pytest.mark.parametrize(("spoiled", "said"), CUT_SHORT)
def test_none_on_the_first_page_is_not_none(
    spoiled: dict[str, Any], said: str, server: Answering, judge: Judge
) -> None:
    for name, value in spoiled.items():
        setattr(server, name, value)
    code, found = judge(query(server))
    assert (code, said in found["reason"]) == (3, True)


def test_what_does_not_answer_is_an_error(server: Answering, judge: Judge) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    code, found = judge(query(server, url=url))
    assert (code, "cannot be reached" in found["reason"]) == (4, True)
    server.hang = True
    code, found = judge(query(server, timeout="200ms"))
    assert (code, "no whole answer within 0.2 s" in found["reason"]) == (4, True)


def test_one_query_that_fails_does_not_hide_what_another_counts(
    server: Answering, judge: Judge
) -> None:
    [good] = query(server)["tracker"]
    bad = good | {"name": "gone", "url": f"http://127.0.0.1:{free_port()}/"}
    assert judge({"tracker": [bad, good]})[0] == 4
    server.body = b'{"total": 1}'
    code, found = judge({"tracker": [bad, good]})
    assert (code, found["facts"]["sources"]) == (1, {"tracker desk": 1})


def test_what_is_posted_and_sent_and_never_told(
    server: Answering, judge: Judge, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("canary-bearer\n")
    keys = {
        "method": "POST",
        "body": '{"jql": "x"}',
        "headers": {"X-Key": "canary-header"},
        "bearer_file": "token",
    }
    kept = tmp_path / "kept.json"
    assert judge(query(server, **keys), "--save-evidence", str(kept))[0] == 0
    [(_, headers)] = server.asked
    assert (headers["X-Key"], headers["Authorization"]) == ("canary-header", "Bearer canary-bearer")
    assert (server.posted, headers["Content-Type"]) == ([b'{"jql": "x"}'], "application/json")
    assert "canary" not in kept.read_text()
    # Another header reaches the same answer, another query is another question.
    other = query(server, **keys | {"headers": {"X-Key": "canary-other"}})
    asked = len(server.asked)
    assert judge(other, "--evidence", str(kept))[0] == 0
    code, found = judge(query(server, **keys | {"path": "none"}), "--evidence", str(kept))
    assert (code, "another configuration" in found["reason"]) == (2, True)
    assert len(server.asked) == asked
    server.status = 401
    assert "canary" not in json.dumps(judge(query(server, **keys))[1])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param({"path": "a..b"}, "issues.tracker[0].path", id="no expression"),
        pytest.param({"path": "nofunction("}, "issues.tracker[0].path", id="an open bracket"),
        pytest.param({"body": "{}"}, "method: POST beside it", id="a body of a GET"),
        pytest.param({"method": "PUT"}, "one of GET, POST", id="another method"),
        pytest.param({"url": "ftp://x/"}, "issues.tracker[0].url", id="another scheme"),
        pytest.param({"headers": {"A": "b\r\nC: d"}}, "issues.tracker[0].headers.A", id="lines"),
        pytest.param({"paths": "x"}, "did you mean path?", id="an unknown key"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused(
    keys: dict[str, Any], said: str, server: Answering, judge: Judge
) -> None:
    code, found = judge(query(server, **keys))
    assert (code, said in found["reason"]) == (2, True), found["reason"]
    assert server.asked == []


def test_two_of_one_name_are_refused(server: Answering, judge: Judge) -> None:
    [one] = query(server)["tracker"]
    code, found = judge({"tracker": [one, one]})
    assert (code, "issues.tracker[1].name" in found["reason"]) == (2, True)


def test_a_function_of_the_wrong_kind_is_an_error(server: Answering, judge: Judge) -> None:
    server.body = b'{"issues": null}'
    code, found = judge(query(server, path="length(issues)"))
    assert (code, "length(issues)" in found["reason"]) == (4, True)


# The shapes that the documentation of each API gives, shortened to what its envelope holds.
RECORDED: dict[str, tuple[bytes, bytes]] = {
    "github": (
        b'{"total_count": 0, "incomplete_results": false, "items": []}',
        b'{"total_count": 280, "incomplete_results": false, "items": [{"id": 35802, "number": 132,'
        b' "state": "open", "labels": [{"name": "customer"}]}]}',
    ),
    "gitlab": (
        b'{"statistics": {"counts": {"all": 20, "closed": 20, "opened": 0}}}',
        b'{"statistics": {"counts": {"all": 20, "closed": 5, "opened": 15}}}',
    ),
    "jira": (b'{"count": 0}', b'{"count": 153}'),
    "jira-server": (
        b'{"startAt": 0, "maxResults": 0, "total": 0, "issues": []}',
        b'{"startAt": 0, "maxResults": 0, "total": 12, "issues": []}',
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_the_examples_of_the_how_to_read_what_each_tracker_answers(
    name: str, server: Answering, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("canary-token")
    blocks = re.findall(r"```yaml\n(.*?)```", HOW_TO.read_text(), re.S)
    text = next(text for text in blocks if f"name: {name}\n" in text)
    [example] = yaml.safe_load(re.sub(r"\$\{\w+\}", "canary-user", text))["issues"]["tracker"]
    example["url"] = re.sub(r"https://[^/]+", server.url, example["url"])
    if "bearer_file" in example:
        example["bearer_file"] = str(tmp_path / "token")
    if "basic_auth" in example:
        example["basic_auth"]["password_file"] = str(tmp_path / "token")
    for body, expected in zip(RECORDED[name], (0, 1), strict=True):
        server.body = body
        assert judge({"tracker": [example]})[0] == expected
    server.body = b'{"message": "Bad credentials"}'
    assert judge({"tracker": [example]})[0] == 4
