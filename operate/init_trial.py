"""What of the choice `migrate` would refuse: asked of the operations themselves, one by one.

So the file that is written is one that `migrate plan` takes, and the reason why a table is not in
it is the one that `plan` would have given. Pure, from the catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit, AuditFunction, Settings, Watch
from phasegate.contract.settings_tables import Table
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.model import Refusal
from phasegate.migrate.operations.backfill import fires_for_backfill
from phasegate.migrate.phases import make_steps
from phasegate.migrate.plan import describe_refusal, find_refusals
from phasegate.migrate.ranges import leaves
from phasegate.operate.init_audit import AuditChoice, read_length
from phasegate.operate.init_tables import Candidate

MOST_TRIED = 20
_UNREAD = (
    "its partitions could not be read in time, by their number or by what the server has to do; "
    "`migrate plan` reads them too: see that it ends, then take this in"
)


@dataclass(frozen=True)
class TriedTable:
    """A candidate with what speaks against it; `unowned` alone says that another role could.
    `triggers` would have to be accepted by name, and nothing else speaks against it."""

    candidate: Candidate
    refusals: tuple[str, ...] = ()
    unowned: bool = False
    triggers: tuple[str, ...] = ()

    @property
    def proposed(self) -> bool:
        """Whether it becomes an entry."""
        return not self.refusals and not self.candidate.optional


@dataclass(frozen=True)
class TriedAudit:
    """The log with what speaks against it, and against `watch` alone."""

    choice: AuditChoice
    refusals: tuple[str, ...] = ()
    watch_refusals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """`server` is what speaks against any plan; `observer` that our role owns nothing of it, so
    that only another one could migrate."""

    tables: tuple[TriedTable, ...]
    audit: TriedAudit | None
    server: tuple[str, ...]
    observer: bool


def try_choice(
    candidates: Sequence[Candidate],
    catalog: Catalog,
    audit: AuditChoice | None = None,
    log: Catalog | None = None,
    others: Sequence[Refusal] = (),
) -> Trial:
    """`catalog` knows the candidates, `log` the audit log and what it watches, None where that
    could not be read in time; `others` are refusals of what no catalog tells."""
    base = find_refusals(make_steps(Settings(), catalog), catalog)
    owning = _as_owner(catalog)
    tables = tuple(_try_table(one, catalog, owning, base) for one in candidates)
    observer = bool(tables) and all(one.unowned for one in tables)
    if observer:
        tables = tuple(_try_table(one, owning, owning, base) for one in candidates)
    tried = None
    if audit is not None and log is not None:
        tried = _try_audit(audit, _as_owner(log) if observer else log, base)
    elif audit is not None:
        tried = TriedAudit(audit, (_UNREAD,))
    return Trial(tables, tried, _describe([*others, *base]), observer)


def _try_table(
    one: Candidate, catalog: Catalog, owning: Catalog, base: Sequence[Refusal]
) -> TriedTable:
    name, column = one.table.name, one.uuid.name
    found = _without(
        _refusals(Settings(tables=(Table(name=name, uuid_column=column),)), catalog), base
    )
    if not found:
        return TriedTable(one)
    as_owner = _without(
        _refusals(Settings(tables=(Table(name=name, uuid_column=column),)), owning), base
    )
    triggers = tuple(
        dict.fromkeys(
            trigger.name
            for leaf in leaves(catalog, name)
            for trigger in catalog.relations[leaf].triggers
            if fires_for_backfill(trigger)
        )
    )
    accepting = Table(name=name, uuid_column=column, accept_triggers=triggers)
    left = _without(_refusals(Settings(tables=(accepting,)), catalog), base)
    return TriedTable(
        one,
        _describe(found),
        unowned=len(as_owner) < len(found),
        triggers=() if left else triggers,
    )


def _try_audit(choice: AuditChoice, catalog: Catalog, base: Sequence[Refusal]) -> TriedAudit:
    length, odd = read_length(choice.table, catalog)
    choice = replace(choice, length=length, odd_length=odd)
    alone = _without(_refusals(Settings(audit=_audit(choice, watch=False)), catalog), base)
    whole = _without(_refusals(Settings(audit=_audit(choice, watch=True)), catalog), base)
    return TriedAudit(choice, _describe(alone), _describe(_without(whole, alone)))


def _audit(choice: AuditChoice, *, watch: bool) -> Audit:
    function = choice.function if watch else None
    return Audit(
        table=choice.table,
        time_column=choice.time_column,
        category_column=choice.category_column or None,
        partition=choice.length,
        function=None if function is None else AuditFunction(name=function),
        watch=tuple(Watch(table=one) for one in choice.watched) if watch else (),
    )


def _as_owner(catalog: Catalog) -> Catalog:
    """As a role would see it that may do everything."""
    relations = {name: replace(one, may_create=True) for name, one in catalog.relations.items()}
    return replace(catalog, superuser=True, bypasses=True, relations=relations)


def _refusals(settings: Settings, catalog: Catalog) -> tuple[Refusal, ...]:
    """Of the settings themselves: what `prepare` needs is the machine's, and asked once."""
    steps = [one for one in make_steps(settings, catalog) if one.phase != "prepare"]
    return find_refusals(steps, catalog)


def _without(found: Iterable[Refusal], base: Iterable[Refusal]) -> list[Refusal]:
    known = set(base)
    return [one for one in found if one not in known]


def _describe(found: Iterable[Refusal]) -> tuple[str, ...]:
    return tuple(map(describe_refusal, found))


def tried_names(candidates: Sequence[Candidate]) -> tuple[TableName, ...]:
    """Every table that `catalog` must know of."""
    return tuple(one.table.name for one in candidates)


def audit_names(audit: AuditChoice) -> tuple[TableName, ...]:
    """Every table that `log` must know of."""
    return tuple(dict.fromkeys([audit.table, *audit.watched]))
