"""From the flags of one call to what is asked, or a refusal that says which flag is wrong. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from msgspec.structs import replace

from phasegate.contract.dossier import Options
from phasegate.contract.gates import GATES, min_span
from phasegate.contract.judge import needs_exporter
from phasegate.contract.rules import is_counted, make_rule, oldest
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import GATE_CRITERIA, SUCCESS_CRITERIA
from phasegate.contract.times import EXPECTED, parse_time
from phasegate.contract.units import format_duration, parse_duration

if TYPE_CHECKING:
    from phasegate.validators.saved import Saved

JUDGED = SUCCESS_CRITERIA + GATE_CRITERIA
TESTS = "integration_tests"
WINDOW_SECONDS = 600.0
LEAST_CONFIDENCE = 0.5


class Flags(NamedTuple):
    """What of the command line decides the question; None where it was not given."""

    criteria: tuple[str, ...] = ()
    phase: str | None = None
    since: float | None = None
    window: float | None = None
    wait: float | None = None
    min_span: float | None = None
    max_age: float | None = None
    confidence: float | None = None
    junit: tuple[str, ...] = ()
    baseline: Path | None = None


class Call(NamedTuple):
    """The question. `fetched_since` is the Unix time from which on evidence is needed at all."""

    criteria: tuple[str, ...]
    options: Options
    fetched_since: float


def plan_call(flags: Flags, settings: Settings, now: float) -> Call:
    """The question at `now` (Unix seconds). Raises UsageError for flags that contradict.

    A window is one look, unless it is waited for: then its begin is the fixed origin, as that of
    `--since`, since whoever looks again needs the rule that allows it.
    """
    criteria = choose_criteria(flags, settings)
    if flags.since is not None and flags.window is not None:
        raise click.UsageError("--since or --window, not both")
    if flags.since is not None and flags.since > now:
        raise click.UsageError(f"--since lies {flags.since - now:.0f} s in the future")
    options = Options(
        anytime=flags.since is not None or flags.wait is not None,
        phase=flags.phase or "",
        min_span=flags.min_span,
        max_age=flags.max_age,
        confidence=flags.confidence,
    )
    spans = [make_rule(settings, options, name).min_span for name in criteria if is_counted(name)]
    longest = max(spans, default=0.0)
    if flags.since is not None:
        options = replace(options, since=flags.since, values_since=flags.since)
        return Call(criteria, options, flags.since)
    window = max(WINDOW_SECONDS, 2 * longest) if flags.window is None else flags.window
    if window < longest and flags.wait is None:
        shown = format_duration(longest)
        raise click.UsageError(f"--window is shorter than the least span of {shown}: never decides")
    options = replace(options, since=now - window)
    ages = [oldest(settings, options, name) for name in criteria if needs_exporter([name])]
    return Call(criteria, options, now - max(window, *ages, 0.0))


def plan_replay(flags: Flags, settings: Settings, saved: Saved) -> Call:
    """The question of saved evidence: its own, but for what the flags ask otherwise.

    The origin and the rule that belongs to it stay, unless another origin is named: the same
    evidence by an easier rule would be another judgement.
    """
    if flags.since is not None or flags.window is not None:
        return plan_call(flags, settings, saved.dossier.judged)
    chosen = bool(flags.criteria or flags.phase)
    criteria = choose_criteria(flags, settings) if chosen else saved.criteria
    given = {
        name: value
        for name in ("phase", "min_span", "max_age", "confidence")
        if (value := getattr(flags, name)) is not None
    }
    asked = saved.options.phase
    if flags.criteria and asked:
        # Some of a gate's criteria are no gate, and keep its span.
        given = {"phase": "", "min_span": saved.options.min_span or min_span(asked)} | given
    return Call(criteria, replace(saved.options, **given), saved.options.since)


def choose_criteria(flags: Flags, settings: Settings) -> tuple[str, ...]:
    """What is judged: those named, those of the gate, or those that the configuration requires.

    Results of tests that are given are judged, too, and never left aside without a word.
    """
    if flags.criteria and flags.phase:
        raise click.UsageError("--criterion or --phase, not both")
    chosen = flags.criteria or GATES.get(flags.phase or "", settings.criteria.required)
    if flags.junit and not flags.criteria:
        chosen = (*chosen, TESTS)
    if flags.junit and TESTS not in chosen:
        raise click.UsageError(f"--junit is for {TESTS}, which --criterion does not name")
    unknown = [name for name in chosen if name not in JUDGED]
    if unknown:
        known = ", ".join(JUDGED)
        raise click.UsageError(f"criterion {unknown[0]!r} is not known or no gate; one of {known}")
    return tuple(dict.fromkeys(chosen))


def spread_values(arguments: Sequence[str], flag: str) -> list[str]:
    """The arguments with the flag before each of its values: a shell spreads a glob into words."""
    spread: list[str] = []
    name = ""
    for position, word in enumerate(arguments):
        if word == "--":
            return [*spread, *arguments[position:]]
        if not word.startswith("-") and name == flag and spread[-1] != flag:
            spread.append(flag)
        elif word.startswith("-"):
            name = word.partition("=")[0]
        spread.append(word)
    return spread


def read_duration(
    context: click.Context | None, parameter: click.Parameter | None, given: str | None
) -> float | None:
    """Seconds of a flag that is written as durations of the configuration are."""
    if given is None:
        return None
    try:
        seconds = parse_duration(given)
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        expected = "a duration such as 90s, 15m or 1h30m"
        raise click.BadParameter(f"found {given!r}, expected {expected}", context, parameter)
    return seconds


def read_time(
    context: click.Context | None, parameter: click.Parameter | None, given: str | None
) -> float | None:
    """Unix seconds of a flag that is a point in time."""
    try:
        return None if given is None else parse_time(given)
    except ValueError:
        raise click.BadParameter(
            f"found {given!r}, expected {EXPECTED}", context, parameter
        ) from None


def read_confidence(
    context: click.Context | None, parameter: click.Parameter | None, given: str | None
) -> float | None:
    """A share of 1 that a criterion's own `confidence` could be."""
    if given is None:
        return None
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    # Written so that NaN is none.
    if not LEAST_CONFIDENCE <= value <= 0.9999:
        expected = "a confidence between 0.5 and 0.9999"
        raise click.BadParameter(f"found {given!r}, expected {expected}", context, parameter)
    return value
