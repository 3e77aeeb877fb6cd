"""One query to a Prometheus-compatible API, and whether its answer may be believed.

An answer that cannot be read is an error. One that can be read and yet must not decide, because it
is partial or its clock is another one, is `Doubted`. What is busy for a moment is asked again, for
as long as the whole may take.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from phasegate.contract.dossier import PROMETHEUS
from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.settings import Prometheus
from phasegate.validators.http_get import Answer, fetch
from phasegate.validators.printable import one_line

WITHIN_SECONDS = 20.0
"""For all queries of one look, the pauses between tries included."""
PAUSES_SECONDS = (0.2, 0.5, 1.0)
MOST_BYTES = 200_000_000
SHOWN = 200
_BUSY = frozenset({429, 502, 503, 504})
_REFUSED = "it refuses these credentials; configure prometheus.basic_auth or prometheus.bearer_file"
_HINTS = {
    401: _REFUSED,
    403: _REFUSED,
    404: "it has no such API; is prometheus.url its base, with the path below which it answers?",
}
# VictoriaMetrics names the form of its stream.
_JSON = frozenset({"application/json", "application/stream+json"})


class Doubted(Exception):
    """What was answered must not decide; the text says why, and holds no secret."""


class Row(NamedTuple):
    """One series: its labels, the name among them, and its samples (Unix seconds, value), oldest
    first. `native` where it holds histograms instead."""

    labels: dict[str, str]
    points: list[tuple[float, float]]
    native: bool = False


class _Found(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    histograms: list[Any] = []


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815  (their name)
    result: msgspec.Raw


class _Body(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""
    errorType: str = ""  # noqa: N815
    warnings: list[str] | None = None
    isPartial: bool = False  # noqa: N815  (of VictoriaMetrics' cluster)


class Api:
    """The API of the settings. `now` is the time of this machine in Unix seconds, to which every
    query is pinned."""

    def __init__(self, settings: Prometheus, now: float) -> None:
        self._settings = settings
        self._now = now
        self._began = time.monotonic()

    def ask(self, query: str) -> list[Row]:
        """The raw samples of a range-vector selector. Raises SourceError, Doubted."""
        asked = urlencode({"query": query, "time": f"{self._now:.3f}", "partial_response": "false"})
        url = f"{self._settings.url.rstrip('/')}/api/v1/query?{asked}"
        answer = self._fetch(url)
        body = _read_body(answer)
        rows = _read_rows(body)
        if body.warnings:
            told = one_line("; ".join(map(str, body.warnings)))[:SHOWN]
            raise Doubted(f"it answers with warnings: {told}")
        if body.isPartial:
            raise Doubted("its answer is partial")
        self._compare_clocks(answer.headers.get("date", ""))
        return rows

    def _fetch(self, url: str) -> Answer:
        for pause in (*PAUSES_SECONDS, None):
            left = WITHIN_SECONDS - (time.monotonic() - self._began)
            if left <= 0:
                raise SourceTimeout(PROMETHEUS, f"no answer within {WITHIN_SECONDS:g} s")
            try:
                answer = self._fetch_once(url, left)
                if pause is None or answer.status not in _BUSY:
                    return answer
            except SourceUnavailable:
                if pause is None:
                    raise
            assert pause is not None
            time.sleep(min(pause, max(0.0, left)))
        raise AssertionError("the last try returns or raises")

    def _fetch_once(self, url: str, left: float) -> Answer:
        return fetch(
            url,
            self._settings,
            PROMETHEUS,
            within_seconds=left,
            limit=MOST_BYTES,
            headers={name: text.reveal() for name, text in self._settings.headers.items()},
        )

    def _compare_clocks(self, date: str) -> None:
        try:
            theirs = parsedate_to_datetime(date).timestamp()
        except ValueError:
            raise Doubted("it does not state its time (Date): clocks cannot be compared") from None
        apart = theirs - (self._now + time.monotonic() - self._began)
        # It is written in whole seconds, rounded down.
        if not -CLOCK_SKEW_SECONDS - 1 <= apart <= CLOCK_SKEW_SECONDS:
            raise Doubted(f"its clock and ours are {abs(apart):.0f} s apart")


def _read_body(answer: Answer) -> _Body:
    body = None
    if answer.content_type in _JSON:
        try:
            body = msgspec.json.decode(answer.body, type=_Body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if answer.status == 200:
                what = f"what it answers is not of its API: {error}"
                raise SourceError(PROMETHEUS, what) from None
    if body is not None and body.status == "error":
        told = one_line(body.error)[:SHOWN]
        raise SourceError(PROMETHEUS, f"it refuses the query ({one_line(body.errorType)}): {told}")
    if answer.status != 200:
        hint = _HINTS.get(answer.status, "expected 200")
        raise SourceError(PROMETHEUS, f"it answered with status {answer.status}: {hint}")
    if body is None:
        what = f"it answered {answer.content_type}, expected application/json"
        raise SourceError(PROMETHEUS, what)
    return body


def _read_rows(body: _Body) -> list[Row]:
    """Every series of a range vector. Raises SourceError for anything else."""
    if body.status != "success" or body.data is None:
        raise SourceError(PROMETHEUS, "what it answers is not of its API: no success, no data")
    if body.data.resultType != "matrix":
        found = one_line(body.data.resultType)[:SHOWN]
        raise SourceError(PROMETHEUS, f"it answered a {found}, expected a matrix of raw samples")
    try:
        series = msgspec.json.decode(body.data.result, type=list[_Found])
        return [
            Row(
                one.metric,
                sorted((moment, float(text)) for moment, text in one.values),
                bool(one.histograms),
            )
            for one in series
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise SourceError(PROMETHEUS, f"what it answers is not of its API: {error}") from None
