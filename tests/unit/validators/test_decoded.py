"""Lines of test_decoding, parsed and folded: what counts to which table and transaction."""

from __future__ import annotations

import pytest

from phasegate.contract.audit_proofs import Decoding
from phasegate.contract.names import TableName
from phasegate.validators.decoded import LOG, Change, Tally, UnreadLine, parse_change

ROOTS = {
    TableName("public", "users"): "public.users",
    TableName("public", "roles"): "public.roles",
    TableName("public", "logs_1"): LOG,
}
ROW = "table public.logs_1: INSERT: id[integer]:1"
USER = "table public.users: UPDATE: id[integer]:1"
ROLE = "table public.roles: UPDATE: id[integer]:1"
MARK = "message: transactional: 1 prefix: phasegate.backfill, sz: 2 content:on"


@pytest.mark.parametrize(
    ("line", "kind", "tables"),
    [
        (USER, "UPDATE", [("public", "users")]),
        ("table public.users: DELETE: (no-tuple-data)", "DELETE", [("public", "users")]),
        ('table "a.b"."c: INSERT:": DELETE: x', "DELETE", [("a.b", "c: INSERT:")]),
        ('table """"."a\nb": INSERT: x', "INSERT", [('"', "a\nb")]),
        ("table public.a, x.b: TRUNCATE: restart_seqs", "TRUNCATE", [("public", "a"), ("x", "b")]),
        ("table public.a: INSERT: v[text]:': TRUNCATE: '", "INSERT", [("public", "a")]),
    ],
)
def test_a_line_is_parsed(line: str, kind: str, tables: list[tuple[str, str]]) -> None:
    assert parse_change(line) == Change(kind, tuple(TableName(*name) for name in tables))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "table",
        "table public.users",
        "table public.users: MERGE: x",
        "table public.a, public.b: INSERT: x",
        'table public."a: INSERT: x',
        "opening a streamed block for transaction",
    ],
)
def test_a_line_that_is_not_understood_is_refused(line: str) -> None:
    with pytest.raises(UnreadLine) as caught:
        parse_change(line)
    assert "users" not in str(caught.value)


def fold(
    *transactions: list[str], by_application: bool = False, closed_after: int | None = None
) -> Decoding:
    tables = {"public.users", "public.roles"}
    tally = Tally(ROOTS, set() if by_application else tables, tables if by_application else set())
    for xid, lines in enumerate(transactions, 100):
        for line in ["BEGIN", *lines, "COMMIT"]:
            tally.feed(xid, line)
        if xid - 99 == closed_after:
            tally.close_window()
    if closed_after is None:
        tally.close_window()
    return tally.result(0.0, 30.0)


def test_a_transaction_that_is_not_finished_counts_nothing() -> None:
    tally = Tally(ROOTS, {"public.users"}, set())
    for line in ("BEGIN", USER):
        tally.feed(1, line)
    assert tally.result(0.0, 1.0).tables[0].changes == {}
    with pytest.raises(UnreadLine):
        Tally(ROOTS, set(), set()).feed(1, USER)


@pytest.mark.parametrize(
    ("lines", "missing", "matched", "blurred"),
    [
        ([USER, ROW], 0, 1, 0),
        ([ROW, USER], 0, 1, 0),
        ([USER], 1, 0, 0),
        ([USER, USER, ROW], 1, 0, 0),
        ([USER, ROW, ROW], 0, 0, 1),
        # Who removes from the log in the same transaction leaves nothing to be counted.
        ([USER, "table public.logs_1: DELETE: (no-tuple-data)"], 0, 0, 1),
        ([USER, ROW, "table public.logs_1: TRUNCATE: (no-flags)"], 0, 0, 1),
        (["table public.other: UPDATE: x", ROW], 0, 0, 0),
    ],
)
def test_a_trigger_s_rows_are_in_the_same_transaction(
    lines: list[str], missing: int, matched: int, blurred: int
) -> None:
    found = fold(lines)
    users = found.tables[1]
    assert found.missing == missing
    assert [sum(c.values()) for c in (users.matched, users.blurred)] == [matched, blurred]
    # A row of another transaction makes up for nothing.
    assert fold(lines, [ROW]).missing == missing


def test_every_group_of_tables_keeps_a_gap_of_its_own() -> None:
    found = fold(*[[USER]] * 500, [ROLE], [USER, ROLE, ROW])
    assert (found.missing, len(found.gaps)) == (502, 102)
    assert found.gaps[0].xid == 100
    assert [gap.tables for gap in found.gaps[100:]] == [
        ("public.roles",),
        ("public.roles", "public.users"),
    ]


@pytest.mark.parametrize(
    ("transactions", "missing", "matched", "blurred", "doubt"),
    [
        (([USER, ROW],), 0, 1, 0, False),
        (([USER], [ROW]), 0, 1, 0, False),
        (([ROW], [USER]), 1, 0, 1, False),
        (([USER], [ROW], [ROW]), 0, 0, 1, False),
        (([USER],), 1, 1, 0, False),
        (([ROW, ROW, USER],), 0, 0, 1, False),
    ],
)
def test_the_application_s_rows_come_with_the_change_or_later(
    transactions: tuple[list[str], ...], missing: int, matched: int, blurred: int, doubt: bool
) -> None:
    found = fold(*transactions, by_application=True)
    users = found.tables[1]
    assert (found.missing, bool(found.doubt)) == (missing, doubt)
    assert [sum(c.values()) for c in (users.matched, users.blurred)] == [matched, blurred]


def test_what_changes_after_the_window_can_neither_fail_it_nor_hide_its_gap() -> None:
    late = fold([USER], [ROW], [USER], by_application=True, closed_after=1)
    assert (late.missing, "did not catch up" in late.doubt) == (0, True)
    caught_up = fold([USER], [USER], [ROW], [ROW], by_application=True, closed_after=1)
    assert (caught_up.missing, caught_up.doubt) == (0, "")
    gap = fold([USER], [USER, ROW], [USER, ROW], by_application=True, closed_after=1)
    assert gap.missing == 1


def test_a_trigger_s_changes_after_the_window_are_of_no_window() -> None:
    found = fold([USER, ROW], [USER, ROW], [USER], closed_after=1)
    users = found.tables[1]
    assert (found.transactions, found.log_rows, found.missing) == (1, 1, 0)
    assert (users.changes, users.matched) == ({"UPDATE": 1}, {"UPDATE": 1})


def test_a_marked_backfill_is_counted_apart() -> None:
    found = fold([MARK, USER, USER], [USER, MARK], [USER, ROW])
    users = found.tables[1]
    assert (found.missing, users.marked, users.changes) == (0, {"UPDATE": 3}, {"UPDATE": 1})
    other = MARK.replace("transactional: 1", "transactional: 0")
    assert fold([other, USER]).missing == 1
    assert fold([MARK.replace("content:on", "content:of"), USER]).missing == 1
