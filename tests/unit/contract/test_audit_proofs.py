"""What a proof says of a watched table: proved, refuted, or nothing, and never more than it saw."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from phasegate.contract.audit_proofs import (
    AuditProofs,
    Canary,
    Decoding,
    Gap,
    Outcome,
    Proof,
    Watched,
    count_disturbance,
    evaluate_proofs,
)
from phasegate.contract.names import TableName
from phasegate.contract.settings import Watch
from tests.fixtures.dossiers import NOW, SERVER

USERS = "public.users"
CANARY = Canary(USERS, NOW - 2, NOW - 1, "name", updated=1, log_rows=1, rollbacks=1)
SEEN = Watched(USERS, 2, {"UPDATE": 5}, {"UPDATE": 5})
DECODING = Decoding(NOW - 40, NOW - 10, 2, 5, 0, (SEEN,))
GAP = Gap((USERS,), ("UPDATE",), 777, 3, 1, 2)


def watch(writer: str = "trigger", *tables: str) -> list[Watch]:
    return [Watch(table=TableName("public", name), writer=writer) for name in tables or ["users"]]


def judge(proofs: AuditProofs, writer: str = "trigger", **asked: Any) -> Proof:
    given: dict[str, Any] = {"identity": SERVER, "judged": NOW} | asked
    [found] = evaluate_proofs(proofs, watch(writer), **given)
    return found


def of_canary(**parts: Any) -> Proof:
    return judge(AuditProofs(SERVER, (msgspec.structs.replace(CANARY, **parts),)))


def of_decoding(writer: str = "trigger", **parts: Any) -> Proof:
    return judge(AuditProofs(SERVER, (), msgspec.structs.replace(DECODING, **parts)), writer)


@pytest.mark.parametrize(
    ("parts", "outcome", "said"),
    [
        ({}, Outcome.PROVED, "an UPDATE of one row wrote 1 to the audit log"),
        ({"log_rows": 2}, Outcome.PROVED, "wrote 2"),
        ({"log_rows": 0}, Outcome.REFUTED, "of name of one row wrote none"),
        ({"updated": 0}, Outcome.NOTHING, "0 rows were changed, not 1"),
        ({"updated": 2}, Outcome.NOTHING, "2 rows were changed, not 1"),
        ({"doubt": "locked"}, Outcome.NOTHING, "canary: locked"),
        ({"doubt": "locked", "log_rows": 0}, Outcome.NOTHING, "canary: locked"),
        ({"ended": NOW + 60}, Outcome.NOTHING, "60 s in the future"),
        ({"ended": math.nan}, Outcome.NOTHING, "of no known time"),
        ({"began": NOW - 9_000, "ended": NOW - 8_000}, Outcome.NOTHING, "8000 s ago"),
    ],
)
def test_a_canary(parts: dict[str, Any], outcome: Outcome, said: str) -> None:
    found = of_canary(**parts)
    assert (found.outcome, said in found.reason) == (outcome, True), found.reason
    assert found.kinds == (("UPDATE",) if outcome is Outcome.PROVED else ())


def seen(changes: int, matched: int, blurred: int = 0, marked: int = 0) -> dict[str, Any]:
    counts = ({"UPDATE": n} if n else {} for n in (changes, matched, blurred, marked))
    return {"tables": (Watched(USERS, 1, *counts),)}


@pytest.mark.parametrize(
    ("writer", "parts", "outcome", "said"),
    [
        ("trigger", {}, Outcome.PROVED, "5 changes (UPDATE) in 2 transactions, each with its row"),
        ("trigger", {"gaps": (GAP,), "missing": 2}, Outcome.REFUTED, "transaction 777: 3 UPDATE"),
        # A gap is told whatever else is in doubt.
        ("trigger", {"gaps": (GAP,), "missing": 2, "doubt": "slow"}, Outcome.REFUTED, "2 missing"),
        ("trigger", {"doubt": "a standby", "remedy": "x"}, Outcome.NOTHING, "30 s: a standby"),
        ("trigger", {"missing": 1}, Outcome.NOTHING, "more changes without a row than are listed"),
        ("trigger", {"tables": ()}, Outcome.QUIET, "no change was seen"),
        ("trigger", seen(0, 0, marked=9), Outcome.QUIET, "9 changes of a marked backfill"),
        ("trigger", seen(5, 4, 1), Outcome.PROVED, "4 changes (UPDATE)"),
        ("trigger", seen(5, 0, 5), Outcome.QUIET, "cannot be told from others"),
        ("trigger", seen(5, 4), Outcome.QUIET, "cannot be told"),
        ("application", seen(5, 4, 1), Outcome.QUIET, "of UPDATE cannot be told from others"),
        ("application", seen(5, 5), Outcome.PROVED, "5 changes (UPDATE)"),
    ],
)
def test_decoding(writer: str, parts: dict[str, Any], outcome: Outcome, said: str) -> None:
    found = of_decoding(writer, **parts)
    assert (found.outcome, said in found.reason) == (outcome, True), found.reason
    assert bool(found.remedy) is (outcome is not Outcome.PROVED)


def test_a_kind_of_change_that_was_never_seen_apart_is_not_proved_by_another() -> None:
    users = Watched(USERS, 2, {"UPDATE": 5, "DELETE": 1}, {"UPDATE": 5}, {"DELETE": 1})
    found = of_decoding(tables=(users,))
    assert found.outcome is Outcome.QUIET
    assert "6 changes, and the audit rows of DELETE cannot be told" in found.reason


def test_a_quiet_update_may_be_a_backfill_and_the_remedy_says_how_it_is_marked() -> None:
    gap = msgspec.structs.replace(GAP, log_rows=0, missing=3)
    assert "pg_logical_emit_message" in of_decoding(gaps=(gap,), missing=3).remedy
    assert "pg_logical_emit_message" not in of_decoding(gaps=(GAP,), missing=2).remedy


@pytest.mark.parametrize("outcome", [1, 0])
@pytest.mark.parametrize(
    ("proofs", "asked"),
    [
        (SERVER, "7412345678901234568/1/mono_prod"),
        (SERVER, "7412345678901234567/2/mono_prod"),
        (SERVER, ""),
        ("", ""),
        ("", SERVER),
    ],
)
def test_another_server_s_proof_neither_passes_nor_fails(
    proofs: str, asked: str, outcome: int
) -> None:
    canary = msgspec.structs.replace(CANARY, log_rows=outcome)
    found = judge(AuditProofs(proofs, (canary,)), identity=asked)
    assert (found.outcome, found.kinds) == (Outcome.NOTHING, ())
    assert "is not believed: it is of " in found.reason


def test_a_proof_from_before_the_origin_is_none() -> None:
    proofs = AuditProofs(SERVER, (CANARY,))
    assert judge(proofs, since=CANARY.began).outcome is Outcome.PROVED
    assert "before the time that was asked for" in judge(proofs, since=CANARY.began + 1).reason


def test_a_table_that_was_not_looked_at_is_not_proved() -> None:
    proofs = AuditProofs(SERVER, (CANARY,), DECODING)
    found = evaluate_proofs(proofs, watch("trigger", "users", "roles"), identity=SERVER, judged=NOW)
    said = [(one.table, one.by, one.outcome) for one in found]
    assert said == [
        (USERS, "canary", Outcome.PROVED),
        (USERS, "decoding", Outcome.PROVED),
        ("public.roles", "decoding", Outcome.QUIET),
    ]
    assert evaluate_proofs(AuditProofs(SERVER), watch(), identity=SERVER, judged=NOW) == ()


def test_what_a_canary_added_to_the_statistics_is_known() -> None:
    proofs = AuditProofs(SERVER, (CANARY, msgspec.structs.replace(CANARY, table="public.roles")))
    assert count_disturbance(proofs, NOW - 7, NOW + 4) == ({USERS: 1, "public.roles": 1}, 2, 2)
    # On which side of an end it was nobody knows, where two clocks told the times.
    assert count_disturbance(proofs, NOW - 6.9, NOW + 4) == ({}, 0, 0)
    assert count_disturbance(proofs, NOW - 7, NOW + 3.9) == ({}, 0, 0)
    assert count_disturbance(proofs, NOW - 60, NOW - 30) == ({}, 0, 0)
    failed = AuditProofs(SERVER, (msgspec.structs.replace(CANARY, doubt="not done within 2 s"),))
    assert count_disturbance(failed, NOW - 60, NOW + 60) == ({}, 0, 0)
