"""The verdict as an in-toto statement, for signing beside the evidence that it is about.

Statement v1 with the predicate "test result" v0.1 of the in-toto attestation framework. It knows
passed, warned and failed: what is not proved is failed there, and what passed only by a loosened
limit is warned. The subject is the saved evidence, from which anybody can judge again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from phasegate.contract.model import Judgement, Verdict
from phasegate.validators.verdict import Report

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"


def make_statement(report: Report, evidence: bytes, place: str) -> bytes:
    """The statement about the evidence that is written to `place`; canonical, with a line end."""
    results = {one.criterion: _result(one) for one in report.judgements}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": Path(place).name, "digest": {"sha256": hashlib.sha256(evidence).hexdigest()}}
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": _whole(report, set(results.values())),
            "configuration": [
                {
                    "name": "settings that phasegate validate judged by",
                    "digest": {"sha256": report.digests.configuration},
                }
            ],
            "passedTests": [name for name, result in results.items() if result == PASSED],
            "warnedTests": [name for name, result in results.items() if result == WARNED],
            "failedTests": [name for name, result in results.items() if result == FAILED],
        },
    }
    return msgspec.json.encode(statement, order="sorted") + b"\n"


def _whole(report: Report, results: set[str]) -> str:
    if report.verdict is not Verdict.PASSED or FAILED in results or not results:
        return FAILED
    return WARNED if WARNED in results else PASSED


def _result(one: Judgement) -> str:
    if one.verdict is not Verdict.PASSED:
        return FAILED
    return WARNED if one.facts.get("loosened") else PASSED
