"""Which table is the audit log, how it is cut, and whose changes are written into it. Pure.

What a trigger writes into is the surest sign, then a name, and columns of the kind that a log has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName, split_name
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.periods import Period, parse_bound
from phasegate.operate.init_facts import Facts, Table
from phasegate.operate.init_frameworks import find_frameworks, framework_of
from phasegate.operate.init_links import words_of

TIME = "timestamp with time zone"
_TIME_NAMES = ("created_at", "occurred_at", "logged_at", "recorded_at", "event_time", "timestamp")
_NAME_WORDS = frozenset({"audit", "audits", "auditlog"})
_LOG_WORDS = frozenset({"log", "logs", "logentry", "history", "events", "versions", "activities"})
_SIGNS = (
    frozenset({"action", "event", "operation", "verb", "action_flag", "change_type"}),
    frozenset({"actor", "user", "user_id", "actor_id", "whodunnit", "changed_by", "performed_by"}),
    frozenset(
        {"subject", "object_id", "object_pk", "item_id", "auditable_id", "record_id", "entity_id"}
    ),
    frozenset({"details", "changes", "audited_changes", "object_changes", "old_values", "payload"}),
)
_NOISE = re.compile(r"""("(?:[^"]|"")*"|'(?:[^']|'')*')|--[^\n]*|/\*.*?\*/""", re.S)
_NAME = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
_INSERT = re.compile(rf"\binsert\s+into\s+({_NAME}(?:\s*\.\s*{_NAME})?)", re.I)
_LENGTHS = {"day": range(1, 2), "week": range(7, 8), "month": range(28, 32)}


@dataclass(frozen=True)
class WrittenBy:
    """A trigger that writes changes of `table` into the log."""

    table: TableName
    trigger: str
    function: TableName


@dataclass(frozen=True)
class AuditChoice:
    """`others` are tables that could be the log as well. `length` is day, week or month; where the
    bounds say another one, `odd_length` says which."""

    table: TableName
    time_column: str
    time_type: str
    category_column: str = ""
    partitioned: bool = False
    length: str = "month"
    odd_length: str = ""
    writers: tuple[WrittenBy, ...] = ()
    others: tuple[TableName, ...] = ()

    @property
    def function(self) -> TableName | None:
        """The one function of the user's own that all its triggers call."""
        found = {one.function for one in self.writers}
        [only] = found if len(found) == 1 else [None]
        return None if only is None or only.schema == SCHEMA else only

    @property
    def watched(self) -> tuple[TableName, ...]:
        """Whose changes the triggers write, each once."""
        return tuple(dict.fromkeys(one.table for one in self.writers))


def plan_audit(facts: Facts) -> AuditChoice | None:
    """The likeliest log; None where nothing looks like one. A framework's own is none."""
    writers, frameworks = find_writers(facts), find_frameworks(facts)
    scores = {
        table.name: _score(table, writers.get(table.name, ()))
        for table in facts.tables
        if not framework_of(table.name.table, frameworks)
    }
    ranked = sorted((-score, name) for name, score in scores.items() if score >= 4)
    if not ranked:
        return None
    names = [name for _, name in ranked]
    table = facts.get(names[0])
    assert table is not None
    time_column, time_type = _time_of(table)
    category = table.column("category")
    return AuditChoice(
        table=table.name,
        time_column=time_column,
        time_type=time_type,
        category_column="" if category is None else category.name,
        partitioned=table.kind == "p",
        writers=writers.get(table.name, ()),
        others=tuple(names[1:4]),
    )


def find_writers(facts: Facts) -> dict[TableName, tuple[WrittenBy, ...]]:
    """By the table that their functions insert into, as far as it is named in their source."""
    inserts = {name: _targets(source, facts) for name, source in facts.functions.items()}
    found: dict[TableName, list[WrittenBy]] = {}
    for table in facts.tables:
        for trigger in table.triggers:
            for target in inserts.get(trigger.function, ()):
                if target != table.name:
                    written = WrittenBy(table.name, trigger.name, trigger.function)
                    found.setdefault(target, []).append(written)
    return {target: tuple(writers) for target, writers in found.items()}


def _targets(source: str, facts: Facts) -> tuple[TableName, ...]:
    code = _NOISE.sub(lambda match: match[1] or " ", source)
    found = []
    for written in _INSERT.findall(code):
        try:
            parts = split_name(re.sub(r'\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', "", written))
        except ValueError:
            continue
        quoted = '"' in written
        spelled = parts if quoted else tuple(part.lower() for part in parts)
        found += [
            table.name for table in facts.tables if tuple(table.name[-len(spelled) :]) == spelled
        ]
    return tuple(dict.fromkeys(found))


def _score(table: Table, writers: Iterable[WrittenBy]) -> int:
    """0 for what cannot be a log: without a time there is nothing to cut it by."""
    words = set(words_of(table.name.table))
    if table.kind not in ("r", "p") or table.locked or not _time_of(table)[0]:
        return 0
    columns = {_snake(one.name) for one in table.columns}
    signs = sum(bool(columns & names) for names in _SIGNS)
    named = 4 if words & _NAME_WORDS else 1 if words & _LOG_WORDS else 0
    by_time = table.kind == "p" and table.partition_key.startswith("RANGE")
    if not named and not by_time and not any(True for _ in writers):
        return 0
    return named + signs + (2 if by_time else 0) + min(6, 3 * len(list(writers)))


def _time_of(table: Table) -> tuple[str, str]:
    """The column that partitions are cut by, or would be, and its type; empty without one."""
    if table.kind == "p":
        for column in table.columns:
            quoted = '"' + column.name.replace('"', '""') + '"'
            if table.partition_key in (f"RANGE ({column.name})", f"RANGE ({quoted})"):
                moment = column.type.startswith(("timestamp", "date"))
                return (column.name, column.type) if moment else ("", "")
        return "", ""
    found = [one for one in table.columns if one.type.startswith("timestamp")]
    if not found:
        return "", ""
    chosen = min(
        found,
        key=lambda one: (
            one.type != TIME,
            _TIME_NAMES.index(name) if (name := _snake(one.name)) in _TIME_NAMES else 99,
        ),
    )
    return chosen.name, chosen.type


def _snake(name: str) -> str:
    return "_".join(words_of(name))


def read_length(name: TableName, catalog: Catalog) -> tuple[str, str]:
    """The length of a partition that most bounds say, and in words what they say where it is none
    of ours; month where there are no bounds."""
    relation = catalog.get(name)
    children = [] if relation is None else [catalog.get(one) for one in relation.children]
    bounds = [parse_bound(child.bound) for child in children if child is not None]
    days = Counter(length for one in bounds if one is not None and (length := _days(one)))
    if not days:
        return "month", ""
    [(most, _)] = days.most_common(1)
    for name_of, range_ in _LENGTHS.items():
        if most in range_:
            return name_of, ""
    return ("month" if most > 7 else "day"), f"{most} days"


def _days(period: Period) -> int:
    """0 for one without an end."""
    return (
        0 if period.start.year == 1 or period.end.year >= 9999 else (period.end - period.start).days
    )
