"""Whether the exporter answers, measures our servers, and under the configuration that we read."""

from __future__ import annotations

import time
from collections.abc import Iterator

from phasegate.contract.evidence import EVIDENCE_PATH, Evidence
from phasegate.contract.settings import Settings
from phasegate.contract.settings_describe import settings_hash
from phasegate.operate.doctor import Finding, ok, problem, warning
from phasegate.operate.doctor_ground import Ground
from phasegate.validators.sources.exporter import read_answer

SUMMARY = "the exporter answers, its targets are up, its configuration is this one"
RECENT_SECONDS = 120.0
_DRIFT = "exporter.md#thresholddrift"


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not answer."""
    exporter = ground.settings.exporter
    if exporter.url is None:
        yield ok("exporter.url is not configured")
        return
    since = time.time() - RECENT_SECONDS
    url = f"{exporter.url.rstrip('/')}{EVIDENCE_PATH}?since={since:.3f}"
    evidence = read_answer(ground.fetch("exporter", url, exporter))
    yield from evaluate_exporter(evidence, ground.settings)


def evaluate_exporter(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    """`evidence` is of the last two minutes."""
    base = (settings.exporter.url or "").rstrip("/")
    down = [target.name for target in evidence.targets if not target.up]
    for name in down:
        yield problem(
            f"the exporter does not get an answer from: {name}",
            "the server is down, or the way there from the exporter's machine",
            "phasegate validate --criterion health",
            "exporter.md#targetdown",
        )
    if evidence.environment != settings.environment:
        yield problem(
            f"the exporter is of environment {evidence.environment!r}, this configuration of "
            f"{settings.environment!r}",
            "exporter.url leads to another environment's exporter: no gate believes it",
            "correct exporter.url or environment in phasegate.yaml",
            _DRIFT,
        )
    elif evidence.settings_hash != settings_hash(settings):
        yield warning(
            "the exporter runs with another configuration than this one",
            "phasegate.yaml was changed and not reloaded, or the exporter reads another file",
            "phasegate exporter --config.file phasegate.yaml --check-config\n"
            f"curl -sS -X POST {base}/-/reload\n"
            "(with --web.enable-lifecycle; else send it SIGHUP)",
            "exporter.md#configreloadfailed",
        )
    if not down:
        up = ", ".join(target.name for target in evidence.targets) or "none"
        yield ok(f"release {evidence.build}, targets up: {up}")
