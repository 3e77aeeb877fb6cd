"""A UUID beside an integer that refers to another table, and the triggers that keep both equal.

The column and all its triggers come in one transaction, so that no row is written between. The
integer stays what it was for whoever writes it, and nobody has to write the UUID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Relation, Trigger
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Refusal
from phasegate.migrate.operations import reference_sync as sync
from phasegate.migrate.references import INTEGERS, Reference, is_table
from phasegate.migrate.refusals import refuse_hidden_rows, refuse_unowned

_ROW, _BEFORE, _INSERT, _UPDATE = 1, 2, 4, 16  # pg_trigger.tgtype
_SYNC = "CREATE TRIGGER BEFORE INSERT OR UPDATE ON "
_COMPLETE = "CREATE CONSTRAINT TRIGGER AFTER INSERT OR UPDATE ON  DEFERRABLE INITIALLY DEFERRED"
_PROPAGATE = "CREATE TRIGGER AFTER UPDATE ON "


@dataclass(frozen=True)
class _Guard:
    """One trigger that is wanted: on which table, calling what, made by which statement."""

    table: TableName
    name: str
    function: TableName
    body: str
    type: int
    create: str
    condition: str
    """What pg_get_triggerdef writes between the table and EXECUTE, as an expression."""


@dataclass(frozen=True)
class ReferenceColumn:
    """A column that is there already, of the right type, is adopted, and an undo leaves it."""

    kind: ClassVar[str] = "reference_column"
    loss: ClassVar[str] = ""
    reference: Reference

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return self.reference.object

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        child, parent = catalog.get(self.reference.child), catalog.get(self.reference.parent)
        if child is None or parent is None:
            return ()
        return tuple(self._refusals(child, parent, catalog))

    def _refusals(self, child: Relation, parent: Relation, catalog: Catalog) -> Iterator[Refusal]:
        for one in dict.fromkeys((child, parent)):
            yield from refuse_unowned(one, catalog)
            yield from refuse_hidden_rows(one, catalog)
        if not is_table(child):
            yield Refusal(qualify(child.name), "it is no table", "drop its foreign key")
        elif child.bound:
            yield Refusal(
                qualify(child.name),
                "it is a partition with a foreign key of its own",
                "give the foreign key to the partitioned table",
            )
        integer, column = child.column(self.reference.column), child.column(self.reference.uuid)
        if integer is not None and (integer.type not in INTEGERS or integer.generated):
            found = "generated" if integer.generated else f"of type {integer.type}"
            remedy = f"let {qualify(parent.name)} stay at keys: alternate"
            yield Refusal(f"{qualify(child.name)}.{quote(integer.name)}", f"it is {found}", remedy)
        if column is not None and (column.type != "uuid" or column.generated):
            found = "generated" if column.generated else f"of type {column.type}"
            remedy = "give the new column another name in tables: references"
            yield Refusal(self.object, f"the column is there already and is {found}", remedy)

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`."""
        child = catalog.get(self.reference.child)
        if child is None or catalog.get(self.reference.parent) is None:
            return ()
        table, name = qualify(child.name), quote(self.reference.uuid)
        column = child.column(self.reference.uuid)
        statements = []
        if column is None:
            statements.append(f"ALTER TABLE {table} ADD COLUMN {name} uuid")
        statements += self._make_grants(child)
        for guard in self._guards(child, catalog):
            statements += self._make_guard(guard, catalog)
        if not statements:
            return ()
        what = f"add {self.object} and the triggers that keep it in step"
        if column is not None:
            what = f"give {self.object} what it lacks: the triggers that keep it in step"
        return (self._send(what, statements),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`: the integers are all there, and the UUIDs of the parent;
        so nothing is lost."""
        child = catalog.get(self.reference.child)
        if child is None:
            return ()
        statements = []
        column, added = child.column(self.reference.uuid), False
        for guard in self._guards(child, catalog):
            trigger = self._trigger(guard, catalog)
            if trigger is not None and trigger.function == guard.function:
                statements.append(f"DROP TRIGGER {quote(guard.name)} ON {qualify(guard.table)}")
                added = added or sync.ADDED in trigger.source
            if guard.function in catalog.functions:
                statements.append(f"DROP FUNCTION {qualify(guard.function)}()")
        if added and column is not None:
            table = qualify(child.name)
            statements.append(f"ALTER TABLE {table} DROP COLUMN {quote(column.name)}")
        if not statements:
            return ()
        what = f"drop {self.object}" if added else f"let {self.object} alone"
        return (self._send(f"{what}, and the triggers that keep it in step", statements),)

    def _send(self, what: str, statements: list[str]) -> Action:
        """Both tables are locked first, the parent before the child as the swap of its key does.
        The parent can be read meanwhile, but where a trigger of it is dropped."""
        one = self.reference
        gone = any(statement.startswith("DROP TRIGGER") for statement in statements)
        mode = LockMode.ACCESS_EXCLUSIVE if gone else LockMode.SHARE_ROW_EXCLUSIVE
        modes = {one.parent: mode}
        modes[one.child] = LockMode.ACCESS_EXCLUSIVE
        locks = tuple(Lock(mode, qualify(name)) for name, mode in modes.items())
        taken = [f"LOCK TABLE {lock.relation} IN {lock.mode} MODE" for lock in locks]
        return Action(what, (*taken, *statements), locks=locks)

    def _make_grants(self, child: Relation) -> list[str]:
        """Who was given the integer alone is given this column too."""
        integer, column = child.column(self.reference.column), child.column(self.reference.uuid)
        has = () if column is None else column.grants
        wanted = () if integer is None else integer.grants
        return [
            f"GRANT {privilege} ({quote(self.reference.uuid)}) ON {qualify(child.name)} "
            f"TO {quote(grantee) if grantee else 'PUBLIC'}"
            for grantee, privilege in wanted
            if (grantee, privilege) not in has
        ]

    def _guards(self, child: Relation, catalog: Catalog) -> tuple[_Guard, ...]:
        one = self.reference
        column, uuid, parent_uuid = quote(one.column), quote(one.uuid), quote(one.parent_uuid)
        at_commit = (
            f"(NEW.{column} IS NULL) <> (NEW.{uuid} IS NULL)"
            f" OR current_setting('{sync.UNSURE}', true) = 'on'"
        )
        changed = f"OLD.{parent_uuid} IS DISTINCT FROM NEW.{parent_uuid}"
        own, foreign = (one.uuid,), (*one.child, one.uuid)
        written = _ROW + _INSERT + _UPDATE
        wanted = (
            ("sync", one.child, own, written + _BEFORE, "", _SYNC),
            ("complete", one.child, own, written, at_commit, _COMPLETE),
            ("propagate", one.parent, foreign, _ROW + _UPDATE, changed, _PROPAGATE),
        )
        mark = self._mark(child)
        found = []
        for what, table, parts, type_, condition, create in wanted:
            name, function = derive(f"phasegate_{what}", *parts), sync.name_function(what, one)
            head, place, tail = create.partition(" ON ")
            when = f" WHEN ({condition})" if condition else ""
            found.append(
                _Guard(
                    table=table,
                    name=name,
                    function=function,
                    body=sync.make_body(what, one, catalog, mark),
                    type=type_,
                    create=f"{head.replace('TRIGGER', 'TRIGGER ' + quote(name), 1)}{place}"
                    f"{qualify(table)}{tail}\nFOR EACH ROW{when} "
                    f"EXECUTE FUNCTION {qualify(function)}()",
                    condition=condition,
                )
            )
        return tuple(found)

    def _mark(self, child: Relation) -> str:
        standing = child.trigger(derive("phasegate_sync", self.reference.uuid))
        ours = standing is not None and sync.ADDED in standing.source
        new = child.column(self.reference.uuid) is None
        return sync.ADDED if ours or new else sync.ADOPTED

    def _make_guard(self, guard: _Guard, catalog: Catalog) -> list[str]:
        table, name = qualify(guard.table), quote(guard.name)
        trigger = self._trigger(guard, catalog)
        statements = []
        if trigger is None or trigger.function != guard.function or trigger.source != guard.body:
            statements.append(sync.make_function(guard.function, guard.body))
        if trigger is not None and not _stands(trigger, guard):
            statements.append(f"DROP TRIGGER {name} ON {table}")
            trigger = None
        if trigger is None:
            statements.append(guard.create)
        if trigger is None or trigger.enabled != "A":
            statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        return statements

    def _trigger(self, guard: _Guard, catalog: Catalog) -> Trigger | None:
        relation = catalog.get(guard.table)
        return None if relation is None else relation.trigger(guard.name)


def _stands(trigger: Trigger, guard: _Guard) -> bool:
    return (
        trigger.function == guard.function
        and trigger.type == guard.type
        and " UPDATE OF " not in trigger.definition.split(" ON ")[0]
        and _bare(_condition(trigger.definition)) == _bare(guard.condition)
    )


def _condition(definition: str) -> str:
    found = re.search(r" WHEN \((.*)\) EXECUTE FUNCTION ", definition, re.DOTALL)
    return found[1] if found else ""


def _bare(expression: str) -> str:
    """Without what the server adds or writes otherwise: parentheses, blanks, case, casts."""
    return re.sub(r"::text|[()\s]", "", expression).lower()
