"""The guide's checklist and its four phases as steps: what they are made of, in which order.

The guide's numbers are names, not the order: rows get their UUIDs before they are indexed, which
takes half the time and half the index, and are constrained after that.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.names import ColumnName, parse_column
from phasegate.contract.settings import Settings
from phasegate.contract.settings_tables import Table
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.model import Operation, Refusal, Step
from phasegate.migrate.operations.audit_triggers import AuditTriggers
from phasegate.migrate.operations.await_criteria import AwaitCriteria
from phasegate.migrate.operations.await_unread import AwaitUnread
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.backup import MakeBackup, ProveBackup
from phasegate.migrate.operations.drain import Drain
from phasegate.migrate.operations.framework import FrameworkMigrate
from phasegate.migrate.operations.hook import RunHook
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.padding_decision import AskedDecision, PaddingDecision
from phasegate.migrate.operations.partition_audit import PartitionAudit
from phasegate.migrate.operations.permission_tables import PermissionTables
from phasegate.migrate.operations.preflight import Preflight
from phasegate.migrate.operations.premake import Premake
from phasegate.migrate.operations.proof import Proof
from phasegate.migrate.operations.reference_steps import make_operations
from phasegate.migrate.operations.reorder_columns import ReorderColumns
from phasegate.migrate.operations.swap_primary import SwapPrimary, find_integer_key
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.operations.warm_cache import WarmCache
from phasegate.migrate.references import find_references, refuse_references


def make_steps(settings: Settings, catalog: Catalog) -> tuple[Step, ...]:
    """Every step of every phase that has something to do in this configuration, in order."""
    steps = [
        *_prepare(settings),
        *_infrastructure(settings),
        *_schema(settings, catalog),
        *_application(settings),
        *_validation(settings, catalog),
    ]
    return tuple(step for step in steps if step.operations)


def _prepare(settings: Settings) -> Iterator[Step]:
    """The backup first: the preflight looks at its age."""
    phase, tables = "prepare", settings.named_tables
    backup = (MakeBackup(tables), ProveBackup())
    yield Step("backup", phase, "make a backup, and prove it by a restore", backup)
    yield Step("preflight", phase, "look whether all is there", (Preflight(tables),))


def _infrastructure(settings: Settings) -> Iterator[Step]:
    audit = settings.audit
    if audit is None:
        return
    watched = tuple(one.table for one in audit.watch if one.writer == "trigger")
    function = None if audit.function is None else audit.function.name
    table, time = audit.table, audit.time_column
    operations: tuple[Operation, ...] = (
        PartitionAudit(table, time, audit.partition, audit.category_column),
        Premake(table, audit.partition, audit.premake),
    )
    if watched:
        operations += (AuditTriggers(table, time, watched, audit.category_column, function),)
    title = "partition the audit log and audit every change"
    yield Step("03-add-audit-tables", "infrastructure", title, operations)


def _schema(settings: Settings, catalog: Catalog) -> Iterator[Step]:
    phase, tables = "schema", settings.tables
    if settings.migrate.mode == "maintenance":
        yield _hook(settings, phase, "maintenance-on", "turn maintenance on")
        drained = (*_hook(settings, phase, "drain", "").operations, Drain())
        yield Step("drain", phase, "wait until the application has let go", drained)
    yield Step("01-add-uuid-fields", phase, "add the UUID columns", tuple(map(_column, tables)))
    yield Step(
        "populate-uuids", phase, "give every row its UUID", tuple(map(make_backfill, tables))
    )
    yield Step("02-add-indexes", phase, "index the UUIDs", tuple(map(_index, tables)))
    if settings.migrate.permission_tables and tables:
        made: tuple[Operation, ...] = (PermissionTables(tables[0].name),)
        yield Step("04-add-permission-tables", phase, "make the permission tables", made)
    ordered = tuple(operation for table in tables for operation in _reorder(table))
    yield Step("05-reorder-columns", phase, "decide about the order of columns", ordered)
    yield Step("06-add-constraints", phase, "forbid what is missing", tuple(map(_not_null, tables)))
    yield Step("prove-uuids", phase, "prove that nothing is missing", tuple(map(_proof, tables)))
    yield from _references(settings, catalog)
    if settings.migrate.hooks.framework_migrate is not None:
        title = "run the framework's own migrations"
        yield Step("framework-migrate", phase, title, (FrameworkMigrate(),))
    if settings.cache is not None and settings.cache.warm is not None:
        yield Step("warm-permission-cache", phase, "fill the permission cache", (WarmCache(),))


def _references(settings: Settings, catalog: Catalog) -> Iterator[Step]:
    """A UUID beside each integer that refers to a table, once that table's own are whole."""
    operations = [
        operation
        for table in settings.tables
        if table.keys != "alternate"
        for reference in find_references(catalog, table.name, table.uuid_column, _names(table))
        for operation in make_operations(reference, catalog, table.accept_triggers)
    ]
    title = "a UUID beside each integer that refers to a table"
    yield Step("references", "schema", title, tuple(operations))


def find_others(settings: Settings, catalog: Catalog) -> tuple[Refusal, ...]:
    """What speaks against the configuration, and concerns no operation there is: foreign keys for
    which none can be made."""
    return tuple(
        refusal
        for table in settings.tables
        if table.keys != "alternate" and catalog.get(table.name) is not None
        for refusal in refuse_references(catalog, table.name, table.uuid_column, _names(table))
    )


def _names(table: Table) -> dict[ColumnName, str]:
    return {parse_column(column): name for column, name in table.references.items()}


def _validation(settings: Settings, catalog: Catalog) -> Iterator[Step]:
    """What must wait until nobody reads by the integer any more."""
    operations: list[Operation] = []
    for table in settings.tables:
        key = find_integer_key(catalog, table.name, table.uuid_column)
        if table.keys == "primary" and key:
            operations += [
                AwaitUnread(table.name, key, table.uuid_column),
                SwapPrimary(table.name, key, table.uuid_column, unread=True),
            ]
    title = "make the UUID the primary key"
    yield Step("swap-primary-key", "validation", title, tuple(operations))


def _application(settings: Settings) -> Iterator[Step]:
    """The API first: it supports both, and the frontend must not come while it is not healthy."""
    phase = "application"
    yield _hook(settings, phase, "deploy-api", "deploy the API, which supports both")
    web = _hook(settings, phase, "deploy-web", "deploy the frontend")
    if web.operations:
        healthy = (AwaitCriteria(("health",)),)
        yield Step("await-api", phase, "wait until the API is healthy", healthy)
        yield web
    if settings.migrate.mode == "maintenance":
        ready = (AwaitCriteria(("health", "uuid_lookup_latency")),)
        yield Step("await-ready", phase, "wait until users can be let in again", ready)
        yield _hook(settings, phase, "maintenance-off", "turn maintenance off")


def _hook(settings: Settings, phase: str, name: str, title: str) -> Step:
    key = name.replace("-", "_")
    configured = getattr(settings.migrate.hooks, key) is not None
    return Step(name, phase, title, (RunHook(key),) if configured else ())


def _column(table: Table) -> UuidColumn:
    return UuidColumn(table.name, table.uuid_column, table.uuid_version)


def make_backfill(table: Table) -> Backfill:
    """The operation that gives every row of that table its UUID."""
    return Backfill(table.name, table.uuid_column, table.uuid_version, table.accept_triggers)


def _reorder(table: Table) -> tuple[Operation, ...]:
    if table.reorder:
        return AskedDecision(table.name), ReorderColumns(table.name)
    return (PaddingDecision(table.name),)


def _index(table: Table) -> UniqueIndex:
    return UniqueIndex(table.name, table.uuid_column)


def _not_null(table: Table) -> NotNull:
    return NotNull(table.name, table.uuid_column)


def _proof(table: Table) -> Proof:
    stands = (_column(table), _index(table), _not_null(table))
    return Proof(table.name, table.uuid_column, stands)
