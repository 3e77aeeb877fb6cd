"""`validate serve` as a process: what Argo Rollouts and Flagger are answered, and who may ask."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import NOW, observations, probe_block, probes
from tests.fixtures.judges import Judging, judging
from tests.fixtures.pipeline import serve_now, write_config

VERDICTS = {"passed": 0, "failed": 1, "inconclusive": 3, "error": 4}
GATE = {"passed": 200, "failed": 409, "inconclusive": 425, "error": 424}
ROLLBACK = {"passed": 409, "failed": 200, "inconclusive": 425, "error": 424}
GATES = ["confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase"]
GATES.append("confirm-promotion")
TOKEN = "canary-token-4711"


def arrange(server: Answering, verdict: str) -> None:
    """Evidence from which that verdict follows."""
    server.status = 200
    if verdict == "passed":
        serve_now(server)
    elif verdict == "failed":
        serve_now(server, observations=observations(uuid_missing=7.0))
    elif verdict == "inconclusive":
        serve_now(server, series=(probes(probe_block(NOW - 1, good=20)),))
    else:
        server.status = 500


def since(seconds: float = 600.0) -> str:
    return str(int(time.time() - seconds))


def hook(**metadata: str) -> dict[str, Any]:
    return {
        "name": "api",
        "namespace": "prod",
        "phase": "Progressing",
        "checksum": "85d557f47b",
        "metadata": metadata,
    }


@pytest.fixture(scope="module")
def exporter() -> Iterator[Answering]:
    with answering(Answering()) as server:
        yield server


@pytest.fixture(scope="module")
def judge(exporter: Answering, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judging]:
    config = write_config(tmp_path_factory.mktemp("judge"), exporter.url)
    with judging(config) as running:
        yield running


@pytest.mark.parametrize("verdict", VERDICTS)
def test_argo_is_always_answered_200_with_the_verdict(
    judge: Judging, exporter: Answering, verdict: str
) -> None:
    arrange(exporter, verdict)
    status, said = judge.ask(f"/api/v1/verdict?since={since()}")
    assert (status, said["verdict"], said["exit_code"]) == (200, verdict, VERDICTS[verdict])
    assert {name: said[name] for name in VERDICTS} == {name: name == verdict for name in VERDICTS}
    assert set(said["criteria"]) == {
        *("health", "uuid_lookup_latency", "cache_hit_rate", "uuid_missing")
    }


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("kind", [*GATES, "rollback"])
def test_flagger_goes_on_only_by_a_pass_and_back_only_by_a_failure(
    judge: Judging, exporter: Answering, verdict: str, kind: str
) -> None:
    arrange(exporter, verdict)
    status, said = judge.ask(f"/flagger/{kind}", hook(since=since()))
    expected = ROLLBACK if kind == "rollback" else GATE
    assert (status, said["verdict"]) == (expected[verdict], verdict)
    assert said["why"]


def test_an_exporter_that_is_gone_opens_no_gate(tmp_path: Path) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9")
    with judging(config) as judge:
        status, said = judge.ask(f"/api/v1/verdict?since={since()}")
        assert (status, said["verdict"], said["passed"]) == (200, "error", False)
        assert any("cannot be reached" in problem for problem in said["problems"])
        assert judge.ask("/flagger/rollout", hook(since=since()))[0] == 424
        assert judge.ask("/flagger/rollback", hook(since=since()))[0] == 424


WRONG_QUERIES = [
    *("", "since=yesterday", "since=1&run=a", "since=1&window=10m", "window=10m", "run="),
    *("since=1&nope=1", "since=1&since=2", "since=1&criterion=nope", "since=1&phase=nope"),
    *("since=1&confidence=nan", "since=1&max_age=5", "since=99999999999", "since=nan"),
    *("since=1&phase=schema&criterion=health", "since=1&junit=/etc/passwd", "run=" + "x" * 501),
]


@pytest.mark.parametrize("query", WRONG_QUERIES)
def test_a_question_that_means_nothing_is_400(
    judge: Judging, exporter: Answering, query: str
) -> None:
    arrange(exporter, "passed")
    status, said = judge.ask(f"/api/v1/verdict?{query}")
    assert (status, said["verdict"], said["passed"], said["failed"]) == (400, "error", False, False)
    assert said["why"]


WRONG_BODIES: list[Any] = [
    *(b"", b"{}", b"<xml/>", b'"x"', b"\xff", {"name": "a"}, {**hook(), "metadata": {"since": 1}}),
    *(hook(since="1", nope="x"), {"name": "a", "namespace": "b"}, hook(window="x")),
    *(hook(criterion=""), hook(criterion="health,"), hook(phase="nope")),
]


@pytest.mark.parametrize("body", WRONG_BODIES, ids=str)
@pytest.mark.parametrize("kind", ["rollout", "rollback"])
def test_a_hook_that_means_nothing_is_400(judge: Judging, kind: str, body: Any) -> None:
    assert judge.ask(f"/flagger/{kind}", body)[0] == 400


def test_what_is_no_page_of_ours_passes_nothing(judge: Judging) -> None:
    for path, body, expected in (
        ("/", None, 404),
        ("/flagger/event", hook(), 404),
        ("/flagger/rollout", None, 405),
        ("/api/v1/verdict", b"", 405),
        ("/flagger/rollout", b"x" * 100_000, 413),
    ):
        status, said = judge.ask(path, body)
        assert (status, said["passed"]) == (expected, False)


def test_a_run_keeps_the_origin_of_its_first_call(judge: Judging, exporter: Answering) -> None:
    arrange(exporter, "passed")
    first = judge.ask("/api/v1/verdict?run=release-1&window=10m")[1]
    assert first["verdict"] == "passed"
    time.sleep(1.1)
    again = judge.ask("/api/v1/verdict?run=release-1")[1]
    assert (again["since"], again["verdict"]) == (first["since"], "passed")
    assert again["judged"] > first["judged"]
    other = judge.ask("/api/v1/verdict?run=release-2")[1]
    assert (other["since"] > first["since"], other["verdict"]) == (True, "inconclusive")


def test_what_was_measured_before_the_rollout_does_not_promote_it(
    judge: Judging, exporter: Answering
) -> None:
    arrange(exporter, "passed")
    body = hook(window="10m") | {"checksum": "before-and-during"}
    assert judge.ask("/flagger/confirm-rollout", body)[0] == 200
    during = body | {"metadata": {}}
    waiting = judge.ask("/flagger/rollback", during | {"phase": "Waiting"})
    assert (waiting[0], "has not begun" in waiting[1]["why"]) == (425, True)
    status, said = judge.ask("/flagger/rollout", during)
    assert (status, said["verdict"]) == (425, "inconclusive")
    assert judge.ask("/flagger/confirm-promotion", body)[1]["since"] == said["since"]
    assert judge.ask("/flagger/confirm-rollout", body)[0] == 200


def test_ten_who_ask_the_same_make_one_look(tmp_path: Path) -> None:
    with answering(Answering(drip=True)) as exporter:
        arrange(exporter, "passed")
        exporter.body = exporter.body[:20]
        with judging(write_config(tmp_path, exporter.url)) as judge, ThreadPoolExecutor(10) as ten:
            path = f"/api/v1/verdict?since={since()}"
            found = list(ten.map(judge.ask, [path] * 10))
        assert {status for status, _ in found} == {200}
        assert {said["verdict"] for _, said in found} == {"error"}
        assert len(exporter.asked) == 1


def test_only_the_token_of_the_file_lets_anybody_in(exporter: Answering, tmp_path: Path) -> None:
    arrange(exporter, "passed")
    config = write_config(tmp_path, exporter.url)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    path = f"/api/v1/verdict?since={since()}"
    with judging(config, "--web.bearer-file", str(file), token=TOKEN) as judge:
        basic = base64.b64encode(f"flagger:{TOKEN}".encode()).decode()
        assert judge.ask(path)[1]["verdict"] == "passed"
        assert judge.ask(path, header=f"Basic {basic}")[0] == 200
        assert judge.ask("/flagger/rollout", hook(since=since()), f"Basic {basic}")[0] == 200
        for wrong in ("", "Bearer", "Bearer x", f"Digest {TOKEN}", "Basic x", f"Basic {TOKEN}"):
            status, said = judge.ask(path, header=wrong)
            assert (status, said["passed"], said["why"]) == (401, False, "unauthorized")
        assert judge.ask("/nowhere", header="Bearer x")[0] == 401
        file.write_text("another")
        assert judge.ask(path)[0] == 401
        assert judge.ask(path, header="Bearer another")[0] == 200
        for spoil in (lambda: file.write_text(""), file.unlink):
            spoil()
            assert [judge.ask(path, header=h)[0] for h in ("Bearer ", "Bearer another")] == [
                503
            ] * 2
        code, said_log = judge.end()
        assert code == 0
        assert TOKEN not in said_log


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--web.listen-address", ":0"), 2, "--web.bearer-file"),
        (("--web.listen-address", "judge.example:0"), 2, "--web.bearer-file"),
        (("--web.listen-address", "nope"), 2, "expected host:port"),
        (("--web.bearer-file", "/nonexistent"), 4, "/nonexistent"),
        (("--web.bearer-file", "x", "--no-authentication"), 2, "not both"),
        (("--web.tls-cert-file", "/nonexistent"), 2, "go together"),
        (("--web.tls-cert-file", "/no", "--web.tls-key-file", "/no"), 2, "certificate in PEM"),
        (("--config", "/nonexistent"), 2, "cannot be read"),
        (("more",), 2, "more"),
    ],
)
def test_what_cannot_be_served_is_refused(
    flags: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    config = write_config(tmp_path, "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "phasegate", "validate", "serve", "--config", str(config), *flags],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_over_tls_with_its_certificate(exporter: Answering, tmp_path: Path) -> None:
    arrange(exporter, "passed")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    flags = ("--web.tls-cert-file", str(cert), "--web.tls-key-file", str(key))
    with judging(write_config(tmp_path, exporter.url), *flags, context=context) as judge:
        status, said = judge.ask(f"/api/v1/verdict?since={since()}")
        assert (status, said["verdict"]) == (200, "passed")
        with pytest.raises(OSError, match=r"(?i)remote|reset|disconnect"):
            urllib.request.urlopen(f"http://127.0.0.1:{judge.port}/-/healthy", timeout=5)


def test_sigterm_ends_it_fast_though_a_source_hangs(tmp_path: Path) -> None:
    with answering(Answering(hang=True)) as exporter, ThreadPoolExecutor(1) as one:
        with judging(write_config(tmp_path, exporter.url)) as judge:
            asked = one.submit(judge.ask, f"/api/v1/verdict?since={since()}")
            while not exporter.asked:
                time.sleep(0.02)
            began = time.monotonic()
            code, log = judge.end()
            assert (code, time.monotonic() - began < 4) == (0, True)
        assert "Traceback" not in log
        assert asked.exception() is not None or asked.result()[1]["passed"] is False


def test_what_strangers_write_makes_no_line_of_its_own_in_the_log(
    exporter: Answering, tmp_path: Path
) -> None:
    arrange(exporter, "passed")
    with judging(write_config(tmp_path, exporter.url)) as judge:
        judge.ask("/api/v1/verdict?run=" + urllib.parse.quote("a\nFORGED passed"))
        code, log = judge.end()
    assert code == 0
    assert [line for line in log.splitlines() if line.startswith("FORGED")] == []
