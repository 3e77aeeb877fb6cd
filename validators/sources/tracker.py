"""Trackers' counts of open issues: one JSON query each, and an expression that finds the count.

Only a whole number, or a list, is a count. What may have been cut short (a further page, a search
that gave up) never says that there is none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import ConfigError, ConfigFault, SourceError
from phasegate.contract.issues import TrackerAnswer
from phasegate.contract.judge import asks_for_issues
from phasegate.contract.settings import Settings
from phasegate.contract.settings_issues import TrackerQuery
from phasegate.validators.printable import shorten
from phasegate.validators.sources import Request, with_problem

if TYPE_CHECKING:
    from phasegate.validators.http_get import Answer

NAME = "tracker"
MOST = 2**53
# RFC 8288: quoted or not, and among other relations.
_NEXT = re.compile(r'\brel\s*=\s*(?:"[^"]*\bnext\b[^"]*"|next\b)', re.IGNORECASE)


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the count of each query; one that gives none leaves those of the others. Raises
    ConfigError for an expression that is none."""
    queries = request.settings.issues.tracker
    if not queries or not asks_for_issues(request.criteria):
        return dossier
    expressions = [_compile(request.settings, index) for index in range(len(queries))]
    found = []
    for query, expression in zip(queries, expressions, strict=True):
        try:
            found.append(_count(query, expression))
        except SourceError as error:
            dossier = with_problem(dossier, error)
    return replace(dossier, issues=replace(dossier.issues, tracker=tuple(found)))


def _compile(settings: Settings, index: int) -> Any:
    import jmespath  # noqa: PLC0415
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415

    try:
        return jmespath.compile(settings.issues.tracker[index].path)
    except JMESPathError as error:
        fault = ConfigFault(
            *(str(settings.file), 0, 0, f"issues.tracker[{index}].path"),
            found=shorten(str(error)),
            expected="a JMESPath expression",
        )
        raise ConfigError((fault,)) from None


def _count(query: TrackerQuery, expression: Any) -> TrackerAnswer:
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415

    from phasegate.validators.json_answer import ask, decode  # noqa: PLC0415

    name = f"{NAME} {query.name}"
    body = None if query.body is None else query.body.encode()
    answer = ask(query, query.url, name, method=query.method, body=body)
    data = decode(answer, name, object)
    # GraphQL tells its errors with status 200, beside what it found nevertheless.
    if isinstance(data, dict) and (data.get("errors") or data.get("error")):
        raise SourceError(name, "its answer holds errors")
    try:
        found = expression.search(data)
    except JMESPathError as error:
        raise SourceError(name, f"{query.path}: {shorten(str(error))}") from None
    listed = isinstance(found, list)
    count = len(found) if isinstance(found, list) else found
    if type(count) is not int or not 0 <= count <= MOST:
        shown = "nothing" if found is None else f"a {type(found).__name__}"
        shown = str(found) if type(found) in (int, float) else shown
        said = f"{query.path} gives {shown}, expected a count or a list"
        raise SourceError(name, said)
    partial = _partial(answer, data)
    if listed and isinstance(data, dict) and data.get("total") not in (None, count):
        partial = partial or f"it states a total of {shorten(str(data['total']))}"
    return TrackerAnswer(query.name, count, listed, partial)


def _partial(answer: Answer, data: object) -> str:
    """Why there may be more than the answer holds; empty where nothing says so."""
    headers = answer.headers
    if _NEXT.search(headers.get("link", "")) or headers.get("x-next-page", "").strip():
        return "there is a next page"
    try:
        if _has_next_page(data):
            return "there is a next page"
    except RecursionError:
        return "it is nested too deep to be looked through"
    if not isinstance(data, dict):
        return ""
    if data.get("incomplete_results") is True:
        return "the search gave up before its end"
    if data.get("isLast") is False or data.get("nextPageToken"):
        return "there is a next page"
    return ""


def _has_next_page(data: object) -> bool:
    """As GraphQL says it, at any depth."""
    if isinstance(data, dict):
        return data.get("hasNextPage") is True or any(map(_has_next_page, data.values()))
    return isinstance(data, list) and any(map(_has_next_page, data))
