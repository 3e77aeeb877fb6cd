"""Whether the exporter judges by the limits of this configuration, as its own series tell them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from phasegate.contract import metrics
from phasegate.contract.criteria import CRITERIA, thresholds
from phasegate.contract.settings import Settings
from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import Ground

SUMMARY = "the exporter judges by the limits of this configuration"
_PLACE = "exporter.md#thresholddrift"
_SERIES = re.compile(rf"^{metrics.CRITERION_THRESHOLD.name}\{{([^}}]*)\}} (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
Limits = dict[tuple[str, str], float]
"""By criterion and severity."""


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not answer."""
    exporter = ground.settings.exporter
    if exporter.url is None:
        yield ok("exporter.url is not configured")
        return
    url = f"{exporter.url.rstrip('/')}{exporter.metrics_path}"
    answer = ground.fetch("exporter", url, exporter)
    yield from evaluate_limits(read_limits(answer.body.decode()), ground.settings)


def read_limits(exposition: str) -> Limits:
    """Of an exposition in Prometheus' text form."""
    found: Limits = {}
    for written, value in _SERIES.findall(exposition):
        labels = dict(_LABEL.findall(written))
        found[labels.get("criterion", ""), labels.get("severity", "")] = float(value)
    return found


def evaluate_limits(found: Limits, settings: Settings) -> Iterator[Finding]:
    """Those that the exporter has, against those that this configuration gives."""
    base = (settings.exporter.url or "").rstrip("/")
    wanted = {
        (name, severity): value
        for name in CRITERIA
        for severity, value in thresholds(settings, name).items()
    }
    drifted = [
        f"{name} {severity}: {found[name, severity]:g} there, {value:g} here"
        for (name, severity), value in wanted.items()
        if (name, severity) in found and not math.isclose(found[name, severity], value)
    ]
    if drifted:
        yield problem(
            "; ".join(drifted),
            "phasegate.yaml was changed and the exporter has not read it again",
            "phasegate exporter --config.file phasegate.yaml --check-config\n"
            f"curl -sS -X POST {base}/-/reload\n"
            "phasegate alerts build --config phasegate.yaml --output ./alerts",
            _PLACE,
        )
    elif not found:
        yield problem(
            "the exporter states no limit",
            "what answers at exporter.url is no exporter of this release",
            "correct exporter.url or exporter.metrics_path in phasegate.yaml",
            _PLACE,
        )
    else:
        yield ok(f"{len(set(found) & set(wanted))} limits are those of this configuration")
