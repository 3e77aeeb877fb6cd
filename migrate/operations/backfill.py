"""A UUID for every row that has none, by ranges of pages; others' triggers are looked at first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import FOREIGN, Catalog, Relation, Trigger
from phasegate.migrate.context import Context
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.ranges import RangeUpdate, leaves, run_ranges

TID_RANGE_VERSION = 140_000
SETTING = "phasegate.backfill"


@dataclass(frozen=True)
class Backfill:
    """`accepted` names triggers of others that may fire for every row."""

    kind: ClassVar[str] = "backfill"
    loss: ClassVar[str] = ""
    table: TableName
    column: str
    version: int = 4
    accepted: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """The column, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.column)}"

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        relation = catalog.get(self.table)
        if relation is None or not self.plan_remaining(catalog):
            return ()
        found = []
        if catalog.version < TID_RANGE_VERSION:
            what = "before PostgreSQL 14 a range of pages cannot be read by itself"
            found.append(Refusal(qualify(self.table), what, "update the server to 14 or newer"))
        for name in leaves(catalog, self.table):
            one = catalog.relations[name]
            if one.kind == FOREIGN:
                remedy = "detach it, or give its rows their UUIDs where they are"
                found.append(Refusal(qualify(name), "a foreign table holds rows of it", remedy))
            found += self._of_triggers(one)
        return tuple(found)

    def _of_triggers(self, relation: Relation) -> Iterator[Refusal]:
        for trigger in relation.triggers:
            if trigger.name in self.accepted or not fires_for_backfill(trigger):
                continue
            yield Refusal(
                f"{qualify(relation.name)}, trigger {quote(trigger.name)}",
                f"it would fire for every row of the backfill: {qualify(trigger.function)}() knows "
                f"nothing of {SETTING}",
                f"let the function return early where current_setting('{SETTING}', true) = 'on', "
                "or accept it by name in tables: accept_triggers",
            )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`: nothing once the column is NOT NULL."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        column = relation.column(self.column)
        if column is not None and column.not_null and self._is_proved(relation):
            return ()
        names = leaves(catalog, self.table)
        rows = sum(max(0, catalog.relations[name].rows) for name in names)
        return (
            Action(
                f"give every row of {qualify(self.table)} its {quote(self.column)}",
                patience=Patience.BATCH,
                work=_Populate(self),
                locks=tuple(Lock(LockMode.ROW_EXCLUSIVE, qualify(name)) for name in names),
                scans=tuple(qualify(name) for name in names),
                rows=rows,
            ),
        )

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """The column goes with what added it."""
        return ()

    def _is_proved(self, relation: Relation) -> bool:
        """From 18 on attnotnull is set for a constraint that is not validated, too."""
        return all(
            one.validated
            for one in relation.constraints
            if one.type == "n" and one.columns == (self.column,)
        )

    def make_work(self, catalog: Catalog) -> RangeUpdate:
        """The loop: what it sends, and what it counts."""
        generate = UuidColumn(self.table, self.column, self.version).generate(catalog)
        column = quote(self.column)
        known = catalog.relations[self.table].column(self.column)
        return RangeUpdate(
            # A column that was dropped and added again is another one, by its number.
            step_object=f"{self.kind} {0 if known is None else known.number}",
            tables=leaves(catalog, self.table),
            update=f"UPDATE ONLY {{table}} AS t SET {column} = {generate} "
            f"WHERE {{range}} AND t.{column} IS NULL",
            left=f"SELECT count(*) FROM ONLY {{table}} AS t WHERE t.{column} IS NULL",
        )


@dataclass(frozen=True)
class _Populate:
    """The action's work."""

    operation: Backfill

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        return run_ranges(self.operation.make_work(context.catalog), context)


def fires_for_backfill(trigger: Trigger) -> bool:
    """Whether an update of every row would set it off, and it does not know of backfills."""
    if not trigger.on_update or trigger.enabled in ("D", "R") or not trigger.type & 1:
        return False
    return trigger.function.schema != SCHEMA and SETTING not in trigger.source
