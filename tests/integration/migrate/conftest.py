"""Which of these tests run each time, and which only with `make faults`.

Every operation is tested on PostgreSQL 18 and 15, after every kind of interruption and in databases
that make it hard; all of it takes longer than anybody waits for. Each time run: what proves an item
of the guide, one whole life of each operation, and both servers where the two differ most.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.guide import read_rows

ALWAYS_ON_BOTH = {"test_restore"}
SECOND = "postgres15"
SELDOM = {
    "test_audit_move": {"test_writers_lose_nothing_while_it_is_swapped"},
    "test_hostile_columns": {
        "test_names_that_break_quoting",
        "test_duplicates_are_named_and_no_broken_index_is_left_to_be_paid_for",
    },
    "test_partitions": {"test_two_do_not_collide"},
    "test_plan": {
        "test_what_our_operations_tell_of_their_locks_is_what_the_server_takes",
        "test_the_demo_s_plan_passes_the_linter_and_psql_can_run_it",
    },
    "test_references": {"test_started_twice_undone_and_begun_again"},
    "test_references_under_load": set[str](),
    "test_rehearse": set[str](),
    "test_reorder_columns": {
        "test_all_that_a_table_has_is_there_afterwards_in_another_order",
        "test_writers_lose_nothing_and_wait_for_nobody",
    },
    "test_swap_primary": {
        "test_the_uuid_becomes_the_key_and_the_integer_again",
        "test_without_evidence_it_is_refused",
    },
}
"""By file, the tests that run each time all the same."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest chooses by marks."""
    here = Path(__file__).parent
    proofs = {row.test.rpartition("::")[2] for row in read_rows()}
    for item in items:
        if item.path.parent != here:
            continue
        name = item.name.partition("[")[0]
        on_second = SECOND in item.name and item.path.stem not in ALWAYS_ON_BOTH
        seldom = item.path.stem in SELDOM and name not in SELDOM[item.path.stem] | proofs
        if on_second or seldom:
            item.add_marker(pytest.mark.long)
