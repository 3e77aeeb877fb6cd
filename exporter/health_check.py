"""One configured health check: ask, judge, and say why not.

What the answer must be is the file's `status` and `body`. Where the file says nothing of the body,
a JSON object that itself says it is unwell is believed: `200 {"status": "degraded"}` is not
health, whatever the status line says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phasegate.contract.settings import Body, Health
from phasegate.exporter.http_client import Answer, Failure, fetch

BODY_LIMIT_BYTES = 65_536
# What services say of themselves when all is well: Spring, ASP.NET, Rails, gRPC and the
# draft of health+json among them. Any other word counts as unwell until `body` says otherwise.
_WELL = frozenset(
    {
        "ok",
        "okay",
        "up",
        "pass",
        "passed",
        "passing",
        "healthy",
        "alive",
        "available",
        "ready",
        "live",
        "running",
        "online",
        "serving",
        "success",
        "good",
        "green",
        "normal",
        "operational",
    }
)
_MISSING = object()


@dataclass(frozen=True)
class HealthResult:
    """How a check went. `reason` is `ok` or a short word fit for a label.

    `certificate_expires` is notAfter of the served certificate in Unix seconds; None for http
    and where the certificate is nobody's that we trust.
    """

    up: bool
    reason: str
    detail: str
    duration_seconds: float
    certificate_expires: float | None


async def check_health(check: Health, within_seconds: float | None = None) -> HealthResult:
    """Run one check in its own time limit, or in `within_seconds` where that is shorter."""
    limit = check.timeout if within_seconds is None else min(within_seconds, check.timeout)
    began = time.monotonic()
    answer = await fetch(check.url, check, within_seconds=limit, limit=BODY_LIMIT_BYTES)
    duration = time.monotonic() - began
    if isinstance(answer, Failure):
        reason, detail = answer.reason, answer.detail
    else:
        reason, detail = judge_answer(check, answer)
    return HealthResult(reason == "ok", reason, detail, duration, answer.certificate_expires)


def judge_answer(check: Health, answer: Answer) -> tuple[str, str]:
    """Reason and sentence for an answer; the reason is `ok` when it is healthy."""
    if answer.status not in check.status:
        expected = " or ".join(str(status) for status in check.status)
        reason = "redirected" if 300 <= answer.status < 400 else "status"
        return reason, f"answered {answer.status}, expected {expected}"
    if check.body == Body():
        return _judge_own_words(answer)
    if check.body.contains is not None and check.body.contains.encode() not in answer.body:
        if answer.truncated:
            return _too_large()
        return "body", f"the body does not contain {check.body.contains!r}"
    return _judge_fields(check.body.json, answer) if check.body.json else ("ok", "")


def _judge_own_words(answer: Answer) -> tuple[str, str]:
    found = None if answer.truncated else _object(answer.body)
    status = found.get("status", _MISSING) if found is not None else _MISSING
    well = status is _MISSING or status is True
    if isinstance(status, str):
        well = status.strip().lower() in _WELL
    elif not isinstance(status, bool):
        well = True  # a number or an object: nothing that one could know the meaning of
    if well:
        return "ok", ""
    return "body", f"says of itself status {_shown(status)}; set body.json if that is healthy"


def _judge_fields(fields: Mapping[str, Any], answer: Answer) -> tuple[str, str]:
    if answer.truncated:
        return _too_large()
    found = _object(answer.body)
    if found is None:
        return "body_not_json", f"the body ({answer.content_type}) is no JSON object"
    for path, expected in fields.items():
        value = _field(found, path)
        if value is _MISSING:
            return "body", f"the body has no field {path}"
        if not _same(value, expected):
            return "body", f"{path} is {_shown(value)}, expected {_shown(expected)}"
    return "ok", ""


def _too_large() -> tuple[str, str]:
    return "body_too_large", f"the body is longer than the {BODY_LIMIT_BYTES} bytes that are read"


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _field(found: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return _MISSING
        found = found[name]
    return found


def _same(value: Any, expected: Any) -> bool:
    """Equal as JSON sees it: true is not 1, and 1 is 1.0."""
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"
