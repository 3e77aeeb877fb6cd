"""The parts of `validate serve` that need no socket: questions, origins, tokens, shared looks."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from phasegate import cli
from phasegate.contract.errors import ConfigError, ConfigFault
from phasegate.contract.listening import is_loopback, parse_listen_address
from phasegate.contract.model import Verdict
from phasegate.validators.call import Call
from phasegate.validators.command import validate
from phasegate.validators.gate import assess
from phasegate.validators.serve import origins
from phasegate.validators.serve.access import read_token, shows_token
from phasegate.validators.serve.answers import describe, describe_refusal, describe_unbegun
from phasegate.validators.serve.application import Judge, tell_errors
from phasegate.validators.serve.looks import MOST, Looks, TooManyAsk
from phasegate.validators.serve.origins import IDLE_SECONDS, Origins
from phasegate.validators.serve.questions import BEFORE, DURING, read_hook, read_query
from phasegate.validators.verdict import Report
from tests.fixtures.dossiers import ONE_LOOK, make_dossier, make_settings


def hook(**parts: Any) -> bytes:
    return json.dumps({"name": "api", "namespace": "prod", "checksum": "c"} | parts).encode()


def test_every_question_is_judged_by_the_rule_for_many_looks(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    asked: list[Call] = []

    def look(call: Call) -> Report:
        asked.append(call)
        return assess(call.criteria, make_dossier(), settings, call.options)

    async def ask_all() -> None:
        judge = Judge(settings, (), look)
        for question in (
            read_query({"run": ["a"], "window": ["10m"]}),
            read_query({"since": ["1"], "criterion": ["health", "cache_hit_rate"]}),
            *(read_hook(kind, hook()) for kind in (*BEFORE, *DURING, "rollback")),
        ):
            assert await judge.judge(question) is not None

    asyncio.run(ask_all())
    assert len(asked) == 8
    assert all(call.options.anytime and call.options.since > 0 for call in asked)


async def test_a_configuration_that_only_its_use_shows_to_be_wrong_is_told() -> None:
    fault = ConfigFault("f", 0, 0, "issues.tracker[0].path", "found", "a JMESPath expression")

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise ConfigError((fault,))

    answer = await tell_errors(make_mocked_request("GET", "/"), refuse)
    assert answer.status == 503
    assert isinstance(answer, web.Response)
    told = json.loads(answer.text or "")
    assert (told["verdict"], told["passed"]) == ("error", False)
    assert "issues.tracker[0].path" in str(told)


def test_files_of_test_results_go_only_to_questions_that_judge_them(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    asked: list[Call] = []

    def look(call: Call) -> Report:
        asked.append(call)
        return assess(call.criteria, make_dossier(), settings, call.options)

    async def ask_all() -> None:
        judge = Judge(settings, ("*.xml",), look)
        await judge.judge(read_query({"since": ["1"], "criterion": ["health"]}))
        await judge.judge(read_query({"since": ["1"], "phase": ["schema"]}))

    asyncio.run(ask_all())
    assert ["integration_tests" in call.criteria for call in asked] == [False, True]


def test_hooks_before_and_during_the_analysis_have_origins_of_their_own() -> None:
    runs = {kind: read_hook(kind, hook()).run for kind in (*BEFORE, *DURING, "rollback")}
    assert len({runs[kind] for kind in BEFORE}) == 1
    assert len({runs[kind] for kind in (*DURING, "rollback")}) == 1
    assert runs["rollout"] != runs["confirm-rollout"]
    others = [hook(name="b"), hook(namespace="b"), hook(checksum="b"), hook(metadata={"run": "b"})]
    assert len({runs["rollout"], *(read_hook("rollout", one).run for one in others)}) == 4
    assert read_query({"run": ["c"]}).run not in runs.values()


def test_only_a_rollback_that_waits_begins_nothing() -> None:
    assert not read_hook("rollback", hook(phase="Waiting")).begins
    assert read_hook("rollback", hook(phase="Progressing")).begins
    assert read_hook("confirm-rollout", hook(phase="Waiting")).begins


def test_origins_are_kept_while_they_are_asked_about() -> None:
    known = Origins()
    assert known.find("a", 0.0) is None
    known.keep("a", 5.0, 10.0)
    assert known.find("a", 10.0 + IDLE_SECONDS - 1) == 5.0
    known.keep("a", 5.0, IDLE_SECONDS)
    assert known.find("a", 10.0 + IDLE_SECONDS) == 5.0
    assert known.find("a", 2 * IDLE_SECONDS) is None


def test_of_too_many_origins_the_longest_idle_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "MOST", 2)
    known = Origins()
    for now, run in enumerate("abac"):
        known.keep(run, 1.0, float(now))
    assert [known.find(run, 4.0) for run in "abc"] == [1.0, None, 1.0]


def test_no_token_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"  t\xc3\xb6ken \n")
    token = read_token(file)
    assert token == "töken".encode()
    assert shows_token("Bearer töken", token)
    assert shows_token("bearer  töken", token)
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer tö",
        "töken",
        "Basic",
        "Basic =",
        "Basic OnTDtg==",
    ):
        assert not shows_token(wrong, token)


def test_every_answer_has_the_keys_that_a_condition_reads(tmp_path: Path) -> None:
    report = assess(("health",), make_dossier(), make_settings(tmp_path), ONE_LOOK)
    whole = describe(report)
    for answer in (whole, describe_refusal("x"), describe_unbegun()):
        assert {"verdict", "exit_code", "why", "criteria", *Verdict} <= set(answer)
        assert sum(answer[name] for name in Verdict) == 1
        assert answer["passed"] is (answer["verdict"] == "passed") is (answer["exit_code"] == 0)
    assert (whole["verdict"], describe_refusal("x")["verdict"]) == ("passed", "error")


async def test_looks_are_shared_limited_and_their_bugs_told(tmp_path: Path) -> None:
    report = assess(("health",), make_dossier(), make_settings(tmp_path), ONE_LOOK)
    free, seen = threading.Event(), list[Call]()

    def look(call: Call) -> Report:
        seen.append(call)
        free.wait(10)
        if call.criteria == ("bug",):
            raise ValueError("bug")
        return report

    looks = Looks(look)

    def ask(name: str) -> asyncio.Task[Report]:
        return asyncio.create_task(looks.report(Call((name,), ONE_LOOK, 0.0)))

    same = [ask("same") for _ in range(10)]
    others = [ask("bug"), *(ask(str(number)) for number in range(MOST - 2))]
    await asyncio.sleep(0.2)
    assert len(seen) == 4
    with pytest.raises(TooManyAsk):
        await looks.report(Call(("more",), ONE_LOOK, 0.0))
    same[0].cancel()
    free.set()
    assert await asyncio.gather(*same[1:]) == [report] * 9
    with pytest.raises(ValueError, match="bug"):
        await others[0]
    await asyncio.gather(*others[1:])
    assert len(seen) == MOST
    await looks.report(Call(("same",), ONE_LOOK, 0.0))
    assert len(seen) == MOST + 1


@pytest.mark.parametrize(
    ("address", "found", "loopback"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1), True),
        ("127.9.9.9:1", ("127.9.9.9", 1), True),
        ("[::1]:1", ("::1", 1), True),
        ("localhost:1", ("localhost", 1), True),
        (":1", (None, 1), False),
        ("0.0.0.0:1", ("0.0.0.0", 1), False),  # noqa: S104
        ("[::]:1", ("::", 1), False),
        ("localhost.example:1", ("localhost.example", 1), False),
        ("10.0.0.1:1", ("10.0.0.1", 1), False),
    ],
)
def test_loopback_is_told_from_everything_else(
    address: str, found: tuple[str | None, int], loopback: bool
) -> None:
    assert parse_listen_address(address) == found
    assert is_loopback(found[0]) is loopback


@pytest.mark.parametrize("address", ["", "x", "x:", "x:y", ":65536", ":-1", ":\u0661"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        parse_listen_address(address)


def test_serve_is_a_word_after_validate_only(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["validate", "serve", "--help"], program="phasegate")
    assert "Usage: phasegate validate serve [OPTIONS]" in capsys.readouterr().out
    cli.main(["serve", "--help"], validate, "validate")
    said = capsys.readouterr().out
    assert "Usage: validate serve [OPTIONS]" in said
    assert "Example:" in said
    assert "Exit codes:" in said
    for arguments in (["--criterion", "health", "serve"], ["--phase", "schema", "serve"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments, validate, "validate")
        assert ended.value.code == 2
    assert "serve" in capsys.readouterr().err


def test_a_question_that_is_none_names_the_parameter() -> None:
    with pytest.raises(click.UsageError, match="'nope' is not known; one of criterion, phase, run"):
        read_query({"since": ["1"], "nope": ["1"]})
    with pytest.raises(click.UsageError, match="confidence: found 'nan'"):
        read_query({"since": ["1"], "confidence": ["nan"]})
