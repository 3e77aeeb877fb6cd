"""Triggers that write every change of the watched tables into the audit log, backfills excepted.

The function runs as its owner, so whoever may change a row needs no right on the log. A backfill
says in its transaction that it is one; only a role that may own the table is believed, or any
session could keep its changes out of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import FOREIGN, PARTITIONED, Catalog, Relation, Trigger
from phasegate.migrate.identifiers import derive, literal, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Refusal
from phasegate.migrate.ranges import leaves

ROW, STATEMENT = "phasegate_audit", "phasegate_audit_truncate"
_ROW_TYPE = 1 + 4 + 8 + 16  # pg_trigger.tgtype: a row, after, insert, delete, update
_STATEMENT_TYPE = 32  # a statement, after, truncate
_SHAPE = {"action": "text", "actor": "text", "subject": "text", "details": "jsonb"}
_BODY = """
DECLARE
    before jsonb;
    after jsonb;
    key text := '';
BEGIN
    IF TG_OP = 'UPDATE'
        AND COALESCE(current_setting('phasegate.backfill', true), '') = 'on'
        AND pg_has_role(session_user, (
            SELECT c.relowner FROM pg_class AS c WHERE c.oid = TG_RELID
        ), 'MEMBER')
    THEN
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        before := to_jsonb(OLD);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        after := to_jsonb(NEW);
    END IF;
    IF TG_LEVEL = 'ROW' THEN
        SELECT string_agg(COALESCE(after, before) ->> a.name, ',' ORDER BY a.place) INTO key
        FROM unnest(TG_ARGV) WITH ORDINALITY AS a (name, place);
    END IF;
    INSERT INTO {log} ({columns})
    VALUES ({values});
    RETURN NULL;
END
"""
_VALUES = {
    "action": "lower(TG_OP)",
    "actor": "'database:' || session_user",
    "subject": "TG_TABLE_NAME || ':' || COALESCE(key, '')",
    "details": "jsonb_strip_nulls(jsonb_build_object('before', before, 'after', after))",
}
_TRIAL = {
    "action": "tried",
    "actor": "'database:' || session_user",
    "subject": "'table:key'",
    "details": "'{}'::jsonb",
}
_TRY = """DO $try$
DECLARE tried text;
BEGIN
    FOREACH tried IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        INSERT INTO {log} ({columns}) VALUES ({values});
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'PG000';
EXCEPTION WHEN SQLSTATE 'PG000' THEN
    NULL;
END
$try$"""


@dataclass(frozen=True)
class AuditTriggers:
    """On each of `watched`. `function` is the user's own; ours is made where none is named."""

    kind: ClassVar[str] = "audit_triggers"
    loss: ClassVar[str] = "nothing that is in the log; changes from then on are in it no more"
    log: TableName
    time_column: str
    watched: tuple[TableName, ...]
    category_column: str | None = None
    function: TableName | None = None

    @property
    def object(self) -> str:
        """The log and the tables."""
        return f"{qualify(self.log)} of {', '.join(map(qualify, self.watched))}"

    @property
    def _function(self) -> TableName:
        return self.function or TableName(SCHEMA, derive("audit", *self.log))

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """As `model.Operation.find_refusals`."""
        return tuple(self._refusals(catalog))

    def _refusals(self, catalog: Catalog) -> Iterator[Refusal]:
        for name in self.watched:
            relation = catalog.get(name)
            if relation is None:
                yield Refusal(qualify(name), "there is no such table", "correct audit.watch")
            elif relation.kind not in ("r", PARTITIONED):
                yield Refusal(qualify(name), "it is no table", "watch the table itself")
            if name == self.log or (relation is not None and self.log in relation.parents):
                found = "the log itself: each row in it would write another one"
                yield Refusal(qualify(name), found, "take it out of audit.watch")
        for leaf in (one for name in self.watched for one in leaves(catalog, name)):
            if catalog.relations[leaf].kind == FOREIGN:
                yield Refusal(qualify(leaf), "a foreign table", "audit its changes where they are")
        if self.function is not None:
            if self.function not in catalog.functions:
                found = "there is no trigger function of that name"
                yield Refusal(qualify(self.function), found, "make it, or leave audit.function out")
            return
        log = catalog.get(self.log)
        if log is not None:
            yield from self._refuse_shape(log)

    def _refuse_shape(self, log: Relation) -> Iterator[Refusal]:
        written = set(self._columns(log))
        for column in log.columns:
            given = column.default or column.identity or column.generated
            if column.not_null and not given and column.name not in written:
                yield Refusal(
                    f"{qualify(self.log)}.{quote(column.name)}",
                    "a column that must be given and that no general function knows",
                    "write the function yourself and name it in audit.function",
                )
        for name, kind in _SHAPE.items():
            known = log.column(name)
            if known is not None and known.type not in (kind, "json", "character varying"):
                yield Refusal(
                    f"{qualify(self.log)}.{quote(name)}",
                    f"it is of type {known.type}, and {kind} would be written",
                    "write the function yourself and name it in audit.function",
                )
        if not written & {"subject", "details"}:
            yield Refusal(
                qualify(self.log),
                "it has neither subject nor details: nothing would tell what was changed",
                "write the function yourself and name it in audit.function",
            )

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_remaining`: the function, then one action a table."""
        actions = []
        if self.function is None and not self._function_stands(catalog):
            actions.append(self._make_function(catalog))
        for name in self.watched:
            statements = self._of_table(catalog, name)
            if statements:
                drops = any(one.startswith("DROP") for one in statements)
                mode = LockMode.ACCESS_EXCLUSIVE if drops else LockMode.SHARE_ROW_EXCLUSIVE
                locks = (Lock(mode, qualify(name)),)
                what = f"audit every change of {qualify(name)}"
                actions.append(Action(what, tuple(statements), locks=locks))
        return tuple(actions)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """As `model.Operation.plan_undo`."""
        statements = []
        for name in self.watched:
            relation = catalog.get(name)
            for one in [] if relation is None else self._relations(relation, catalog):
                statements += [
                    f"DROP TRIGGER {quote(trigger.name)} ON {qualify(one.name)}"
                    for trigger in one.triggers
                    if trigger.name in (ROW, STATEMENT)
                    and trigger.function == self._function
                    and not trigger.cloned
                ]
        if self.function is None and self._function in catalog.functions:
            statements.append(f"DROP FUNCTION {qualify(self._function)}()")
        if not statements:
            return ()
        locks = tuple(Lock(LockMode.ACCESS_EXCLUSIVE, qualify(name)) for name in self.watched)
        return (Action(f"audit {self.object} no more", tuple(statements), locks=locks),)

    def _columns(self, log: Relation | None) -> dict[str, str]:
        """What is written into which column of the log."""
        values = {name: _VALUES[name] for name in _SHAPE if log is None or log.column(name)}
        category = self.category_column or "category"
        if log is None or log.column(category) is not None:
            values[category] = "'data'"
        time = None if log is None else log.column(self.time_column)
        if time is not None and not time.default:
            values[self.time_column] = "now()"
        return values

    def _body(self, catalog: Catalog) -> str:
        values = self._columns(catalog.get(self.log))
        return _BODY.format(
            log=qualify(self.log),
            columns=", ".join(map(quote, values)),
            values=", ".join(values.values()),
        )

    def _function_stands(self, catalog: Catalog) -> bool:
        stands = catalog.functions.get(self._function)
        return (
            stands is not None
            and stands.source == self._body(catalog)
            and stands.definer
            and stands.settings == ("search_path=pg_catalog, pg_temp",)
        )

    def _make_function(self, catalog: Catalog) -> Action:
        log, function = catalog.get(self.log), qualify(self._function)
        statements = [
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger\n"
            "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
            f"$body${self._body(catalog)}$body$"
        ]
        if log is not None:
            statements.insert(0, self._try_log(log))
            if catalog.superuser and log.owner != catalog.role:
                # Casts of the watched tables' types are called in it: never as a superuser.
                statements.append(f"ALTER FUNCTION {function}() OWNER TO {quote(log.owner)}")
        return Action(f"make the function {function}", tuple(statements))

    def _try_log(self, log: Relation) -> str:
        """Rows such as it will write, taken back at once: where the log refuses one of them, the
        application's writes would be refused."""
        values = self._columns(log)
        trial = {**values, **{one: _TRIAL[one] for one in _TRIAL if one in values}}
        return _TRY.format(
            log=qualify(self.log),
            columns=", ".join(map(quote, trial)),
            values=", ".join(trial.values()),
        )

    def _relations(self, relation: Relation, catalog: Catalog) -> list[Relation]:
        """The table and all below it."""
        found = [relation]
        for name in relation.children:
            child = catalog.get(name)
            if child is not None:
                found += self._relations(child, catalog)
        return found

    def _of_table(self, catalog: Catalog, name: TableName) -> list[str]:
        relation = catalog.get(name)
        if relation is None:
            return []
        statements = []
        for one in self._relations(relation, catalog):
            # Partitions get the row trigger of their parent, and no TRUNCATE trigger.
            if one is relation or relation.kind != PARTITIONED:
                statements += self._make(one, ROW, _ROW_TYPE, relation.primary_key)
            elif (cloned := one.trigger(ROW)) is not None and cloned.enabled != "A":
                table = qualify(one.name)
                statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {quote(ROW)}")
            statements += self._make(one, STATEMENT, _STATEMENT_TYPE, ())
        return statements

    def _make(self, relation: Relation, name: str, kind: int, key: tuple[str, ...]) -> list[str]:
        table = qualify(relation.name)
        trigger = relation.trigger(name)
        statements = []
        if trigger is not None and not self._stands(trigger, kind):
            statements.append(f"DROP TRIGGER {quote(name)} ON {table}")
            trigger = None
        if trigger is None:
            events = "INSERT OR UPDATE OR DELETE" if kind == _ROW_TYPE else "TRUNCATE"
            level = "ROW" if kind == _ROW_TYPE else "STATEMENT"
            arguments = ", ".join(map(literal, key))
            statements.append(
                f"CREATE TRIGGER {quote(name)} AFTER {events} ON {table}\n"
                f"FOR EACH {level} EXECUTE FUNCTION {qualify(self._function)}({arguments})"
            )
        if trigger is None or trigger.enabled != "A":
            statements.append(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {quote(name)}")
        return statements

    def _stands(self, trigger: Trigger, kind: int) -> bool:
        return (
            trigger.function == self._function
            and trigger.type == kind
            and " WHEN (" not in trigger.definition
            and " UPDATE OF " not in trigger.definition
        )
