"""What `--list` and `--explain` print: how each criterion would be judged here. Offline."""

from __future__ import annotations

import math
from collections.abc import Iterator

from phasegate.contract.criteria import CRITERIA, Decision, Direction, passing_floor, passing_limit
from phasegate.contract.dossier import Options
from phasegate.contract.judge import missing_for
from phasegate.contract.proportions import FAILING_ALPHA
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.rules import find_loosened, is_counted, make_rule, oldest, passing_share
from phasegate.contract.settings import Settings
from phasegate.contract.settings_issues import Issues
from phasegate.contract.statistics import LEAST_TO_FAIL
from phasegate.contract.units import format_duration


def render_list(criteria: tuple[str, ...], known: tuple[str, ...], settings: Settings) -> str:
    """A line a criterion: `*` where it is judged now, its limit, what is missing."""
    lines = []
    for name in known:
        chosen = "*" if name in criteria else " "
        missing = missing_for(settings, name)
        limit = f"needs {missing}" if missing else describe_limit(settings, name)
        lines.append(f"{chosen} {name:<22} {limit}")
    return "\n".join([*lines, "", "* is judged by this call", ""])


def render_explanation(criteria: tuple[str, ...], settings: Settings, options: Options) -> str:
    """How each of the criteria is decided under these settings and flags."""
    parts = []
    for name in criteria:
        body = "\n".join(f"  {line}" for line in _explain(name, settings, options))
        parts.append(f"{name}\n{body}\n")
    return "\n".join(parts)


def describe_limit(settings: Settings, name: str) -> str:
    """`fewer than 5 % over 10 ms`, `more than 90 %`, `at most 0 rows`."""
    entry, limit = CRITERIA[name], passing_limit(settings, name)
    shown = format_value(limit.value, limit.unit)
    if entry.decision is Decision.COUNTS and limit.direction is Direction.ABOVE:
        return f"fewer than {100 * passing_share(settings, name).share:g} % of tries over {shown}"
    if entry.decision is Decision.COUNTS:
        return f"more than {shown}"
    if entry.decision is Decision.INCREASE:
        floor = format_value(passing_floor(settings, name), Unit.RATIO)
        return f"at most {shown}, or fewer than {floor} of requests"
    if entry.critical is None:
        return f"all {shown}" if entry.direction is Direction.BELOW else f"exactly {shown}"
    return f"{'at most' if limit.direction is Direction.ABOVE else 'at least'} {shown}"


def _explain(name: str, settings: Settings, options: Options) -> Iterator[str]:
    missing = missing_for(settings, name)
    if missing:
        yield f"inconclusive here: it needs {missing}"
        return
    yield f"passes with {describe_limit(settings, name)}"
    age = oldest(settings, options, name)
    if math.isfinite(age):
        yield f"evidence no older than {format_duration(age)}"
    if CRITERIA[name].decision is Decision.TESTS:
        yield "of the files of --junit; one test at least must have run"
    if CRITERIA[name].decision is Decision.ISSUES:
        yield from _explain_issues(settings.issues)
    if CRITERIA[name].decision is Decision.INCREASE:
        yield "against the file of --baseline, or baseline.json beside the configuration"
    if is_counted(name):
        rule = make_rule(settings, options, name)
        way = "e-value, for any number of looks" if rule.anytime else "exact binomial, one look"
        yield f"by {way}; passing with a confidence of {rule.confidence:g}"
        yield f"failing with one of {1 - FAILING_ALPHA:g}, on {LEAST_TO_FAIL:g} tries at least"
        yield f"span of at least {format_duration(rule.min_span)}, no gap over {rule.max_gap:g} s"
        yield f"dispersion measured from 20 blocks on, else assumed: {rule.assumed_dispersion:g}"
    for what in find_loosened(settings, options, name):
        yield f"loosened: {what}"


def _explain_issues(issues: Issues) -> Iterator[str]:
    for source in issues.alerts:
        wanted = ", ".join(f"{label}=~{value}" for label, value in source.match.items())
        yield f"no alert of {source.name} fires or is silenced that matches {wanted}"
        yield f"alerting of {source.name} lives: {source.watchdog} fires"
    for query in issues.tracker:
        yield f"the query of {query.name} counts none by {query.path}"
    if issues.signoff is not None:
        yield f"every item of {issues.signoff.file} is checked, by whom and when, and not expired"
        for item in issues.signoff.required:
            yield f"it holds the item {item}"
