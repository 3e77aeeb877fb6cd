"""Judges what was tried or watched on the database itself: does a change leave its audit row? Pure.

Two proofs, both opt-in: a canary changes one row in a transaction that is rolled back, and logical
decoding counts every committed change of a while against the rows of the log. What is missing is
told whatever else is in doubt; what is in doubt proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from phasegate.contract.evaluate import list_first
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.settings import Watch

MOST_AGE_SECONDS = 3_600.0
"""A proof is made once a call; of a longer wait it proves nothing any more."""
BACKFILL = (
    "a backfill that is left out of the log on purpose must say so where decoding can see it: "
    "SELECT pg_logical_emit_message(true, 'phasegate.backfill', 'on') in its transactions"
)


class Outcome(StrEnum):
    """What a proof says of one table."""

    PROVED = "proved"
    REFUTED = "refuted"
    NOTHING = "nothing"
    """It could not be made, or is not believed."""
    QUIET = "quiet"
    """It was made, and what it saw does not decide."""


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of `table` whose `column` was set to itself, rolled back. Times are Unix seconds.

    `log_rows` is what the log held of it before the roll-back. `rollbacks` counts transactions that
    the server books as rolled back, also those of a canary that failed. `doubt` says why it proves
    nothing, `remedy` what would help; both empty where it decides.
    """

    table: str
    began: float
    ended: float
    column: str = ""
    updated: int = 0
    log_rows: int = 0
    rollbacks: int = 0
    doubt: str = ""
    remedy: str = ""


class Gap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Committed changes without their rows, `missing` at least, of one transaction or, where
    `xid` is 0, of the whole window. With several `tables` the rows cannot be told apart."""

    tables: tuple[str, ...]
    kinds: tuple[str, ...]
    xid: int
    changes: int
    log_rows: int
    missing: int


class Watched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was decoded of one table. Counts are of kinds: INSERT, UPDATE, DELETE, TRUNCATE.

    `changes` are all of them, `matched` those whose transactions hold just as many rows of the log,
    or whose rows the log holds over the window; `blurred` those whose rows cannot be told from
    others; `marked` those of backfills that say that they are left out.
    """

    table: str
    transactions: int = 0
    changes: dict[str, int] = {}
    matched: dict[str, int] = {}
    blurred: dict[str, int] = {}
    marked: dict[str, int] = {}


class Decoding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A window of committed changes. Times are Unix seconds; `missing` counts all, `gaps` are the
    first. `log_rows` are all that reached the log, `other_rows` those that no change explains."""

    began: float
    ended: float
    transactions: int = 0
    log_rows: int = 0
    other_rows: int = 0
    tables: tuple[Watched, ...] = ()
    missing: int = 0
    gaps: tuple[Gap, ...] = ()
    doubt: str = ""
    remedy: str = ""


class AuditProofs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All proofs of one call; `identity` is that of the server, as evidence spells it."""

    identity: str
    canaries: tuple[Canary, ...] = ()
    decoding: Decoding | None = None


class Proof(NamedTuple):
    """What one proof says of one watched table; `kinds` are the changes for which it is proved."""

    table: str
    by: str
    outcome: Outcome
    reason: str
    remedy: str
    kinds: tuple[str, ...]
    facts: dict[str, object]


class Disturbance(NamedTuple):
    """What the canaries added to the statistics of the server: rows that were never there."""

    updates: dict[str, int]
    log_rows: int
    rollbacks: int


class _Asked(NamedTuple):
    """What a proof must be of."""

    identity: str
    since: float
    max_age: float


def evaluate_proofs(
    proofs: AuditProofs,
    watch: Iterable[Watch],
    *,
    identity: str,
    judged: float,
    since: float = 0.0,
    max_age: float = MOST_AGE_SECONDS,
) -> tuple[Proof, ...]:
    """What the proofs say of each watched table, at `judged`; none for a table without any.

    `identity` is that of the believed evidence: a proof of another server proves nothing, and
    refutes nothing. Times are Unix seconds, `max_age` seconds.
    """
    writers = {str(one.table): one.writer for one in watch}
    watched = list(writers)
    canaries = {one.table: one for one in proofs.canaries}
    found = [_of_canary(canaries[table]) for table in watched if table in canaries]
    if proofs.decoding is not None:
        found += [_of_decoding(table, writers[table], proofs.decoding) for table in watched]
    windows = {("canary", name): (one.began, one.ended) for name, one in canaries.items()}
    if proofs.decoding is not None:
        decoded = (proofs.decoding.began, proofs.decoding.ended)
        windows |= {("decoding", name): decoded for name in watched}
    asked = _Asked(identity, since, max_age)
    return tuple(
        _believed(one, _doubt(proofs, asked, windows[one.by, one.table], judged)) for one in found
    )


def count_disturbance(proofs: AuditProofs, began: float, ended: float) -> Disturbance:
    """What canaries between two Unix times added, to be taken off the counts of that window.

    Of one that failed part-way nobody knows how much it added, and of one near an end of the window
    on which side of it: their roll-backs stay in the counts, which then decide nothing.
    """
    began, ended = began + CLOCK_SKEW_SECONDS, ended - CLOCK_SKEW_SECONDS
    decided = [one for one in proofs.canaries if not one.doubt]
    inside = [one for one in decided if began <= one.began and one.ended <= ended]
    updates: dict[str, int] = {}
    for one in inside:
        updates[one.table] = updates.get(one.table, 0) + one.updated
    rows, rollbacks = sum(one.log_rows for one in inside), sum(one.rollbacks for one in inside)
    return Disturbance(updates, rows, rollbacks)


def _doubt(proofs: AuditProofs, asked: _Asked, window: tuple[float, float], judged: float) -> str:
    """Why a proof of that time is not believed; empty where it is."""
    began, ended = window
    identity, since, max_age = asked
    if not proofs.identity or proofs.identity != identity:
        shown = identity or "a server that is not known"
        return f"it is of {proofs.identity or 'a server that is not known'}, not of {shown}"
    if not (math.isfinite(began) and math.isfinite(ended) and began <= ended):
        return "it is of no known time"
    if ended > judged + CLOCK_SKEW_SECONDS:
        return f"it was made {ended - judged:.0f} s in the future; compare the clocks"
    if not began >= since:
        return f"it began {since - began:.0f} s before the time that was asked for"
    if not judged - ended <= max_age:
        return f"it was made {judged - ended:.0f} s ago, longer than {max_age:.0f} s"
    return ""


def _believed(proof: Proof, doubt: str) -> Proof:
    if not doubt:
        return proof
    reason = f"{proof.table}: the {proof.by} is not believed: {doubt}"
    return _nothing(proof.table, proof.by, reason, "judge again", proof.facts)


def _nothing(
    table: str, by: str, reason: str, remedy: str, facts: dict[str, object] | None = None
) -> Proof:
    return Proof(table, by, Outcome.NOTHING, reason, remedy, (), facts or {})


def _of_canary(canary: Canary) -> Proof:
    table, facts = canary.table, msgspec.to_builtins(canary)
    if canary.doubt or canary.updated != 1:
        reason = canary.doubt or f"{canary.updated} rows were changed, not 1"
        return _nothing(table, "canary", f"{table}: canary: {reason}", canary.remedy, facts)
    if canary.log_rows >= 1:
        reason = f"{table}: canary: an UPDATE of one row wrote {canary.log_rows} to the audit log"
        return Proof(table, "canary", Outcome.PROVED, reason, "", ("UPDATE",), facts)
    reason = f"{table}: canary: an UPDATE of {canary.column} of one row wrote none to the audit log"
    remedy = f"see that the trigger of {table} fires on every UPDATE, and is enabled always"
    return Proof(table, "canary", Outcome.REFUTED, reason, remedy, (), facts)


def _of_decoding(table: str, writer: str, decoding: Decoding) -> Proof:
    watched = next((one for one in decoding.tables if one.table == table), Watched(table))
    gaps = [gap for gap in decoding.gaps if table in gap.tables]
    span = f"{decoding.ended - decoding.began:.0f} s"
    facts: dict[str, object] = msgspec.to_builtins(watched)
    facts |= {
        "began": decoding.began,
        "ended": decoding.ended,
        "log_rows": decoding.log_rows,
        "other_rows": decoding.other_rows,
        "gaps": msgspec.to_builtins(gaps),
    }
    head = f"{table}: decoding of {span}"
    if gaps:
        reason = f"{head}: {list_first([_gap(gap) for gap in gaps])}"
        quiet = any("UPDATE" in gap.kinds and not gap.log_rows for gap in gaps)
        remedy = f"see what writes to {table} without its audit row"
        remedy += f"; {BACKFILL}" if quiet else ""
        return Proof(table, "decoding", Outcome.REFUTED, reason, remedy, (), facts)
    if decoding.doubt:
        return _nothing(table, "decoding", f"{head}: {decoding.doubt}", decoding.remedy, facts)
    if decoding.missing > sum(gap.missing for gap in decoding.gaps):
        reason = f"{head}: more changes without a row than are listed, perhaps of this table"
        return _nothing(table, "decoding", reason, "see the other tables first", facts)
    return _of_complete(head, writer, watched, decoding, facts)


def _of_complete(
    head: str, writer: str, watched: Watched, decoding: Decoding, facts: dict[str, object]
) -> Proof:
    """Of a window in which nothing is known to be missing."""
    table = watched.table
    total, matched = sum(watched.changes.values()), sum(watched.matched.values())
    marked = sum(watched.marked.values())
    aside = f"; {marked:,} changes of a marked backfill are left out" if marked else ""
    if not total:
        reason = f"{head}: no change was seen{aside}"
        remedy = "decode while the table is written to, or for longer"
        return Proof(table, "decoding", Outcome.QUIET, reason, remedy, (), facts)
    unclear = {kind for kind, count in watched.blurred.items() if count}
    kinds = tuple(kind for kind, count in watched.matched.items() if count)
    if writer == "trigger":
        # Seen apart once is as good as always: it is the same trigger that writes.
        unclear -= set(kinds)
    if not kinds or unclear or matched + sum(watched.blurred.values()) != total:
        told = ", ".join(sorted(unclear)) or "some"
        reason = (
            f"{head}: {total:,} changes, and the audit rows of {told} cannot be told "
            f"from others that the log holds ({decoding.other_rows:,}){aside}"
        )
        remedy = "decode for longer, or when nothing else writes to the log"
        return Proof(table, "decoding", Outcome.QUIET, reason, remedy, (), facts)
    also = f", {total - matched:,} more not told from other rows" if total - matched else ""
    reason = (
        f"{head}: {matched:,} changes ({', '.join(kinds)}) in {watched.transactions:,} "
        f"transactions, each with its row{also}{aside}"
    )
    return Proof(table, "decoding", Outcome.PROVED, reason, "", kinds, facts)


def _gap(gap: Gap) -> str:
    where = f"transaction {gap.xid}" if gap.xid else "the window"
    of = f" of {' and '.join(gap.tables)}, not told apart" if len(gap.tables) > 1 else ""
    return (
        f"{where}: {gap.changes:,} {'/'.join(gap.kinds)}{of}, {gap.log_rows:,} audit rows, "
        f"{gap.missing:,} missing"
    )
