"""A UUID for every row that has none, by ranges of pages; others' triggers are looked at first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import FOREIGN, Catalog, Relation, Trigger
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Patience, Refusal
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.ranges import Populate, RangeUpdate, leaves

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
        if catalog.get(self.table) is None or not self.plan_remaining(catalog):
            return ()
        return tuple(refuse_rows(leaves(catalog, self.table), catalog, self.accepted))

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`: nothing once the column is NOT NULL."""
        relation = catalog.get(self.table)
        if relation is None:
            return ()
        column = relation.column(self.column)
        if column is not None and column.not_null and self._is_proved(relation):
            return ()
        what = f"give every row of {qualify(self.table)} its {quote(self.column)}"
        return (populate(what, leaves(catalog, self.table), catalog, Populate(self.make_work)),)

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
            update=lambda table, pages: (
                f"UPDATE ONLY {table} AS t SET {column} = {generate} "
                f"WHERE {pages} AND t.{column} IS NULL"
            ),
            left=lambda table: f"SELECT count(*) FROM ONLY {table} AS t WHERE t.{column} IS NULL",
        )


def populate(what: str, names: Sequence[TableName], catalog: Catalog, work: Populate) -> Action:
    """The action of a loop over the rows of these tables."""
    tables = tuple(map(qualify, names))
    return Action(
        what,
        patience=Patience.BATCH,
        work=work,
        locks=tuple(Lock(LockMode.ROW_EXCLUSIVE, table) for table in tables),
        scans=tables,
        rows=sum(max(0, catalog.relations[name].rows) for name in names),
    )


def refuse_rows(
    names: Iterable[TableName], catalog: Catalog, accepted: Sequence[str]
) -> Iterator[Refusal]:
    """Why not every row of these tables can be changed; `accepted` names triggers of others that
    may fire for each."""
    for name in names:
        relation = catalog.relations[name]
        if relation.kind == FOREIGN:
            remedy = "detach it, or give its rows their UUIDs where they are"
            yield Refusal(qualify(name), "a foreign table holds rows of it", remedy)
        for trigger in relation.triggers:
            if trigger.name in accepted or not fires_for_backfill(trigger):
                continue
            yield Refusal(
                f"{qualify(name)}, trigger {quote(trigger.name)}",
                f"it would fire for every row of the backfill: {qualify(trigger.function)}() knows "
                f"nothing of {SETTING}",
                f"let the function return early where current_setting('{SETTING}', true) = 'on', "
                "or accept it by name in tables: accept_triggers",
            )


def fires_for_backfill(trigger: Trigger) -> bool:
    """Whether an update of every row would set it off, and it does not know of backfills."""
    if not trigger.on_update or trigger.enabled in ("D", "R") or not trigger.type & 1:
        return False
    return trigger.function.schema != SCHEMA and SETTING not in trigger.source
