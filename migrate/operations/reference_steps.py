"""All that one reference needs, in the order in which it is safe."""

from __future__ import annotations

from phasegate.migrate.catalog import Catalog
from phasegate.migrate.model import Operation
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.reference_backfill import ReferenceBackfill, ReferenceProof
from phasegate.migrate.operations.reference_column import ReferenceColumn
from phasegate.migrate.operations.reference_index import ReferenceIndex
from phasegate.migrate.operations.reference_key import ReferenceKey
from phasegate.migrate.references import Reference


def make_constraints(reference: Reference, catalog: Catalog) -> tuple[Operation, ...]:
    """What forbids a wrong or a missing UUID; the parent's unique index is there before."""
    found: list[Operation] = [ReferenceKey(reference)]
    if reference.is_needed(catalog):
        found.append(NotNull(reference.child, reference.uuid))
    return tuple(found)


def make_operations(
    reference: Reference, catalog: Catalog, accepted: tuple[str, ...] = ()
) -> tuple[Operation, ...]:
    """From the column to the proof; the parent is filled and guarded before the first of them."""
    column, index = ReferenceColumn(reference), ReferenceIndex(reference)
    constraints = make_constraints(reference, catalog)
    return (
        column,
        ReferenceBackfill(reference, accepted),
        index,
        *constraints,
        ReferenceProof(reference, (column, index, *constraints)),
    )
