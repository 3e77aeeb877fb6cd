"""The judgement of audit coverage, on facts made by hand: whole, of which each test spoils one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from phasegate.contract.audit_facts import (
    EVENTS,
    TRUNCATE,
    AuditFacts,
    CountsReading,
    Relation,
    Trigger,
    TriggerFunction,
    WatchedTable,
)
from phasegate.contract.audit_proofs import AuditProofs, Canary, Decoding, Gap, Watched
from phasegate.contract.coverage import compare_counts
from phasegate.contract.dossier import Options, Problem, Trouble
from phasegate.contract.evidence import Evidence
from phasegate.contract.judge import judge
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.names import TableName
from tests.fixtures.dossiers import (
    CONFIG,
    NOW,
    ONE_LOOK,
    SERVER,
    make_dossier,
    make_evidence,
    make_settings,
)

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE
BODY, FUNCTION = "a" * 64, "public.audit_row_change"
USERS = TableName("public", "users")
ROW = Trigger("r", FUNCTION, EVENTS[:3], "A", row=True, after=True)
TRUNCATED = Trigger("t", FUNCTION, (TRUNCATE,), "A", after=True)
RELATION = Relation("public.users", "r", triggers=(ROW, TRUNCATED))
KNOWN = TriggerFunction(
    FUNCTION, "public", "audit_row_change", True, BODY, BODY, NOW - 900
)  # fmt: skip
READINGS = tuple(CountsReading(NOW - 100 + 10 * i, 5 * i, 6 * i, 3) for i in range(10))


def make_facts(*relations: Relation, **parts: Any) -> AuditFacts:
    found = relations or (RELATION,)
    watched = WatchedTable(*USERS, len(found), found)
    whole = AuditFacts(
        time=NOW - 5,
        identity=SERVER,
        schema="public",
        table="audit_logs",
        exists=True,
        diversions=(),
        watched=(watched,),
        functions=(KNOWN,),
        readings=READINGS,
    )
    return replace(whole, **parts)


def assess(
    folder: Path,
    facts: AuditFacts | None,
    *,
    audit: str = "",
    watch: str = "",
    criteria: str = "",
    options: Options = ONE_LOOK,
    proofs: AuditProofs | None = None,
    problems: tuple[Problem, ...] = (),
) -> Judgement:
    """By the whole judge."""
    entry = f"audit: {{table: public.audit_logs, watch: [{{table: public.users{watch}}}]{audit}}}"
    text = CONFIG.replace("audit: {table: public.audit_logs}", entry) + criteria
    settings = make_settings(folder, text)
    dossier = replace(make_dossier(make_evidence(audit=facts)), proofs=proofs, problems=problems)
    return judge("audit_coverage", dossier, settings, options)


def decoded(matched: int = 0, missing: int = 0) -> AuditProofs:
    """A minute of decoding that saw so many changes with and without their rows."""
    counts = {"UPDATE": matched} if matched else {}
    gap = Gap(("public.users",), ("UPDATE",), 7, missing, 0, missing)
    window = Decoding(
        NOW - 65,
        NOW - 5,
        tables=(Watched("public.users", 1, counts, counts),),
        missing=missing,
        gaps=(gap,) if missing else (),
    )
    return AuditProofs(SERVER, decoding=window)


def test_triggers_that_stand_pass_with_counts_that_support_them(tmp_path: Path) -> None:
    found = assess(tmp_path, make_facts())
    assert (found.verdict, found.measured, found.limit, found.remedy) == (PASSED, 0, 0, "")
    counts = "counts: 35 changes and 42 rows of the log in 70s, none rolled back"
    assert found.reason == f"covered: public.users (relations: 1); {counts}"


FACTS_THAT_DECIDE_NOTHING = [
    (None, "nothing was measured"),
    (make_facts(time=NOW - 71), "measured 71 s ago, older than 70 s"),
    (make_facts(time=NOW + 6), "in the future"),
    (make_facts(functions=(replace(KNOWN, first_seen=1e300),)), "in the future"),
    (make_facts(functions=(replace(KNOWN, changed=-1.0),)), "a time that is none"),
    (make_facts(identity="other"), "another server"),
    (make_facts(table="logs"), "the audit log public.logs, not public.audit_logs"),
    (make_facts(watched=()), "public.users: not measured"),
    (make_facts(watched=make_facts().watched * 2), "public.users: measured twice"),
    (
        make_facts(watched=(WatchedTable(*USERS, 2, (RELATION,)),)),
        "public.users: measured in part",
    ),
    (make_facts(RELATION, RELATION), "measured in part"),
    (make_facts(replace(RELATION, parents=("public.users",))), "measured in part"),
]


@pytest.mark.parametrize(("facts", "told"), FACTS_THAT_DECIDE_NOTHING)
def test_what_is_missing_stale_or_contradictory_decides_nothing(
    facts: AuditFacts | None, told: str, tmp_path: Path
) -> None:
    found = assess(tmp_path, facts)
    assert (found.verdict, bool(found.remedy)) == (INCONCLUSIVE, True), found
    assert told in found.reason


def test_at_the_oldest_age_and_since_the_origin_it_counts(tmp_path: Path) -> None:
    assert assess(tmp_path, make_facts(time=NOW - 70)).verdict is PASSED
    since = Options(since=NOW - 5, values_since=NOW - 5)
    assert assess(tmp_path, make_facts(), options=since).verdict is PASSED
    found = assess(tmp_path, make_facts(), options=replace(since, values_since=NOW - 4))
    assert (found.verdict, "before what is asked" in found.reason) == (INCONCLUSIVE, True)


def with_row(**parts: Any) -> AuditFacts:
    return make_facts(replace(RELATION, triggers=(replace(ROW, **parts), TRUNCATED)))


FACTS_WITH_A_GAP = [
    (make_facts(replace(RELATION, triggers=())), "INSERT, UPDATE, DELETE, TRUNCATE not audited"),
    (make_facts(replace(RELATION, triggers=(ROW,))), "users: TRUNCATE not audited: no trigger"),
    (with_row(enabled="O"), "does not fire under"),
    (with_row(enabled="R"), "replica only"),
    (with_row(enabled="D"), "is disabled"),
    (with_row(enabled="?"), "enabled in an unknown way"),
    (with_row(condition=True), "has a WHEN"),
    (with_row(columns=True), "users: UPDATE not audited"),
    (with_row(after=False), "does not fire AFTER"),
    (with_row(events=("INSERT", "UPDATE")), "users: DELETE not audited: no trigger"),
    (with_row(function="public.other"), "INSERT, UPDATE, DELETE not audited: no trigger calls"),
    (with_row(row=False), "without a transition table"),
    (with_row(row=False, new=True), "users: DELETE not audited"),
    (with_row(row=False, old=True), "users: INSERT not audited"),
    (make_facts(replace(RELATION, kind="f")), "is a foreign table"),
    (make_facts(exists=False), "there is no such audit log"),
    (make_facts(diversions=("lost ON public.audit_logs",)), "by the rule lost ON"),
    (make_facts(watched=(WatchedTable(*USERS, 0, ()),)), "users: there is no such table"),
    (make_facts(functions=()), "calls a function that inserts into public.audit_logs"),
    (
        make_facts(functions=(replace(KNOWN, inserts=False),)),
        "calls a function that inserts into public.audit_logs",
    ),
    (
        make_facts(functions=(replace(KNOWN, sha256="b" * 64, changed=NOW - 9),)),
        "its body was altered",
    ),
    (make_facts(functions=(replace(KNOWN, sha256="", first_sha256=""),)), "its body"),
]


@pytest.mark.parametrize(("facts", "told"), FACTS_WITH_A_GAP)
@pytest.mark.parametrize("readings", [READINGS, ()])
def test_a_gap_fails_whatever_the_counts_say(
    facts: AuditFacts, told: str, readings: tuple[CountsReading, ...], tmp_path: Path
) -> None:
    found = assess(tmp_path, replace(facts, readings=readings))
    assert (found.verdict, (found.measured or 0) >= 1, bool(found.remedy)) == (FAILED, True, True)
    assert told in found.reason


def test_statement_triggers_count_only_where_nothing_passes_them_by(tmp_path: Path) -> None:
    each = replace(ROW, row=False, old=True, new=True)
    parent = Relation("public.users", "p", triggers=(each, TRUNCATED))
    child = Relation("public.users_1", "r", ("public.users",), (each, TRUNCATED))
    assert assess(tmp_path, make_facts(parent, child)).verdict is PASSED
    by_row = replace(parent, triggers=(ROW, TRUNCATED))
    found = assess(tmp_path, make_facts(by_row, child))
    assert "a write by the name of public.users passes it by" in found.reason
    # A parent that is not watched could have none.
    above = replace(parent, parents=("public.all",))
    assert "the name of public.all" in assess(tmp_path, make_facts(above, child)).reason
    subscribed = replace(parent, subscribed=True)
    assert "no subscription fires" in assess(tmp_path, make_facts(subscribed, child)).reason


def test_parents_in_a_circle_end(tmp_path: Path) -> None:
    each = replace(ROW, row=False, old=True, new=True, condition=True, cloned=True)
    top = Relation("public.users", "p", triggers=(ROW, TRUNCATED))
    one = Relation("public.u1", "p", ("public.u2", "public.users"), (each, TRUNCATED))
    other = Relation("public.u2", "p", ("public.u1", "public.users"), (each, TRUNCATED))
    assert assess(tmp_path, make_facts(top, one, other)).verdict is FAILED


def test_a_named_function_and_a_pinned_body(tmp_path: Path) -> None:
    named = ", function: {name: public.audit_row_change%s}"
    pinned = named % f', sha256: "{BODY}"'
    unknown = make_facts(functions=(replace(KNOWN, inserts=False),))
    assert assess(tmp_path, unknown, audit=named % "").verdict is PASSED
    assert "pin it" in str(assess(tmp_path, unknown, audit=named % "").facts["notes"])
    found = assess(tmp_path, unknown, audit=pinned)
    assert (found.verdict, "pin it" in str(found.facts["notes"])) == (PASSED, False)
    # What the exporter saw first is of no weight beside it.
    seen = make_facts(functions=(replace(KNOWN, first_sha256="b" * 64, changed=NOW - 9),))
    assert assess(tmp_path, seen, audit=pinned).verdict is PASSED
    other = make_facts(functions=(replace(KNOWN, sha256="b" * 64),))
    found = assess(tmp_path, other, audit=pinned)
    assert (found.verdict, "not that of audit.function.sha256" in found.reason) == (FAILED, True)
    found = assess(tmp_path, make_facts(), audit=named.replace("public", "log") % "")
    assert (found.verdict, "no trigger calls log.audit_row_change" in found.reason) == (
        FAILED,
        True,
    )


def test_of_what_the_application_writes_only_a_proof_tells(tmp_path: Path) -> None:
    by_application: dict[str, Any] = {"watch": ", writer: application"}
    without = make_facts(replace(RELATION, triggers=()))
    found = assess(tmp_path, without, **by_application)
    assert (found.verdict, found.measured, found.facts["hopeless"]) == (INCONCLUSIVE, None, True)
    assert "criteria.audit_coverage.decoding" in found.remedy
    found = assess(tmp_path, without, **by_application, proofs=decoded(matched=5))
    assert (found.verdict, "5 changes (UPDATE)" in found.facts["notes"][-1]) == (PASSED, True)
    found = assess(tmp_path, without, **by_application, proofs=decoded(missing=2))
    assert (found.verdict, "2 missing" in found.reason) == (FAILED, True)
    assert assess(tmp_path, make_facts(), proofs=decoded(missing=2)).verdict is FAILED
    found = assess(tmp_path, without, **by_application, proofs=decoded())
    assert (found.verdict, "no change was seen" in found.reason) == (INCONCLUSIVE, True)
    assert "decode while the table is written to" in found.remedy
    other = replace(decoded(matched=5), identity="8/1/other")
    found = assess(tmp_path, without, **by_application, proofs=other)
    assert (found.verdict, "it is of 8/1/other" in found.reason) == (INCONCLUSIVE, True)
    gone = make_facts(watched=(WatchedTable(*USERS, 0, ()),))
    assert assess(tmp_path, gone, **by_application).verdict is FAILED


def test_where_the_catalog_alone_may_not_pass_counts_or_a_proof_must_support_it(
    tmp_path: Path,
) -> None:
    strict: dict[str, Any] = {"criteria": "criteria: {audit_coverage: {catalog_alone: false}}"}
    assert assess(tmp_path, make_facts(), **strict).verdict is PASSED
    quiet = make_facts(readings=())
    assert assess(tmp_path, quiet).verdict is PASSED
    found = assess(tmp_path, quiet, **strict)
    assert (found.verdict, "nothing supports them" in found.reason) == (INCONCLUSIVE, True)
    assert assess(tmp_path, quiet, **strict, proofs=decoded(matched=5)).verdict is PASSED
    assert assess(tmp_path, quiet, **strict, proofs=decoded()).verdict is INCONCLUSIVE
    assert assess(tmp_path, quiet, proofs=decoded()).verdict is PASSED


def test_a_proof_that_was_asked_for_and_could_not_be_made_leaves_it_open(tmp_path: Path) -> None:
    doubt = "its role may not replicate"
    window = Decoding(NOW - 5, NOW - 5, doubt=doubt, remedy="ALTER ROLE … REPLICATION")
    found = assess(tmp_path, make_facts(), proofs=AuditProofs(SERVER, decoding=window))
    assert (found.verdict, doubt in found.reason) == (INCONCLUSIVE, True)
    assert found.remedy == "ALTER ROLE … REPLICATION"
    locked = Canary("public.users", NOW - 2, NOW - 1, doubt="the row is locked")
    found = assess(tmp_path, make_facts(), proofs=AuditProofs(SERVER, (locked,)))
    assert (found.verdict, "the row is locked" in found.reason) == (INCONCLUSIVE, True)


def test_a_gap_in_the_catalog_outvotes_every_proof(tmp_path: Path) -> None:
    gone = make_facts(watched=(WatchedTable(*USERS, 0, ()),))
    assert assess(tmp_path, gone, proofs=decoded(matched=5)).verdict is FAILED


def test_a_proof_that_could_not_be_tried_is_an_error_and_hides_no_failure(tmp_path: Path) -> None:
    problems = (Problem("audit_proofs", Trouble.UNREACHABLE, "no connection"),)
    found = assess(tmp_path, make_facts(), problems=problems)
    assert (found.verdict, found.reason) == (Verdict.ERROR, "no connection")
    gone = make_facts(watched=(WatchedTable(*USERS, 0, ()),))
    assert assess(tmp_path, gone, problems=problems).verdict is FAILED


def test_what_a_canary_rolled_back_is_taken_off_the_counts() -> None:
    canary = Canary("public.users", 8.0, 9.0, "name", updated=1, log_rows=1, rollbacks=1)
    proofs = AuditProofs(SERVER, (canary,))
    readings = read(START, (20.0, 16, 16, 2), (35.0, 16, 16, 2))
    found = compare_counts(readings, 0.0, proofs)
    assert (found.support, found.what) == (
        True,
        "5 changes and 5 rows of the log in 20s, none rolled back",
    )
    assert not compare_counts(readings, 0.0).support
    another = read(START, (20.0, 16, 16, 3), (35.0, 16, 16, 3))
    found = compare_counts(another, 0.0, proofs)
    assert (found.support, "rolled back: 1;" in found.what) == (False, True)


def read(*rows: tuple[float, int, int, int]) -> tuple[CountsReading, ...]:
    return tuple(CountsReading(*row) for row in rows)


START = (0.0, 10, 10, 1)
LATER = (20.0, 15, 15, 1)
COUNTS = [
    (read(START, LATER, (35.0, 15, 15, 1)), True, "5 changes and 5 rows of the log in 20s"),
    (read(START, LATER, (34.9, 15, 15, 1)), False, "no window ended 15 s ago"),
    (read(), False, "too few readings"),
    (read(LATER), False, "too few readings"),
    (read(START, (20.0, 10, 15, 1), (35.0, 15, 15, 1)), False, "no change in 20s"),
    (read(START, (20.0, 15, 14, 1), (35.0, 15, 15, 1)), False, "may not be reported yet"),
    # Rolled back in it, and told only after its end.
    (read(START, LATER, (35.0, 15, 15, 2)), False, "transactions rolled back: 1; 5 changes"),
    (read(START, LATER, (35.0, 14, 15, 1)), False, "the counters fell"),
    (read(START, LATER, (35.0, 15, 14, 1)), False, "the counters fell"),
    (read(START, LATER, (35.0, 15, 15, 0)), False, "the counters fell"),
    (read(LATER, START, (35.0, 15, 15, 1)), False, "the counters fell, or time did"),
    (read((-9.0, 0, 0, 0), START, LATER, (35.0, 15, 15, 1)), True, "5 changes"),
]


@pytest.mark.parametrize(("readings", "support", "told"), COUNTS)
def test_counts_support_only_over_a_closed_window_without_a_roll_back(
    readings: tuple[CountsReading, ...], *, support: bool, told: str
) -> None:
    found = compare_counts(readings, 0.0)
    assert (found.support, told in found.what) == (support, True), found


def test_evidence_without_these_facts_stays_as_it_was() -> None:
    plain = make_evidence()
    encoded = msgspec.json.encode(plain)
    assert b'"audit"' not in encoded
    assert msgspec.json.decode(encoded, type=Evidence) == plain
    whole = make_evidence(audit=make_facts())
    assert msgspec.json.decode(msgspec.json.encode(whole), type=Evidence) == whole
