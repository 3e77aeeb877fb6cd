"""What the order of a table's columns costs: measured and said before anybody rewrites a table.

A column begins where its type may begin, so a small one before a large one leaves bytes empty in
every row. Another order needs the table written anew; it is seldom worth that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Place, Relation
from phasegate.migrate.identifiers import qualify

WORTH = 0.10
"""Share of a row, from which on a rewrite is proposed."""
_ROW_ALIGNMENT = 8
_HEADER = 23
_ITEM = 4
_SHORT_VARLENA = 127


@dataclass(frozen=True)
class PaddingFacts:
    """Bytes of a row on average: as it is, and in the best order; `order` is that order."""

    row: float
    padding: float
    best_padding: float
    order: tuple[str, ...]

    @property
    def saved(self) -> float:
        """Share of a row that the best order would spare."""
        return max(0.0, self.padding - self.best_padding) / self.row if self.row else 0.0


def padding(columns: Iterable[tuple[str, Place]]) -> PaddingFacts:
    """Of the columns, by name, in the order in which they lie."""
    given = list(columns)
    # Large fixed ones first: then none of them begins where it may not. Types alone decide, so
    # that the order stays the best whatever is stored.
    best = sorted(given, key=lambda one: (not one[1].fixed, -one[1].alignment))
    places = [place for _, place in given]
    now, then = _lay(places), _lay([place for _, place in best])
    row = sum(one.width * (1 - one.nulls) for one in places) + now + _header(places) + _ITEM
    return PaddingFacts(row, now, then, tuple(name for name, _ in best))


def measure_padding(relation: Relation) -> PaddingFacts:
    """From the types and what ANALYZE saw; a table that was never analyzed counts without NULLs."""
    return padding((one.name, one.place) for one in relation.columns if one.place is not None)


def describe_decision(table: TableName, facts: PaddingFacts, *, asked: bool = False) -> str:
    """The decision as one line: what is wasted, and whether another order is worth a rewrite."""
    wasted = (
        f"{facts.padding:.0f} of {facts.row:.0f} bytes of a row of {qualify(table)} are padding"
    )
    if facts.saved < WORTH:
        return f"skipped: another order would spare {facts.saved:.0%}; {wasted}"
    best = ", ".join(facts.order)
    proposal = f"another order would spare {facts.saved:.0%} ({best}); {wasted}"
    if asked:
        return f"worth it: {proposal}"
    return f"skipped, since nobody asked for a rewrite: {proposal}"


def _lay(columns: list[Place]) -> float:
    """Empty bytes between and after the columns of one row."""
    at = lost = 0.0
    for one in columns:
        here = one.width
        # A short value of variable length begins anywhere.
        if one.fixed or here > _SHORT_VARLENA:
            gap = -at % one.alignment
            # Whoever is NULL takes no place, and needs no gap.
            lost += gap * (1 - one.nulls)
            at += gap * (1 - one.nulls)
        at += here * (1 - one.nulls)
        if one.fixed:
            # Averages lie between the bytes on which a row can begin.
            at = float(round(at))
    return lost + -round(at) % _ROW_ALIGNMENT


def _header(columns: list[Place]) -> int:
    bitmap = (len(columns) + 7) // 8 if any(one.nulls for one in columns) else 0
    return -(-(_HEADER + bitmap) // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
