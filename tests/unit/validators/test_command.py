"""`validate` as a pipeline calls it: exit codes, outputs, saved evidence; against a real socket."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phasegate import cli
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.gates import GATES
from phasegate.contract.settings_criteria import GATE_CRITERIA, SUCCESS_CRITERIA
from phasegate.contract.settings_load import load_settings
from phasegate.servers.ports import free_port
from phasegate.validators.command import validate
from phasegate.validators.saved import seal
from phasegate.validators.verdict import make_json_schema
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import CONFIG, NOW, observations, probe_block, probes
from tests.fixtures.pipeline import MEASURED, Pipeline


@pytest.fixture
def pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Pipeline]:
    with answering(Answering()) as server:
        yield Pipeline(tmp_path, server, capsys)


def test_all_passed_is_0_and_fits_80_columns(pipeline: Pipeline) -> None:
    code, out, err = pipeline.call()
    assert (code, err) == (0, "")
    assert out.startswith("PASSED: 4 of 4 criteria passed (exit 0)\n")
    assert all(len(line) <= 80 for line in out.splitlines())
    assert [line.split()[0] for line in out.splitlines() if " passed " in line][1:] == [*MEASURED]


def test_a_failure_outranks_everything_else(pipeline: Pipeline) -> None:
    pipeline.serve(observations=observations(uuid_missing=7.0))
    code, out, _ = pipeline.call()
    assert code == 1
    assert "  why   public.users: 7 rows; limit 0 rows" in out
    assert "  next  populate the UUIDs" in out
    assert pipeline.call("--criterion", "uuid_missing", "error_rate")[0] == 1


def test_too_few_are_3_and_say_how_many_more(pipeline: Pipeline) -> None:
    pipeline.serve(series=(probes(probe_block(NOW - 1, good=20)),))
    code, out, _ = pipeline.call("--criterion", "uuid_lookup_latency")
    assert code == 3
    assert "more samples like these are needed" in out


def test_no_exporter_is_4_and_none_configured_3(pipeline: Pipeline) -> None:
    pipeline.configure(url=f"http://127.0.0.1:{free_port()}")
    code, out, _ = pipeline.call()
    assert code == 4
    assert "cannot be reached" in out
    pipeline.config.write_text(CONFIG.replace('exporter: {url: "http://127.0.0.1:9"}\n', ""))
    code, out, _ = pipeline.call("--criterion", "health")
    assert (code, "configure exporter.url" in out) == (3, True)


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"version": 9}'])
def test_what_is_no_evidence_is_4(body: bytes, pipeline: Pipeline) -> None:
    pipeline.server.body = body
    assert pipeline.call()[0] == 4


def test_what_nothing_measures_yet_is_3(pipeline: Pipeline) -> None:
    for name in {*SUCCESS_CRITERIA, *GATE_CRITERIA}:
        code, _, _ = pipeline.call("--criterion", name)
        assert code in (0, 3)
    for phase in ("infrastructure", "validation"):
        assert pipeline.call("--phase", phase)[0] == 3


WRONG = [
    ["--criterion", "nope"],
    ["--criterion", "audit_growth"],
    ["health"],
    ["--phase", "nope"],
    ["--phase", "schema", "--criterion", "health"],
    ["--since", "yesterday"],
    ["--since", "99999999999"],
    ["--since", "1", "--window", "10m"],
    ["--window", "10"],
    ["--window", "30s"],
    ["--wait", "0s"],
    ["--confidence", "95"],
    ["--confidence", "nan"],
    ["--format", "yaml"],
    ["--format", "json", "--format", "text"],
    ["--output", "a", "--output", "b"],
    ["--format", "json", "--output", "same", "--format", "text", "--output", "same"],
    ["--source", "nope"],
    ["--output", "/nonexistent/folder/file"],
    ["--attest", "a"],
    ["--attest", "a", "--save-evidence", "-", "--format", "text", "--output", "b"],
    ["--attest", "a", "--save-evidence", "a"],
    ["--attest", "-", "--save-evidence", "a"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_a_call_that_means_nothing_is_2(arguments: list[str], pipeline: Pipeline) -> None:
    code, out, err = pipeline.call(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err


def test_a_configuration_that_contradicts_itself_is_2(pipeline: Pipeline) -> None:
    for line in (
        "  uuid_lookup_latency: {warning: 30ms, critical: 20ms}",
        "  nope: {max_age: 1m}",
        "  required: [health, health]",
        "  uuid_lookup_latency: {confidence: 95}",
    ):
        pipeline.configure(line)
        assert pipeline.call()[0] == 2
    pipeline.config.write_text(CONFIG + "criteria: {required: []}")
    assert pipeline.call()[0] == 2


def test_every_output_is_written_whole_before_the_exit(pipeline: Pipeline) -> None:
    text, verdict = pipeline.folder / "verdict.txt", pipeline.folder / "verdict.json"
    verdict.write_text("older")
    code, out, _ = pipeline.call(
        *("--format", "text", "--output", str(text), "--format", "json", "--output", str(verdict))
    )
    assert (code, out) == (0, "")
    assert text.read_text().startswith("PASSED")
    assert json.loads(verdict.read_text())["verdict"] == "passed"
    assert sorted(path.name for path in pipeline.folder.iterdir()) == [
        *("phasegate.yaml", "verdict.json", "verdict.txt")
    ]
    code, out, _ = pipeline.call("--format", "json", "--format", "text", "--output", str(text))
    assert (code, json.loads(out)["verdict"]) == (0, "passed")
    assert text.read_text().startswith("PASSED")
    code, out, _ = pipeline.call("--format", "json", f"--output={verdict}", "--format", "text")
    assert (code, out[:6], verdict.read_bytes()[:1]) == (0, "PASSED", b"{")
    assert pipeline.call("--output", str(text))[:2] == (0, "")


def test_json_is_what_its_schema_says(pipeline: Pipeline) -> None:
    schema = make_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for arguments in ([], ["--phase", "validation"], ["--since", "1"]):
        _, out, _ = pipeline.call("--format", "json", *arguments)
        report = json.loads(out)
        jsonschema.validate(report, schema)
        assert report["exporter"]["targets"][0]["identity"].endswith("/mono_prod")
    pipeline.configure(url=f"http://127.0.0.1:{free_port()}")
    _, out, _ = pipeline.call("--format", "json")
    jsonschema.validate(json.loads(out), schema)
    assert json.loads(out)["exit_code"] == 4


def test_a_gate_judges_its_own_criteria_over_its_own_span(pipeline: Pipeline) -> None:
    _, out, _ = pipeline.call("--format", "json", "--phase", "schema")
    report = json.loads(out)
    assert tuple(one["criterion"] for one in report["judgements"]) == GATES["schema"]
    rule = report["judgements"][-1]["facts"]["rule"]
    assert (rule["min_span"], rule["anytime"]) == (180.0, False)
    assert report["exit_code"] == 0


def test_saved_evidence_is_judged_again_to_the_same_bytes(pipeline: Pipeline) -> None:
    kept = pipeline.folder / "kept.json"
    first = pipeline.call("--format", "json", "--save-evidence", str(kept))
    pipeline.server.body = b"gone"
    assert pipeline.call("--format", "json", "--evidence", str(kept)) == first
    asked = len(pipeline.server.asked)
    strict = pipeline.call("--evidence", str(kept), "--confidence", "0.9999", "--min-span", "9m")
    assert strict[0] == 3
    assert len(pipeline.server.asked) == asked


def test_whoever_argues_with_saved_evidence_keeps_its_origin_and_its_rule(
    pipeline: Pipeline,
) -> None:
    kept = pipeline.folder / "kept.json"
    origin = f"{time.time() - 590:.0f}"
    _, out, _ = pipeline.call("--format", "json", "--since", origin, "--save-evidence", str(kept))
    first = json.loads(out)
    _, out, _ = pipeline.call(
        *("--format", "json", "--evidence", str(kept), "--confidence", "0.9"),
        *("--criterion", "uuid_lookup_latency"),
    )
    again = json.loads(out)
    assert again["options"] == first["options"] | {"confidence": 0.9}
    assert [one["criterion"] for one in again["judgements"]] == ["uuid_lookup_latency"]
    _, out, _ = pipeline.call("--format", "json", "--evidence", str(kept), "--window", "5m")
    assert not json.loads(out)["options"]["anytime"]


def test_part_of_a_gate_is_no_gate_and_keeps_its_span(pipeline: Pipeline) -> None:
    kept, part = (str(pipeline.folder / name) for name in ("kept.json", "part.json"))
    assert pipeline.call("--phase", "schema", "--save-evidence", kept)[0] == 0
    again = ("--evidence", kept, "--criterion", "uuid_lookup_latency", "--save-evidence", part)
    _, out, _ = pipeline.call("--format", "json", *again)
    options = json.loads(out)["options"]
    assert (options["phase"], options["min_span"]) == ("", 180.0)
    assert pipeline.call("--evidence", part)[0] == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"confidence": -5.0}, "confidence -5"),
        ({"confidence": 0.01}, "confidence 0.01"),
        ({"min_span": -1.0}, "min_span is no duration"),
        ({"max_age": 0.0}, "max_age is no duration"),
        ({"phase": "bogus"}, "a phase that is none"),
        ({"phase": "validation"}, "the gate of validation without audit_coverage"),
        ({"since": 1e300}, "since is no time of the past"),
        ({"values_since": -1.0}, "values_since is no time of the past"),
    ],
)
def test_a_question_that_no_flag_could_ask_is_refused_whoever_sealed_it(
    asked: dict[str, Any], says: str, pipeline: Pipeline
) -> None:
    settings = load_settings(pipeline.folder / "phasegate.yaml", {})
    dossier = Dossier(time.time() - 60)
    kept = pipeline.folder / "kept.json"
    kept.write_bytes(seal(("health",), dossier, settings, Options(**asked)))
    code, _, err = pipeline.call("--evidence", str(kept))
    assert (code, says in " ".join(err.split())) == (4, True), err
    for other, criteria in ((1e300, ("health",)), (dossier.judged, ("health", "health"))):
        kept.write_bytes(seal(criteria, Dossier(other), settings, Options()))
        assert pipeline.call("--evidence", str(kept))[0] == 4


def test_altered_or_foreign_evidence_is_refused(pipeline: Pipeline) -> None:
    kept = pipeline.folder / "kept.json"
    pipeline.serve(observations=observations(uuid_missing=7.0))
    assert pipeline.call("--save-evidence", str(kept))[0] == 1
    whole = kept.read_bytes()
    for altered in (
        whole.replace(b'"value":7.0', b'"value":0.0'),
        whole.replace(b'"build":', b'"more":1,"build":'),
        whole.replace(b",", b", ", 1),
        whole[:-40],
        b"{}",
        b"",
    ):
        assert altered != whole
        kept.write_bytes(altered)
        code, out, err = pipeline.call("--evidence", str(kept))
        assert (code, out) == (4, ""), altered[:60]
        assert "kept.json" in err
    assert pipeline.call("--evidence", str(pipeline.folder / "none"))[0] == 4
    kept.write_bytes(whole)
    assert pipeline.call("--evidence", str(kept), "--wait", "1m")[0] == 2
    pipeline.configure("  uuid_lookup_latency: {warning: 1s, critical: 2s}")
    code, _, err = pipeline.call("--evidence", str(kept))
    assert (code, "another configuration" in err) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda found: found.name)
def test_a_signal_before_the_verdict_is_5(number: signal.Signals, pipeline: Pipeline) -> None:
    pipeline.server.hang = True
    # A job of a shell's background ignores SIGINT, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    called = subprocess.Popen(
        [sys.executable, "-m", "phasegate", "validate", "--config", str(pipeline.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 30
    while not pipeline.server.asked and time.monotonic() < until:
        time.sleep(0.02)
    called.send_signal(number)
    out, err = called.communicate(timeout=30)
    assert (called.returncode, out) == (5, "")
    assert err.strip() == "phasegate: stopped by a signal; the same command starts it again"


def test_evidence_that_is_there_decides_at_once(pipeline: Pipeline) -> None:
    """No new sample is waited for, even where a wait is allowed: one request, and the verdict."""
    began = time.monotonic()
    for arguments in ([], ["--wait", "10m"], ["--wait", "10m", "--since", "1"]):
        pipeline.server.asked.clear()
        code, _, err = pipeline.call(*arguments)
        assert (code, len(pipeline.server.asked), "waiting" in err) == (0, 1, False)
    assert time.monotonic() - began < 5


def test_a_judge_without_a_connection_string_judges_a_pinned_database(pipeline: Pipeline) -> None:
    text = pipeline.config.read_text()
    pipeline.config.write_text(re.sub(r"  url: postgresql:.*\n", "", text))
    assert pipeline.call()[0] == 0
    kept = pipeline.folder / "kept.json"
    assert pipeline.call("--save-evidence", str(kept))[0] == 0
    assert pipeline.call("--evidence", str(kept))[0] == 0
    pipeline.config.write_text(re.sub(r"  (url: postgresql|identity):.*\n", "", text))
    code, out, err = pipeline.call()
    assert (code, out, "database" in err) == (2, "", True)


def test_loosened_criteria_show_in_the_verdict(pipeline: Pipeline) -> None:
    pipeline.configure("  uuid_lookup_latency: {warning: 15ms, critical: 30ms}")
    _, out, _ = pipeline.call("--min-span", "10s")
    assert "note  loosened: limit 15 ms instead of 10 ms" in out
    assert "note  loosened: span 10s instead of 1m" in out


def test_the_list_and_the_explanation_need_no_network(pipeline: Pipeline) -> None:
    for flag, said in (("--list", "* uuid_missing"), ("--explain", "exact binomial, one look")):
        cli.main(["--config", str(pipeline.config), flag], validate, "validate")
        assert said in pipeline.said()
    assert pipeline.server.asked == []
