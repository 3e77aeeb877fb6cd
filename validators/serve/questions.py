"""What a request asks, from the query of Argo Rollouts and the body of Flagger. Pure.

Whoever polls looks many times, so every question has a fixed origin: its own `since`, or the first
call of its `run`. A window that slides with each call is refused, since whoever looks at one until
it is green gets a wrong green in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click
import msgspec

from phasegate.contract.gates import GATES
from phasegate.contract.times import EXPECTED, parse_time
from phasegate.validators.call import Flags, read_confidence, read_duration

BEFORE = ("confirm-rollout", "pre-rollout")
DURING = ("rollout", "confirm-traffic-increase", "confirm-promotion")
ROLLBACK = "rollback"
HOOKS = (*BEFORE, *DURING, ROLLBACK)
_WAITING = "waiting"
_LONGEST_RUN = 500


class Question(NamedTuple):
    """`run` names the origin where `flags` has no `since`; `window` is how long before the first
    call of the run it lies (seconds). `begins` says whether this call may be that first one."""

    flags: Flags
    run: str = ""
    window: float = 0.0
    begins: bool = True


class Hook(msgspec.Struct, frozen=True):
    """What Flagger posts."""

    name: str
    namespace: str
    phase: str = ""
    checksum: str = ""
    metadata: dict[str, str] = {}


def read_query(query: Mapping[str, Sequence[str]]) -> Question:
    """The question of a query string. Raises UsageError, which names the parameter."""
    for name, values in query.items():
        if len(values) > 1 and name != "criterion":
            raise click.UsageError(f"parameter {name!r} is given twice")
    single = {name: values[0] for name, values in query.items() if name != "criterion"}
    return _question(tuple(query.get("criterion", ())), single, "argo")


def read_hook(kind: str, body: bytes) -> Question:
    """The question of one of `HOOKS`. Raises UsageError.

    What was measured before the new version got traffic says nothing of it, so hooks before and
    during the analysis have origins of their own.
    """
    try:
        hook = msgspec.json.decode(body, type=Hook)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError(f"the body is no webhook of Flagger: {error}") from None
    given = dict(hook.metadata)
    named = given.pop("criterion", None)
    criteria = () if named is None else tuple(name.strip() for name in named.split(","))
    if "since" not in given and "run" not in given:
        if not hook.checksum:
            raise click.UsageError("no checksum in the body; expected one, or metadata.since")
        given["run"] = hook.checksum
    stage = "before" if kind in BEFORE else "during"
    found = _question(criteria, given, f"flagger {stage} {hook.namespace}/{hook.name}")
    waits = kind == ROLLBACK and hook.phase.lower() == _WAITING
    return found._replace(begins=not waits)


def _question(criteria: tuple[str, ...], given: Mapping[str, str], asker: str) -> Question:
    unknown = [name for name in given if name not in _READERS and name not in ("phase", "run")]
    if unknown:
        known = ", ".join(("criterion", "phase", "run", *_READERS))
        raise click.UsageError(f"parameter {unknown[0]!r} is not known; one of {known}")
    read: dict[str, Any] = {name: _read(name, given[name]) for name in _READERS if name in given}
    phase, run = given.get("phase"), given.get("run")
    if phase is not None and phase not in GATES:
        raise click.UsageError(f"phase: found {phase!r}, expected one of {', '.join(GATES)}")
    if ("since" in read) is (run is not None):
        raise click.UsageError("expected since or run, one of them: the fixed origin of the counts")
    if "window" in read and run is None:
        raise click.UsageError("window goes with run: how long before its first call counts begin")
    if run is not None and not 0 < len(run) <= _LONGEST_RUN:
        raise click.UsageError(f"run: expected 1 to {_LONGEST_RUN} characters")
    window = read.pop("window", 0.0)
    flags = Flags(criteria=criteria, phase=phase, **read)
    return Question(flags, "" if run is None else f"{asker} {run}", window)


def _read(name: str, text: str) -> float | None:
    try:
        return _READERS[name](text)
    except click.BadParameter as error:
        raise click.UsageError(f"{name}: {error.message}") from None


def _time(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected {EXPECTED}") from None


def _duration(text: str) -> float | None:
    return read_duration(None, None, text)


_READERS: Mapping[str, Callable[[str], float | None]] = {
    "since": _time,
    "window": _duration,
    "min_span": _duration,
    "max_age": _duration,
    "confidence": lambda text: read_confidence(None, None, text),
}
