"""How sure and how fresh a verdict must be: from the defaults, the settings and what was asked.

Whatever is looser than the default is told with the verdict: a gate that was made to pass must
show it.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.blocks import Rule, Share
from phasegate.contract.criteria import (
    CRITERIA,
    Decision,
    Direction,
    max_age,
    passing_floor,
    passing_limit,
)
from phasegate.contract.dossier import Options
from phasegate.contract.gates import min_span
from phasegate.contract.increase import Margin
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import CountedCriterion
from phasegate.contract.units import format_duration

ALLOWED_OVER = 0.05
"""Of the probes, since the criterion is on their 95th percentile."""
_DEFAULT = Rule()


def oldest(settings: Settings, options: Options, criterion: str) -> float:
    """Seconds after which evidence decides nothing."""
    return max_age(settings, criterion) if options.max_age is None else options.max_age


def make_rule(settings: Settings, options: Options, criterion: str) -> Rule:
    """The rule of a criterion that is decided by counts; the call beats the settings."""
    given: CountedCriterion = getattr(settings.criteria, criterion)
    exporter = settings.exporter
    # Between two probes, and between two readings of a counter, nobody measures.
    between = max(exporter.probe_interval, exporter.evidence_block)
    return Rule(
        confidence=_first(options.confidence, given.confidence, _DEFAULT.confidence),
        assumed_dispersion=_first(given.assumed_dispersion, _DEFAULT.assumed_dispersion),
        min_span=_first(options.min_span, given.min_span, min_span(options.phase)),
        max_age=oldest(settings, options, criterion),
        max_gap=max(_DEFAULT.max_gap, 3 * between),
        pause=max(_DEFAULT.pause, 2 * exporter.probe_interval),
        anytime=options.anytime,
    )


def passing_share(settings: Settings, criterion: str) -> Share:
    """What share of the tries may be bad."""
    limit = passing_limit(settings, criterion)
    if limit.direction is Direction.ABOVE:
        return Share(ALLOWED_OVER, limit.value)
    # Without the tail that subtracting leaves.
    return Share(round(1 - limit.value, 12))


def passing_margin(settings: Settings, criterion: str) -> Margin:
    """How much of an increase is none."""
    return Margin(passing_limit(settings, criterion).value, passing_floor(settings, criterion))


def is_counted(criterion: str) -> bool:
    """Whether it is decided by a test on counts, and so has a rule."""
    entry = CRITERIA.get(criterion)
    return entry is not None and entry.decision in (Decision.COUNTS, Decision.INCREASE)


def find_loosened(settings: Settings, options: Options, criterion: str) -> tuple[str, ...]:
    """What is easier to pass than by the defaults, each as a sentence."""
    return tuple(_loosened(settings, options, criterion))


def _loosened(settings: Settings, options: Options, criterion: str) -> Iterator[str]:
    entry, limit = CRITERIA[criterion], passing_limit(settings, criterion)
    rises = limit.direction is Direction.ABOVE
    if limit.value != entry.warning and (limit.value > entry.warning) is rises:
        found, usual = (format_value(value, entry.unit) for value in (limit.value, entry.warning))
        yield f"limit {found} instead of {usual}"
    plain = Settings(criteria=type(settings.criteria)(), exporter=settings.exporter)
    found_age, usual_age = oldest(settings, options, criterion), max_age(plain, criterion)
    if found_age > usual_age:
        yield f"age {format_duration(found_age)} instead of {format_duration(usual_age)}"
    if not is_counted(criterion):
        return
    if entry.decision is Decision.INCREASE:
        floor = passing_floor(settings, criterion)
        if floor > entry.floor:
            found, usual = (format_value(value, Unit.RATIO) for value in (floor, entry.floor))
            yield f"floor {found} instead of {usual}"
    rule = make_rule(settings, options, criterion)
    if rule.confidence < _DEFAULT.confidence:
        yield f"confidence {rule.confidence:.4g} instead of {_DEFAULT.confidence:.4g}"
    if rule.assumed_dispersion < _DEFAULT.assumed_dispersion:
        yield (
            f"assumed dispersion {rule.assumed_dispersion:.4g} "
            f"instead of {_DEFAULT.assumed_dispersion:.4g}"
        )
    if rule.min_span < min_span(options.phase):
        usual = format_duration(min_span(options.phase))
        yield f"span {format_duration(rule.min_span)} instead of {usual}"


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
