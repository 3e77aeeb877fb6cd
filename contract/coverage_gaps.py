"""Which changes of a watched table would leave no row in the audit log, by its triggers. Pure.

A change is audited where an AFTER trigger that is enabled ALWAYS, has no WHEN and no list of
columns calls the audit function: on the table, and on each of its partitions and other children,
since each can be written to by its own name and have its triggers switched off by itself. A trigger
for each statement counts for rows only if it sees them, and no write by a parent's name can pass it
by; TRUNCATE has no other, and a partition has none that it did not get itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from phasegate.contract.audit_facts import (
    DELETE,
    EVENTS,
    INSERT,
    TRUNCATE,
    UPDATE,
    AuditFacts,
    Relation,
    Trigger,
    TriggerFunction,
    WatchedTable,
)
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit
from phasegate.contract.times import format_time

_SWITCHED = {
    "O": "does not fire under session_replication_role = replica",
    "R": "fires under session_replication_role = replica only",
    "D": "is disabled",
}
_ROW, _STATEMENT = "audit_row_change", "audit_truncate"


class Gap(NamedTuple):
    """What is not audited, as a sentence, and the SQL or key that closes it."""

    what: str
    remedy: str


class _Table(NamedTuple):
    """A watched table, its relations by name, and the functions that count."""

    relations: Mapping[str, Relation]
    functions: Mapping[str, TriggerFunction]


def is_audit_function(audit: Audit, function: TriggerFunction) -> bool:
    """Whether its triggers count: the one that is configured, else any that inserts by name."""
    if audit.function is None:
        return function.inserts
    return (function.schema, function.function) == audit.function.name


def find_log_gaps(facts: AuditFacts) -> list[Gap]:
    """What keeps every row out of the audit log."""
    name = f"{facts.schema}.{facts.table}"
    if not facts.exists:
        return [Gap(f"{name}: there is no such audit log", "create it, or correct audit.table")]
    return [
        Gap(f"{name}: inserts are diverted by the rule {rule}", f"DROP RULE {rule};")
        for rule in facts.diversions
    ]


def find_gaps(audit: Audit, facts: AuditFacts, watched: WatchedTable) -> list[Gap]:
    """What of the watched table is not audited; none where its triggers cover every change."""
    if not watched.relations:
        name = f"{watched.schema}.{watched.table}"
        return [Gap(f"{name}: there is no such table", "create it, or correct audit.watch")]
    functions = {one.name: one for one in facts.functions if is_audit_function(audit, one)}
    table = _Table({one.name: one for one in watched.relations}, functions)
    found: list[Gap] = []
    for relation in watched.relations:
        found += _gaps_of(relation, table, audit)
    called = {
        trigger.function for relation in watched.relations for trigger in relation.triggers
    } & set(functions)
    found += [gap for name in sorted(called) for gap in _alterations(audit, functions[name])]
    return found


def _gaps_of(relation: Relation, table: _Table, audit: Audit) -> Iterator[Gap]:
    if relation.kind == "f":
        what = "is a foreign table; what others write into it, no trigger here sees"
        yield Gap(f"{relation.name}: {what}", f"take {relation.name} out of the watched table")
    missing: list[str] = []
    faulty: dict[tuple[str, Trigger], list[str]] = {}
    for event in EVENTS:
        triggers = _candidates(relation, event, table)
        faults = [(_fault(trigger, event, relation, table), trigger) for trigger in triggers]
        if not faults:
            missing.append(event)
        elif all(fault for fault, _ in faults):
            faulty.setdefault(faults[0], []).append(event)
    for (fault, trigger), events in faulty.items():
        what = f"the trigger {trigger.name} {fault}"
        yield _gap(relation, events, what, _repair(trigger, events, relation, table))
    if missing:
        what = f"no trigger {_calls(table, audit)}"
        yield _gap(relation, missing, what, _creation(relation, missing, table, audit))


def _gap(relation: Relation, events: Sequence[str], what: str, remedy: str) -> Gap:
    return Gap(f"{relation.name}: {', '.join(events)} not audited: {what}", remedy)


def _candidates(relation: Relation, event: str, table: _Table) -> list[Trigger]:
    return [
        trigger
        for trigger in relation.triggers
        if event in trigger.events and trigger.function in table.functions
    ]


def _fault(trigger: Trigger, event: str, relation: Relation, table: _Table) -> str:
    """Why this trigger does not see every such change; empty where it does."""
    fault = _fault_alone(trigger, event, relation)
    if fault or trigger.row or event == TRUNCATE:
        return fault
    for name in _ancestors(relation, table):
        parent = table.relations.get(name)
        if parent is None or not any(
            not one.row and not _fault_alone(one, event, parent)
            for one in _candidates(parent, event, table)
        ):
            return f"is for each statement: a write by the name of {name} passes it by"
    return ""


def _fault_alone(trigger: Trigger, event: str, relation: Relation) -> str:
    if trigger.enabled != "A":
        return _SWITCHED.get(trigger.enabled, f"is enabled in an unknown way: {trigger.enabled}")
    if trigger.condition:
        return "has a WHEN condition"
    if trigger.columns and event == UPDATE:
        return "fires for an update of some columns only"
    if not trigger.after:
        return "does not fire AFTER: what comes later can undo the change"
    if trigger.row or event == TRUNCATE:
        return ""
    sees = {INSERT: trigger.new, DELETE: trigger.old}.get(event, trigger.new or trigger.old)
    if not sees:
        return "is for each statement, without a transition table of the rows"
    return "is for each statement, which no subscription fires" if relation.subscribed else ""


def _ancestors(relation: Relation, table: _Table) -> list[str]:
    """The names of all relations above; also of those that are not watched."""
    found: list[str] = []
    below = [relation]
    while below:
        for name in below.pop().parents:
            if name not in found:
                found.append(name)
                below += [table.relations[name]] if name in table.relations else []
    return found


def _calls(table: _Table, audit: Audit) -> str:
    if audit.function is not None:
        return f"calls {audit.function.name}"
    known = " or ".join(sorted(table.functions))
    return f"calls {known}" if known else f"calls a function that inserts into {audit.table}"


def _top(relation: Relation, table: _Table) -> Relation:
    """The relation from which the row triggers of this one are cloned."""
    above = [table.relations.get(name) for name in _ancestors(relation, table)]
    return next((one for one in reversed(above) if one is not None and one.kind == "p"), relation)


def _repair(trigger: Trigger, events: Sequence[str], relation: Relation, table: _Table) -> str:
    if trigger.enabled != "A":
        return f"ALTER TABLE {relation.name} ENABLE ALWAYS TRIGGER {trigger.name};"
    if not trigger.row and TRUNCATE not in events:
        place = _top(relation, table)
        return _create(_free(_ROW, place), events, place.name, trigger.function)
    place = _top(relation, table) if trigger.cloned else relation
    events = trigger.events if trigger.row else (TRUNCATE,)
    made = _create(trigger.name, events, place.name, trigger.function)
    return f"BEGIN; DROP TRIGGER {trigger.name} ON {place.name}; {made} COMMIT;"


def _creation(relation: Relation, events: Sequence[str], table: _Table, audit: Audit) -> str:
    function = next(iter(sorted(table.functions)), "")
    if audit.function is not None:
        function = function or str(audit.function.name)
    if not function:
        return (
            f"write a trigger function that inserts into {audit.table}; where it is there and "
            "builds its SQL at run time, name it: audit.function.name"
        )
    place = _top(relation, table)
    rows = [event for event in events if event != TRUNCATE]
    made = [_create(_free(_ROW, place), rows, place.name, function)] if rows else []
    if TRUNCATE in events:
        made.append(_create(_free(_STATEMENT, relation), (TRUNCATE,), relation.name, function))
    return " ".join(made)


def _free(name: str, relation: Relation) -> str:
    """The name, or the next that no trigger of the relation has."""
    taken = {trigger.name for trigger in relation.triggers}
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *numbered) if one not in taken)


def _create(name: str, events: Sequence[str], place: str, function: str) -> str:
    each = "STATEMENT" if TRUNCATE in events else "ROW"
    return (
        f"CREATE TRIGGER {name} AFTER {' OR '.join(events)} ON {place} "
        f"FOR EACH {each} EXECUTE FUNCTION {function}(); "
        f"ALTER TABLE {place} ENABLE ALWAYS TRIGGER {name};"
    )


def _alterations(audit: Audit, function: TriggerFunction) -> Iterator[Gap]:
    pinned = audit.function.sha256 if audit.function is not None else None
    wanted = pinned or function.first_sha256
    if function.sha256 and function.sha256 == wanted:
        return
    if pinned:
        what = f"its body is not that of audit.function.sha256: found {function.sha256}"
    else:
        what = (
            f"its body was altered: another one was seen at {format_time(function.first_seen)}, "
            f"this one first at {format_time(function.changed)}"
        )
    restore = f"restore {function.name}; where its body is as it should be, pin it"
    yield Gap(f"{function.name}: {what}", f"{restore}: audit.function: {pin(function)}")


def pin(function: TriggerFunction) -> str:
    """The setting that holds every judge to the body that stands now."""
    name = str(TableName(function.schema, function.function)).replace("'", "''")
    return f"{{name: '{name}', sha256: {function.sha256}}}"
