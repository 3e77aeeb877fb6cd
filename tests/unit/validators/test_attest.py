"""The in-toto statement: its form, and that it says passed of nothing that is not proved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from phasegate import cli
from phasegate.validators.command import validate
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import NOW, observations, probe_block, probes
from tests.fixtures.pipeline import MEASURED, serve_now, write_config

# After spec/v1/statement.md, resource_descriptor.md and predicates/test-result.md of the
# in-toto attestation framework; stricter where the framework leaves room.
_DIGEST = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sha256"],
    "properties": {"sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
}
_DESCRIPTORS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "digest"],
        "properties": {"name": {"type": "string", "minLength": 1}, "digest": _DIGEST},
    },
}
_TESTS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
SHAPE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["_type", "subject", "predicateType", "predicate"],
    "properties": {
        "_type": {"const": "https://in-toto.io/Statement/v1"},
        "subject": _DESCRIPTORS,
        "predicateType": {"const": "https://in-toto.io/attestation/test-result/v0.1"},
        "predicate": {
            "type": "object",
            "additionalProperties": False,
            "required": ["result", "configuration"],
            "properties": {
                "result": {"enum": ["PASSED", "WARNED", "FAILED"]},
                "configuration": _DESCRIPTORS,
                "passedTests": _TESTS,
                "warnedTests": _TESTS,
                "failedTests": _TESTS,
            },
        },
    },
}


def attest(folder: Path, server: Answering, *flags: str) -> tuple[int, dict[str, Any]]:
    """One call's exit code and its statement, which has the spec's shape and is canonical."""
    config = write_config(folder, server.url)
    kept, statement = folder / "kept.json", folder / "kept.intoto.json"
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                *("--config", str(config), "--save-evidence", str(kept)),
                *("--attest", str(statement), *flags),
            ],
            validate,
            "validate",
        )
    text = statement.read_text()
    found: dict[str, Any] = json.loads(text)
    jsonschema.validate(found, SHAPE)
    canonical = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert text == canonical + "\n"
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert found["subject"] == [{"name": "kept.json", "digest": {"sha256": digest}}]
    saved = json.loads(kept.read_text())
    configuration = found["predicate"]["configuration"][0]["digest"]["sha256"]
    assert configuration == saved["configuration"]
    assert isinstance(ended.value.code, int)
    return ended.value.code, found["predicate"]


def test_a_proof_is_passed(tmp_path: Path) -> None:
    with answering(Answering()) as server:
        serve_now(server)
        code, told = attest(tmp_path, server)
    assert (code, told["result"], told["passedTests"]) == (0, "PASSED", [*MEASURED])
    assert told["warnedTests"] == told["failedTests"] == []


def test_a_pass_that_was_loosened_is_warned(tmp_path: Path) -> None:
    with answering(Answering()) as server:
        serve_now(server)
        code, told = attest(tmp_path, server, "--min-span", "10s")
    assert (code, told["result"]) == (0, "WARNED")
    assert told["warnedTests"] == ["uuid_lookup_latency", "cache_hit_rate"]
    assert told["failedTests"] == []


def test_failed_undecided_and_unreadable_are_failed(tmp_path: Path) -> None:
    few = (probes(probe_block(NOW - 1, good=20)),)
    with answering(Answering()) as server:
        serve_now(server, observations=observations(uuid_missing=7.0))
        code, told = attest(tmp_path, server)
        assert (code, told["result"], told["failedTests"]) == (1, "FAILED", ["uuid_missing"])
        serve_now(server, series=few)
        code, told = attest(tmp_path, server, "--criterion", "uuid_lookup_latency")
        assert (code, told["result"], told["passedTests"]) == (3, "FAILED", [])
        server.status = 500
        code, told = attest(tmp_path, server)
        assert (code, told["result"], told["failedTests"]) == (4, "FAILED", [*MEASURED])


def test_saved_evidence_is_attested_to_the_same_bytes(tmp_path: Path) -> None:
    with answering(Answering()) as server:
        serve_now(server)
        attest(tmp_path, server)
        first = (tmp_path / "kept.intoto.json").read_bytes()
        attest(tmp_path, server, "--evidence", str(tmp_path / "kept.json"))
    assert (tmp_path / "kept.intoto.json").read_bytes() == first
