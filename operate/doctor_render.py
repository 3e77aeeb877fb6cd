"""Findings as text for a person and as JSON for a machine. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from phasegate.contract.secrets import redactor
from phasegate.contract.settings_monitoring import RUNBOOKS, runbook_url
from phasegate.operate.doctor import Finding, Severity, evaluate_exit

REPORT_VERSION = 1
_LABEL = 9
_ORDER = list(Severity)[::-1]


def runbook_link(place: str, runbooks: str) -> str:
    """Where `cache.md#cachecold` is read: by the configured address, else in the documentation's
    folder."""
    if not place or runbooks == RUNBOOKS:
        return f"docs/runbooks/{place}" if place else ""
    page, _, anchor = place.partition("#")
    return runbook_url(runbooks, page.removesuffix(".md"), anchor)


def render_text(findings: Sequence[Finding], runbooks: str) -> str:
    """The faults first, each with its cause and its remedy; then what is fine, a line each; then
    the sum."""
    lines: list[str] = []
    for one in findings:
        if one.severity is not Severity.OK:
            lines += [*_tell(one, runbooks), ""]
    for one in findings:
        if one.severity is Severity.OK:
            lines += _tell(one, runbooks)
    counts = [(sum(one.severity is s for one in findings), s) for s in _ORDER]
    lines += ["", ", ".join(f"{count} {severity}" for count, severity in counts)]
    return redactor("\n".join(lines).lstrip("\n") + "\n")


def render_json(
    findings: Sequence[Finding],
    runbooks: str,
    fixed: Sequence[tuple[Finding, str, bool]],
    at: float,
) -> str:
    """One document; `at` is in Unix seconds."""
    document = {
        "version": REPORT_VERSION,
        "at": round(at, 3),
        "exit_code": evaluate_exit(findings),
        "fixes": [
            {"check": one.check, "what": one.fix.what, "told": told, "applied": applied}
            for one, told, applied in fixed
            if one.fix is not None
        ],
        "findings": [_plain(one, runbooks) for one in findings],
    }
    return redactor(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _tell(one: Finding, runbooks: str) -> Iterator[str]:
    yield f"{one.severity:<{_LABEL}}{one.check}: {one.evidence}"
    parts = {"cause": one.cause, "remedy": one.remedy, "see": runbook_link(one.runbook, runbooks)}
    for name, text in parts.items():
        for number, line in enumerate(text.splitlines()):
            yield f"{'':<{_LABEL}}{'' if number else name:<7} {line}"


def _plain(one: Finding, runbooks: str) -> dict[str, Any]:
    return {
        "check": one.check,
        "severity": str(one.severity),
        "evidence": one.evidence,
        "cause": one.cause,
        "remedy": one.remedy,
        "runbook": runbook_link(one.runbook, runbooks),
        "fixable": one.fix is not None,
        "cannot": str(one.cannot) if one.cannot else None,
    }
