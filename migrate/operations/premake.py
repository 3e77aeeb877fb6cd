"""Partitions of the audit log, kept ready ahead: a missing one refuses the application's write.

Made beside and attached, which takes a weak lock on the log; `PARTITION OF` would lock it whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, Relation
from phasegate.migrate.identifiers import derive, literal, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Refusal
from phasegate.migrate.periods import Period, ahead, name_partition, parse_bound, uncovered


@dataclass(frozen=True)
class Premake:
    """The present period (`length` is day, week or month) and `count` after it."""

    kind: ClassVar[str] = "premake"
    loss: ClassVar[str] = ""
    table: TableName
    length: str
    count: int

    @property
    def object(self) -> str:
        """The audit log, as SQL writes it."""
        return qualify(self.table)

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind != PARTITIONED:
            return ()
        found = []
        for child in children_of(relation, catalog):
            name = qualify(child.name)
            detach = f"ALTER TABLE {self.object} DETACH PARTITION {name}"
            if child.bound == "DEFAULT":
                what = "a default partition: each new one would scan it, under a lock on the log"
                found.append(Refusal(name, what, f"move its rows, then {detach}"))
            elif parse_bound(child.bound) is None:
                what = f"its bound cannot be read: {child.bound}"
                found.append(Refusal(name, what, f"bound it by two moments, or {detach}"))
        return tuple(found)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`: one action a partition."""
        relation = catalog.get(self.table)
        if relation is None or relation.kind != PARTITIONED:
            return ()
        now = datetime.fromtimestamp(catalog.now, UTC)
        taken = [bound for _, bound in bounded(relation, catalog)]
        names = {one.table for one in catalog.taken if one.schema == self.table.schema}
        actions = []
        for period in ahead(now, self.length, self.count):
            for part in uncovered(period, taken):
                name = free_name(name_partition(self.table.table, part, self.length), names)
                names.add(name)
                made = TableName(self.table.schema, name)
                actions.append(self._make(relation, catalog, made, part))
        return tuple(actions)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """They stay with the log."""
        return ()

    def _make(
        self, relation: Relation, catalog: Catalog, name: TableName, period: Period
    ) -> Action:
        table, child = self.object, qualify(name)
        statements = (
            f"CREATE TABLE {child} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
            "INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS INCLUDING GENERATED)"
            f"{_storage(relation, catalog)}",
            *own_and_grant(name, relation, catalog),
            f"ALTER TABLE {table} ATTACH PARTITION {child} {period.values}",
        )
        locks = (Lock(LockMode.SHARE_UPDATE_EXCLUSIVE, table),)
        return Action(f"make the partition {child} {period.values}", statements, locks=locks)


def _storage(relation: Relation, catalog: Catalog) -> str:
    """As the newest partition has it: a partitioned table has no options of its own."""
    newest = next((one for one, _ in reversed(bounded(relation, catalog))), None)
    if newest is None:
        return ""
    pairs = [option.partition("=") for option in newest.options]
    listed = ", ".join(f"{quote(name)} = {literal(value)}" for name, _, value in pairs)
    options = f" WITH ({listed})" if listed else ""
    return options + (f" TABLESPACE {quote(newest.tablespace)}" if newest.tablespace else "")


def own_and_grant(name: TableName, like: Relation, catalog: Catalog) -> list[str]:
    """The owner and the grants of one table for another, new one, and no others."""
    table = qualify(name)
    # What default privileges gave: a log must not become readable by being partitioned.
    statements = [
        f"REVOKE ALL ON {table} FROM {quote(one) if one else 'PUBLIC'}"
        for one in catalog.default_grantees
    ]
    statements.append(f"ALTER TABLE {table} OWNER TO {quote(like.owner)}")
    for grantee, privilege, passes_on in like.grants:
        to = quote(grantee) if grantee else "PUBLIC"
        option = " WITH GRANT OPTION" if passes_on else ""
        statements.append(f"GRANT {privilege} ON {table} TO {to}{option}")
    for column in like.columns:
        for grantee, privilege in column.grants:
            to = quote(grantee) if grantee else "PUBLIC"
            statements.append(f"GRANT {privilege} ({quote(column.name)}) ON {table} TO {to}")
    return statements


def children_of(relation: Relation, catalog: Catalog) -> list[Relation]:
    """Its partitions."""
    return [one for name in relation.children if (one := catalog.get(name)) is not None]


def bounded(relation: Relation, catalog: Catalog) -> list[tuple[Relation, Period]]:
    """Its partitions by a range of time, the oldest first."""
    found = [
        (child, bound)
        for child in children_of(relation, catalog)
        if (bound := parse_bound(child.bound)) is not None
    ]
    return sorted(found, key=lambda one: one[1])


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or one made of it that nothing has."""
    known = set(taken)
    candidate, number = name, 2
    while candidate in known:
        candidate = derive(name, str(number))
        number += 1
    return candidate
