"""The verdict as a document: what every report renders, and what stands in JSON for machines.

Its JSON Schema is docs/reference/verdict.schema.json. `version` changes when a reader of an earlier
form could misread it; a new key does not change it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from phasegate.contract.dossier import Options, Problem
from phasegate.contract.evidence import Override, TargetState
from phasegate.contract.model import Judgement, Verdict

VERDICT_VERSION = 1
# A failure outranks what could not be read, and that what could not be decided.
_EXIT_CODES = {Verdict.FAILED: 1, Verdict.ERROR: 4, Verdict.INCONCLUSIVE: 3, Verdict.PASSED: 0}


class EvidenceFacts(msgspec.Struct, frozen=True):
    """Of which exporter the evidence is, and what was accepted in the migration that it watches,
    though it did not pass; times in Unix seconds."""

    build: str
    environment: str
    started: float
    generated: float
    since: float
    complete_since: float
    settings_hash: str
    targets: tuple[TargetState, ...]
    overrides: tuple[Override, ...] = ()


class Digests(msgspec.Struct, frozen=True):
    """SHA-256 of what was judged, and of the settings it was judged by; 64 hex digits each."""

    evidence: str
    configuration: str


class Report(msgspec.Struct, frozen=True):
    """All judgements of one call. `judged` is Unix seconds; `source` gave counts and values,
    `exporter` or `prometheus`; `exporter` is null where no evidence came. Nothing here tells
    whether the evidence came over the network or from a file."""

    version: int
    verdict: Verdict
    exit_code: int
    build: str
    judged: float
    environment: str
    source: str
    options: Options
    judgements: tuple[Judgement, ...]
    exporter: EvidenceFacts | None
    problems: tuple[Problem, ...]
    digests: Digests


def combine(judgements: tuple[Judgement, ...]) -> Verdict:
    """The one verdict of several; of none it is inconclusive."""
    found = {one.verdict for one in judgements} or {Verdict.INCONCLUSIVE}
    return next(verdict for verdict in _EXIT_CODES if verdict in found)


def exit_code(verdict: Verdict) -> int:
    """What `validate` ends with."""
    return _EXIT_CODES[verdict]


def make_json_schema() -> dict[str, Any]:
    """The published schema of the JSON report."""
    schema = msgspec.json.schema(Report)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Verdict of phasegate validate, version {VERDICT_VERSION}",
    }
    return head | schema
