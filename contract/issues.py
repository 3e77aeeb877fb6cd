"""Judges whether customers report issues: by alerts, trackers' counts and sign-offs. Pure.

One issue fails the criterion whatever else is missing. It passes only where every configured source
answered, none knows of an issue, and nothing makes its silence doubtful.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from phasegate.contract.criteria import CRITERIA
from phasegate.contract.evaluate import list_first
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.settings_issues import AlertSource, Issues
from phasegate.contract.times import format_time
from phasegate.contract.units import format_duration

REACH = "see that what is configured under issues answers, then judge again"
CLEAR = "clear what is doubtful at its source, then judge again"
OLDEST_WATCHDOG_SECONDS = 300.0
"""A Prometheus sends a firing alert again each minute; an Alertmanager forgets it after some."""
_EVALUATIONS = 3
_LEAST_EVALUATION_SECONDS = 120.0


class Alert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One alert that matches, or the watchdog. `state` is firing, pending or suppressed; `shown`
    its name and labels, fit to be printed; `since` Unix seconds, 0 where it is not known; `updated`
    when its sender last sent it, None where nobody knows. `suppressed_by` are sentences."""

    shown: str
    state: str
    since: float = 0.0
    updated: float | None = None
    suppressed_by: tuple[str, ...] = ()


class AlertRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alerting rule that can give an alert that matches. `labels` are those of `match` that it
    sets itself; `interval` in seconds, `evaluated` in Unix seconds."""

    name: str
    health: str
    error: str
    evaluated: float
    interval: float
    labels: tuple[str, ...] = ()


class AlertAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one source of alerts said. `rules` is None where it knows none (an Alertmanager)."""

    name: str
    alerts: tuple[Alert, ...] = ()
    watchdogs: tuple[Alert, ...] = ()
    rules: tuple[AlertRule, ...] | None = None
    warnings: tuple[str, ...] = ()


class TrackerAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one query counted; `partial` says why it may not have seen all."""

    name: str
    count: int
    listed: bool = False
    partial: str = ""


class SignedItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item; times are Unix seconds, None where it has none."""

    item: str
    checked: bool
    by: str = ""
    at: float | None = None
    expires: float | None = None


class SignedList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The items of one file, with the SHA-256 of its bytes."""

    path: str
    sha256: str
    items: tuple[SignedItem, ...]


class IssueAnswers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the configured sources said."""

    alerts: tuple[AlertAnswer, ...] = ()
    tracker: tuple[TrackerAnswer, ...] = ()
    signoff: SignedList | None = None


class _Time(NamedTuple):
    judged: float
    since: float
    max_age: float


class _Finding(NamedTuple):
    """Of one source: what it says, and how much it found."""

    source: str
    issues: list[str]
    doubts: list[str]
    notes: list[str]
    number: int


def evaluate_issues(
    criterion: str,
    answers: IssueAnswers,
    configured: Issues,
    unreadable: Sequence[str],
    *,
    judged: float,
    since: float,
    max_age: float,
) -> Judgement:
    """The verdict at `judged` of what every source in `configured` said.

    `unreadable` are sentences on what could not be read. Sign-offs count if they were given at
    `since` or later and are not older than `max_age` seconds, infinite for no limit.
    """
    time = _Time(judged, since, max_age)
    found = list(_find(answers, configured, time))
    issues = [f"{one.source}: {what}" for one in found for what in one.issues]
    doubts = [f"{one.source}: {what}" for one in found for what in one.doubts]
    notes = [f"{one.source}: {what}" for one in found for what in one.notes]
    if not unreadable:
        doubts += _unanswered(configured, {one.source for one in found})
    count, remedy = sum(one.number for one in found), CRITERIA[criterion].remedy
    if issues:
        verdict, reason = Verdict.FAILED, list_first(issues)
    elif unreadable:
        verdict, reason, remedy = Verdict.ERROR, list_first(unreadable), REACH
    elif doubts or not found:
        verdict, remedy = Verdict.INCONCLUSIVE, CLEAR
        reason = list_first(doubts) or "no source of issues was asked"
    else:
        verdict, remedy = Verdict.PASSED, ""
        reason = f"no issue known to {', '.join(one.source for one in found)}"
    facts = {
        "subjects": len(found),
        "undecided": len(doubts),
        "sources": {one.source: one.number for one in found},
        "doubts": doubts,
        "notes": notes,
    }
    return Judgement(criterion, verdict, reason, remedy, float(count), 0.0, facts)


def can_match(match: Mapping[str, str], name: str, labels: Mapping[str, str]) -> bool:
    """Whether a rule of this name, with these labels of its own, can give an alert that matches.

    A label that it does not set, or sets by a template, may come to have any value.
    """
    fixed = {key: value for key, value in labels.items() if "{{" not in value} | {"alertname": name}
    return all(re.fullmatch(match[key], fixed[key]) for key in match if key in fixed)


def does_match(match: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether an alert with these labels matches all expressions; a label it lacks is empty."""
    return all(re.fullmatch(wanted, labels.get(key, "")) for key, wanted in match.items())


def _find(answers: IssueAnswers, configured: Issues, time: _Time) -> Iterator[_Finding]:
    alerts = {one.name: one for one in answers.alerts}
    for source in configured.alerts:
        if source.name in alerts:
            yield _of_alerts(alerts[source.name], source, time)
    queries = {one.name: one for one in answers.tracker}
    for query in configured.tracker:
        if query.name in queries:
            yield _of_tracker(queries[query.name])
    if configured.signoff is not None and answers.signoff is not None:
        yield _of_signoff(answers.signoff, configured.signoff.required, time)


def _unanswered(configured: Issues, found: set[str]) -> list[str]:
    wanted = [f"alerts {one.name}" for one in configured.alerts]
    wanted += [f"tracker {one.name}" for one in configured.tracker]
    wanted += ["signoff"] if configured.signoff else []
    return [f"{name}: it was not asked" for name in wanted if name not in found]


def _of_alerts(answer: AlertAnswer, source: AlertSource, time: _Time) -> _Finding:
    firing, doubts, notes = [], [], []
    for one in answer.alerts:
        since = f" since {format_time(one.since)}" if one.since > 0 else ""
        if one.state == "pending":
            notes.append(f"{one.shown} is pending{since}")
        elif one.state == "suppressed":
            doubts.append(f"{one.shown} is {list_first(one.suppressed_by) or 'suppressed'}")
        else:
            firing.append(f"{one.shown} fires{since}")
    doubts += [f"it warns: {what}" for what in answer.warnings]
    doubts += _watchdog_doubts(answer, source.watchdog, time.judged)
    if answer.rules is None:
        notes.append("an Alertmanager knows no rules: nothing shows that one can match")
    else:
        doubts += _rule_doubts(answer.rules, time.judged)
        doubts += _unset_labels(answer.rules, source.match)
    return _Finding(f"alerts {answer.name}", firing, doubts, notes, len(firing))


def _watchdog_doubts(answer: AlertAnswer, name: str, judged: float) -> Iterator[str]:
    living = [one for one in answer.watchdogs if one.state != "pending"]
    if not living:
        yield f"the alert {name}, which always fires, is missing: alerting itself may be dead"
        return
    ages = [judged - one.updated for one in living if one.updated is not None]
    fresh = [age for age in ages if -CLOCK_SKEW_SECONDS <= age <= OLDEST_WATCHDOG_SECONDS]
    if len(ages) == len(living) and not fresh:
        limit = format_duration(OLDEST_WATCHDOG_SECONDS)
        yield f"the alert {name} was last sent {_when(min(ages))}, not within {limit}"


def _rule_doubts(rules: Sequence[AlertRule], judged: float) -> Iterator[str]:
    if not rules:
        yield "no alerting rule can match"
    for rule in rules:
        age = judged - rule.evaluated
        limit = max(_LEAST_EVALUATION_SECONDS, _EVALUATIONS * rule.interval)
        if rule.health != "ok":
            told = f": {rule.error}" if rule.error else ""
            yield f"the rule {rule.name} has the health {rule.health or 'unknown'}{told}"
        elif not -CLOCK_SKEW_SECONDS <= age <= limit:
            yield f"the rule {rule.name} was last evaluated {_when(age)}"


def _unset_labels(rules: Sequence[AlertRule], match: Mapping[str, str]) -> Iterator[str]:
    """A label that only series would bring along may be misspelt: nobody knows before one fires."""
    for label in match:
        if rules and not any(label in rule.labels for rule in rules):
            yield f"no rule sets the label {label}; match by alertname, or by labels of the rules"


def _when(age: float) -> str:
    if not math.isfinite(age) or age > 10 * 365 * 86_400:
        return "never"
    if age < 0:
        return f"{-age:.0f} s in the future; compare the clocks"
    return f"{age:.0f} s ago"


def _of_tracker(answer: TrackerAnswer) -> _Finding:
    issues, doubts = [], []
    if answer.count > 0:
        least = "at least " if answer.listed or answer.partial else ""
        issues.append(f"{least}{answer.count} open issues")
    elif answer.partial:
        doubts.append(f"none counted, but {answer.partial}")
    return _Finding(f"tracker {answer.name}", issues, doubts, [], answer.count)


def _of_signoff(signed: SignedList, required: Sequence[str], time: _Time) -> _Finding:
    open_items = [f"{one.item} is open" for one in signed.items if not one.checked]
    doubts = [
        f"{one.item} {doubt}"
        for one in signed.items
        if one.checked and (doubt := _item_doubt(one, time))
    ]
    counts = Counter(one.item for one in signed.items)
    doubts += [f"{item} stands there {count} times" for item, count in counts.items() if count > 1]
    doubts += [f"{item} is required and not in the list" for item in required if item not in counts]
    if not signed.items:
        doubts.append("the list holds no item")
    return _Finding("signoff", open_items, doubts, [], len(open_items))


def _item_doubt(one: SignedItem, time: _Time) -> str:
    """Why a checked item decides nothing; empty where it does."""
    missing = [
        name
        for name, value in (("by", one.by), ("at", one.at), ("expires", one.expires))
        if value is None or value == ""
    ]
    if missing or one.at is None or one.expires is None:
        return f"is checked without {' and '.join(missing)}"
    age = time.judged - one.at
    if age < -CLOCK_SKEW_SECONDS:
        return f"was signed {-age:.0f} s in the future; compare the clocks"
    if not math.isfinite(one.expires):
        return "expires at no known time"
    if not time.judged < one.expires:
        return f"was signed by {one.by} until {format_time(one.expires)}, which is over"
    if not one.at >= time.since:
        return f"was signed {time.since - one.at:.0f} s before the time that was asked for"
    if not age <= time.max_age:
        return f"was signed {age:.0f} s ago, longer than {format_duration(time.max_age)}"
    return ""
