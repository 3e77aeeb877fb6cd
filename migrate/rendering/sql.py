"""For psql and for linters: what a run would send, in its order, with its time-outs.

A run asks the catalog before each action, gives way to others and tries again, and keeps a
journal; a script does none of that. It is to be read, checked and tried on a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from phasegate.contract.migration import SCHEMA
from phasegate.migrate.model import Action
from phasegate.migrate.plan import Plan, PlannedAction, describe_refusal
from phasegate.migrate.plan_words import describe_seconds, describe_source
from phasegate.migrate.sessions import LIMITS

_SETTINGS = (
    "search_path = pg_catalog, pg_temp",
    "row_security = off",
    "TimeZone = 'UTC'",
    "check_function_bodies = off",
    "client_min_messages = warning",
)
# True of everything that Phasegate sends.
_ALWAYS = {
    "prefer-robust-stmts": "IF NOT EXISTS would wait for the lock all the same and keep an invalid "
    "index; a run asks the catalog instead",
}


def render(plan: Plan, seconds: Mapping[str, float] | None = None) -> str:
    """A script that psql can run."""
    lines = [
        f"-- What `phasegate migrate run` would send to database {_comment(plan.database)}.",
        "-- Statements only: a run also asks the catalog before each, gives way and tries again",
        "-- where a lock does not come, and journals what it does. Works are comments here: only a",
        "-- run does them, and what comes after a backfill fails where it has not been.",
        f"-- digest {plan.digest}",
        *([f"-- measured: seen on {plan.measured_on}"] if plan.measured_on else []),
        "",
        r"\set ON_ERROR_STOP on",
        *(f"SET {setting};" for setting in _SETTINGS),
        *(f"-- refused: {_comment(describe_refusal(one))}" for one in plan.refusals),
    ]
    if any(f"{SCHEMA}." in text for one in plan.actions for text in one.action.statements):
        lines += [*_timeouts("500ms", "30s"), f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};"]
    for step in plan.steps:
        name = f"{step.step.phase} / {step.step.name}: {step.step.title}"
        told = describe_seconds((seconds or {}).get(step.step.name))
        lines += ["", f"-- {_comment(name)}; seconds: {told}"]
        if not step.actions:
            lines.append("-- nothing is left to do")
        for planned in step.actions:
            lines += ["", *_action(planned)]
    return "\n".join(lines).rstrip() + "\n"


def _action(planned: PlannedAction) -> Iterator[str]:
    action = planned.action
    yield f"-- {_comment(action.what)}"
    locks = ", ".join(f"{lock.mode} on {lock.relation}" for lock in planned.locks) or "none"
    yield f"-- locks: {_comment(locks)}; {_comment(describe_source(planned))}"
    if not action.statements:
        yield "-- a work of phasegate migrate run: no statement stands for it"
        return
    lock, statement = LIMITS[action.patience]
    yield from _timeouts(f"{lock}ms", f"{statement}ms")
    bounded = action.transactional
    if bounded:
        yield "BEGIN;"
    for text in action.statements:
        yield from _ignored(action)
        yield f"{text};"
    if bounded:
        yield "COMMIT;"


def _timeouts(lock: str, statement: str) -> Iterator[str]:
    yield f"SET lock_timeout = '{lock}';"
    yield f"SET statement_timeout = '{statement}';"


def _ignored(action: Action) -> Iterator[str]:
    """Rules that do not apply, each with its reason. The linter reads the line right above."""
    rules = dict(action.suppressions)
    if not action.transactional:
        rules = _ALWAYS | rules
    if rules:
        yield from (f"-- {rule}: {_comment(reason)}" for rule, reason in rules.items())
        yield f"-- squawk-ignore {', '.join(rules)}"


def _comment(text: str) -> str:
    """A name may hold a line break, and must not end the comment."""
    return " ".join(text.split())
