"""The guide's checklist and its four phases as steps: what they are made of, in which order.

The guide's numbers are names, not the order: rows get their UUIDs before they are indexed, which
takes half the time and half the index, and are constrained after that.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.settings import Settings, Table
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.model import Step
from phasegate.migrate.operations.backfill import Backfill
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.proof import Proof
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn


def make_steps(settings: Settings, catalog: Catalog) -> tuple[Step, ...]:
    """Every step of every phase that has something to do in this configuration, in order."""
    del catalog
    steps = [*_schema(settings)]
    return tuple(step for step in steps if step.operations)


def _schema(settings: Settings) -> Iterator[Step]:
    phase, tables = "schema", settings.tables
    yield Step("01-add-uuid-fields", phase, "add the UUID columns", tuple(map(_column, tables)))
    yield Step("populate-uuids", phase, "give every row its UUID", tuple(map(_backfill, tables)))
    yield Step("02-add-indexes", phase, "index the UUIDs", tuple(map(_index, tables)))
    yield Step("06-add-constraints", phase, "forbid what is missing", tuple(map(_not_null, tables)))
    yield Step("prove-uuids", phase, "prove that nothing is missing", tuple(map(_proof, tables)))


def _column(table: Table) -> UuidColumn:
    return UuidColumn(table.name, table.uuid_column, table.uuid_version)


def _backfill(table: Table) -> Backfill:
    return Backfill(table.name, table.uuid_column, table.uuid_version)


def _index(table: Table) -> UniqueIndex:
    return UniqueIndex(table.name, table.uuid_column)


def _not_null(table: Table) -> NotNull:
    return NotNull(table.name, table.uuid_column)


def _proof(table: Table) -> Proof:
    stands = (_column(table), _index(table), _not_null(table))
    return Proof(table.name, table.uuid_column, stands)
