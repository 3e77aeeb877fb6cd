"""One JSON answer of a service over HTTP, or a sentence on why there is none.

Whatever is not the service's own answer (a log-in page, a redirect, a refusal, a limit of requests)
is an error and never an empty result.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from phasegate.contract.errors import SourceError
from phasegate.contract.settings_issues import Endpoint
from phasegate.contract.times import format_time
from phasegate.validators.http_get import Answer, fetch
from phasegate.validators.printable import shorten

MOST_BYTES = 32 * 2**20
_FURTHEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_RESETS = ("x-ratelimit-reset", "ratelimit-reset")
_Decoded = TypeVar("_Decoded")


def ask(
    endpoint: Endpoint, url: str, source: str, *, method: str = "", body: bytes | None = None
) -> Answer:
    """The answer of status 2xx in JSON. Raises SourceError for any other, with `source`."""
    headers = {"Accept": "application/json", "User-Agent": "phasegate"}
    headers |= {"Content-Type": "application/json"} if body is not None else {}
    headers |= {name: value.reveal() for name, value in endpoint.headers.items()}
    answer = fetch(
        *(url, endpoint, source),
        within_seconds=endpoint.timeout,
        limit=MOST_BYTES,
        headers=headers,
        method=method,
        body=body,
    )
    if answer.status != 200:
        raise SourceError(source, f"status {answer.status}: {_explain(answer)}")
    kind = answer.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise SourceError(source, f"answered {shorten(kind)}, expected JSON")
    return answer


def decode(answer: Answer, source: str, kind: type[_Decoded]) -> _Decoded:
    """The body as `kind`. Raises SourceError where it is none, or no JSON."""
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"its answer is not what was expected: {shorten(str(error))}"
        raise SourceError(source, message) from None


def _explain(answer: Answer) -> str:
    headers = answer.headers
    spent = headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers
    if answer.status == 429 or (answer.status == 403 and spent):
        return f"too many requests{_reset(headers)}"
    if 300 <= answer.status < 400:
        return "it leads elsewhere, which is not followed; configure where it leads to"
    if answer.status in (401, 403):
        return "it refuses these credentials; configure headers, basic_auth or bearer_file"
    if answer.status == 404:
        return "nothing is there; see the url, and whether these credentials may see it"
    return "expected 200"


def _reset(headers: Mapping[str, str]) -> str:
    """When the limit ends: as a time where the service gives one, else in seconds."""
    if (after := headers.get("retry-after", "")) and after.isascii():
        return f"; again in {after} s" if after.isdigit() else f"; again at {shorten(after)}"
    for name in _RESETS:
        value = headers.get(name, "")
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            continue
        # Some services give the moment, others the seconds until then.
        number = float(value)
        is_moment = 1e9 < number < _FURTHEST
        return f"; again at {format_time(number)}" if is_moment else f"; again in {value} s"
    return ""
