"""One criterion judged on one dossier: the verdict of `validate`, of every gate and of replays.

Pure: neither a clock nor a network. Nothing passes for want of evidence: what nobody measures, what
cannot be believed and what is too little is inconclusive; what could not be read is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from msgspec.structs import replace

from phasegate.contract import belief
from phasegate.contract.baseline import OTHER_SETTINGS, find_baseline_doubt
from phasegate.contract.belief import Belief, Reason, believe, is_pinned
from phasegate.contract.blocks import Rule
from phasegate.contract.coverage import AUDIT_COVERAGE, Window, evaluate_coverage
from phasegate.contract.criteria import (
    CRITERIA,
    MEASURED,
    Decision,
    expected_subjects,
    missing_source,
    passing_limit,
)
from phasegate.contract.dossier import PROMETHEUS, Dossier, Options
from phasegate.contract.evaluate import evaluate_exact
from phasegate.contract.evidence import CACHE, DATABASE, LONGEST_SCRAPE_SECONDS, Evidence
from phasegate.contract.increase import evaluate_increase
from phasegate.contract.issues import evaluate_issues
from phasegate.contract.model import Judgement, Observation, Series, Verdict
from phasegate.contract.proportions import evaluate_share, name_subject
from phasegate.contract.rules import (
    find_loosened,
    make_rule,
    oldest,
    passing_margin,
    passing_share,
)
from phasegate.contract.settings import Settings
from phasegate.contract.tests_passed import evaluate_tests

JUNIT, BASELINE, AUDIT_PROOFS = "junit", "baseline", "audit_proofs"
ISSUE_SOURCES = ("alerts", "tracker", "signoff")
LATENCY, HIT_RATE, HEALTH = "uuid_lookup_latency", "cache_hit_rate", "health"
APPLICATION = "application"

_CAPTURE = "capture one of this environment before the change: phasegate baseline capture"
_LOOK = "see that the exporter measures this configuration's servers, then judge again"


class _Case(NamedTuple):
    """What a criterion is judged on."""

    evidence: Evidence
    believed: Belief
    dossier: Dossier
    settings: Settings
    options: Options


def judge(criterion: str, dossier: Dossier, settings: Settings, options: Options) -> Judgement:
    """The verdict of `criterion` at `dossier.judged`, with what decided it in `facts`.

    Of `facts`, `loosened` names what is easier to pass than by default, `notes` what limits
    nothing and should be known; `hopeless` is set where no wait can bring evidence.
    """
    if missing := missing_for(settings, criterion):
        reason = "nothing is configured to be measured"
        if criterion not in CRITERIA:
            reason = "this release has no source of evidence for it"
        return _undecided(criterion, reason, f"it needs {missing}", hopeless=True)
    if CRITERIA[criterion].decision is Decision.TESTS:
        return _judge_tests(criterion, dossier, settings, options)
    if CRITERIA[criterion].decision is Decision.ISSUES:
        return _judge_issues(criterion, dossier, settings, options)
    judges = _JUDGES.get(CRITERIA[criterion].decision)
    if judges is None:
        return _undecided(criterion, "it only alerts", "ask for another criterion", hopeless=True)
    evidence = dossier.evidence
    if doubt := dossier.doubts.get("") or dossier.doubts.get(criterion):
        return _undecided(criterion, f"evidence is not believed: {doubt}", _LOOK)
    if evidence is None:
        return _without_evidence(criterion, dossier)
    believed = believe(evidence, settings, options, dossier.judged, dossier.identities)
    if believed.doubt:
        return _undecided(criterion, f"evidence is not believed: {believed.doubt}", _LOOK)
    found = judges(criterion, _Case(evidence, believed, dossier, settings, options))
    # Without an answer of its own the judge cannot know of which server the evidence must be.
    problem = dossier.problem_of(_subject_of(criterion))
    if problem and found.verdict is Verdict.INCONCLUSIVE:
        found = replace(found, verdict=Verdict.ERROR, reason=problem.what, remedy=belief.PIN)
    loosened = find_loosened(settings, options, criterion)
    notes = (*believed.notes, *found.facts.get("notes", ()))
    return replace(found, facts=found.facts | {"loosened": loosened, "notes": notes})


def missing_for(settings: Settings, criterion: str) -> str:
    """What would give this criterion its evidence; empty where it is there."""
    if criterion not in CRITERIA:
        return "a source of evidence"
    return missing_source(settings, criterion)


def needs_exporter(criteria: Iterable[str]) -> bool:
    """Whether one of them is judged on what the exporter measures."""
    return any(name in CRITERIA and _is_measured(name) for name in criteria)


def asks_for_issues(criteria: Iterable[str]) -> bool:
    """Whether one of them is judged on what customers report."""
    return any(name in CRITERIA and CRITERIA[name].decision is Decision.ISSUES for name in criteria)


def needs_connection(criteria: Iterable[str], settings: Settings) -> bool:
    """Whether only the database itself can say which one its evidence must be of."""
    asked = any(
        not missing_for(settings, name) and _is_measured(name) and _subject_of(name) == DATABASE
        for name in criteria
    )
    return asked and not is_pinned(settings) and settings.database.configured


def _undecided(criterion: str, reason: str, remedy: str, *, hopeless: bool = False) -> Judgement:
    facts = {"hopeless": True} if hopeless else {}
    return Judgement(criterion, Verdict.INCONCLUSIVE, reason, remedy, facts=facts)


def _without_evidence(criterion: str, dossier: Dossier) -> Judgement:
    measurer = dossier.measurer
    problem = dossier.problem_of(measurer)
    if problem is None:
        reason = f"no {measurer} is configured to give evidence"
        return _undecided(criterion, reason, f"configure {measurer}.url", hopeless=True)
    remedy = f"see that the {measurer} runs, and that {measurer}.url leads to it"
    return Judgement(criterion, Verdict.ERROR, problem.what, remedy)


def _judge_tests(
    criterion: str, dossier: Dossier, settings: Settings, options: Options
) -> Judgement:
    if dossier.tests is None:
        reason = "no results of tests were given"
        return _undecided(criterion, reason, "name their files: --junit GLOB", hopeless=True)
    found = evaluate_tests(
        criterion,
        dossier.tests,
        [problem.what for problem in dossier.problems if problem.source == JUNIT],
        judged=dossier.judged,
        since=options.values_since,
        max_age=oldest(settings, options, criterion),
    )
    loosened = find_loosened(settings, options, criterion)
    return replace(found, facts=found.facts | {"loosened": loosened})


def _judge_issues(
    criterion: str, dossier: Dossier, settings: Settings, options: Options
) -> Judgement:
    found = evaluate_issues(
        criterion,
        dossier.issues,
        settings.issues,
        [one.what for one in dossier.problems if one.source.partition(" ")[0] in ISSUE_SOURCES],
        judged=dossier.judged,
        since=options.values_since,
        max_age=oldest(settings, options, criterion),
    )
    loosened = find_loosened(settings, options, criterion)
    return replace(found, facts=found.facts | {"loosened": loosened})


def _is_measured(criterion: str) -> bool:
    return CRITERIA[criterion].decision in MEASURED


def _subject_of(criterion: str) -> str:
    """What must be known for certain to be the one that is asked about."""
    if CRITERIA[criterion].decision is Decision.INCREASE:
        return APPLICATION
    return CACHE if criterion == HIT_RATE else DATABASE


def _judge_counts(criterion: str, case: _Case) -> Judgement:
    scope, identities, expected = _asked(criterion, case)
    since = case.options.since
    series = [
        replace(one, blocks=tuple(block for block in one.blocks if block.start >= since))
        for one in case.evidence.series
        if one.criterion == criterion and one.scope == scope
    ]
    judged = evaluate_share(
        criterion,
        series,
        _rule(criterion, case),
        case.dossier.judged,
        passing_share(case.settings, criterion),
        identities=identities,
        expected=expected,
        doubts={name: doubt.what for name, doubt in case.believed.doubts.items()},
        remedy=CRITERIA[criterion].remedy,
    )
    return replace(judged, facts=judged.facts | {"scope": scope})


def _rule(criterion: str, case: _Case) -> Rule:
    """The rule of counts. Between two scrapes nobody knows more, so that a restart of the exporter
    leaves a gap of one or two of them; the exporter's own blocks have no such gap."""
    rule = make_rule(case.settings, case.options, criterion)
    if case.dossier.measurer != PROMETHEUS:
        return rule
    between = min(case.evidence.block_seconds, LONGEST_SCRAPE_SECONDS)
    return replace(rule, max_gap=max(rule.max_gap, 3 * between))


def _asked(criterion: str, case: _Case) -> tuple[str, dict[str, str], frozenset[str]]:
    """The scope that is judged, the identity that each target must have, what must be there."""
    settings, application = case.settings, case.settings.application
    if criterion == HIT_RATE and application is not None and application.cache is not None:
        # The application names its caches itself; its address is what identifies it.
        address = case.dossier.identities.get(APPLICATION, "")
        return APPLICATION, {one.target: address for one in case.evidence.series}, frozenset()
    if criterion == HIT_RATE:
        subject = name_subject(CACHE, "server", "", "")
        return "server", case.believed.identities, frozenset({subject})
    subjects = {
        name_subject(target, "", *table.name)
        for target in (DATABASE, *settings.database.replicas)
        for table in settings.tables
    }
    return "", case.believed.identities, frozenset(subjects)


def _judge_increase(criterion: str, case: _Case) -> Judgement:
    dossier, baseline = case.dossier, case.dossier.baseline
    if problem := dossier.problem_of(BASELINE):
        return Judgement(criterion, Verdict.ERROR, problem.what, _CAPTURE)
    if baseline is None:
        return _undecided(criterion, "no baseline was captured", _CAPTURE, hopeless=True)
    address = dossier.identities.get(APPLICATION, "")
    before = baseline.counted(criterion, APPLICATION)
    present = {target.name: target.identity for target in case.evidence.targets}
    doubt = find_baseline_doubt(
        *(baseline, before),
        environment=case.evidence.environment,
        database=present.get(DATABASE, ""),
        address=address,
        now=dossier.judged,
    )
    if before is None or doubt:
        reason = f"the baseline is not believed: {doubt}"
        return _undecided(criterion, reason, _CAPTURE, hopeless=True)
    late = before.end - case.options.values_since
    if case.options.values_since and late > 0:
        reason = f"the baseline goes on until {late:.0f} s after the time that was asked for"
        remedy = "name one that was captured before it: --baseline FILE"
        return _undecided(criterion, reason, remedy, hopeless=True)
    # What the baseline itself counted is nothing to compare with it.
    since = max(case.options.since, before.end)
    series = [
        replace(one, blocks=tuple(block for block in one.blocks if block.start >= since))
        for one in case.evidence.series
        if one.criterion == criterion
    ]
    hashes = {one.blocks[-1].settings_hash for one in series if one.blocks}
    if hashes - {before.settings_hash}:
        return _undecided(criterion, f"the baseline {OTHER_SETTINGS}", _CAPTURE, hopeless=True)
    if _lives_again(series):
        reason = "two processes answer in turn at the application's address: each hides the other"
        return _undecided(criterion, reason, "let application.metrics_url lead to all or to one")
    return evaluate_increase(
        criterion,
        before,
        series,
        make_rule(case.settings, case.options, criterion),
        dossier.judged,
        margin=passing_margin(case.settings, criterion),
        identities={APPLICATION: address},
        expected=frozenset({APPLICATION}),
        remedy=CRITERIA[criterion].remedy,
    )


def _lives_again(series: Iterable[Series]) -> bool:
    """Whether counts of an earlier start of the application come after those of a later one."""
    starts = [block.epoch.partition("/")[0] for one in series for block in one.blocks]
    lives = [start for start, _ in groupby(starts)]
    return len(set(lives)) < len(lives)


def _judge_exact(criterion: str, case: _Case) -> Judgement:
    believed, settings = case.believed, case.settings
    judged = evaluate_exact(
        criterion,
        [one for one in case.evidence.observations if _counts(one, believed, case.options)],
        case.dossier.judged,
        passing_limit(settings, criterion),
        oldest(settings, case.options, criterion),
        expected=expected_subjects(settings, criterion),
    )
    concerned = [
        doubt.what
        for name, doubt in believed.doubts.items()
        if criterion == HEALTH or name == DATABASE
    ]
    if not concerned or judged.verdict is Verdict.FAILED:
        return judged
    verdict, reason = Verdict.INCONCLUSIVE, "; ".join(concerned)
    return replace(judged, verdict=verdict, reason=reason, remedy=_LOOK)


def _judge_coverage(_: str, case: _Case) -> Judgement:
    facts, options, dossier = case.evidence.audit, case.options, case.dossier
    # What of the database is not believed cannot fail it either: it is of another one.
    if facts is not None and facts.identity != case.believed.identities.get(DATABASE):
        doubt = case.believed.doubts.get(DATABASE)
        reason = "it is of another server than the rest" if doubt is None else doubt.what
        return _undecided(AUDIT_COVERAGE, reason, _LOOK)
    window = Window(
        options.since, options.values_since, oldest(case.settings, options, AUDIT_COVERAGE)
    )
    judged = evaluate_coverage(case.settings, facts, dossier.judged, window, dossier.proofs)
    problem = dossier.problem_of(AUDIT_PROOFS)
    if problem is None or judged.verdict is Verdict.FAILED:
        return judged
    remedy = "see that database.url leads to the database, or ask for no proof"
    return replace(judged, verdict=Verdict.ERROR, reason=problem.what, remedy=remedy)


def _counts(one: Observation, believed: Belief, options: Options) -> bool:
    """Whether a measured value is evidence: of a believed target, and true since the origin.

    Without a target it is of the exporter's own configuration. That a target of which nobody
    knows the identity is down still counts: only another one's state says nothing.
    """
    if not one.time >= options.values_since:
        return False
    doubt = believed.doubts.get(one.target)
    if doubt is None:
        return one.target in ("", *believed.identities)
    return one.criterion == HEALTH and doubt.reason is not Reason.OTHER and one.value != 1


_JUDGES: dict[Decision, Callable[[str, _Case], Judgement]] = {
    Decision.COUNTS: _judge_counts,
    Decision.COVERAGE: _judge_coverage,
    Decision.EXACT: _judge_exact,
    Decision.INCREASE: _judge_increase,
}
