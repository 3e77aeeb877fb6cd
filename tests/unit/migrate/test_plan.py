"""The plan itself: what it refuses, how it measures sizes, how each format tells it. No server."""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Sequence

import pytest

from phasegate.contract.errors import PlanRefused
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Dependent
from phasegate.migrate.clone import choose_tables
from phasegate.migrate.model import Action, Lock, LockMode, Patience
from phasegate.migrate.phases import make_steps
from phasegate.migrate.plan import (
    MeasuredLocks,
    Plan,
    PlannedAction,
    Shown,
    make_plan,
    refuse,
    with_measurements,
    with_shown,
)
from phasegate.migrate.plan_size import Size, estimate_size
from phasegate.migrate.rendering import format_names, json, render, sql, text
from tests.fixtures.planned import USERS, make_catalog, make_relation, users_settings, uuid_steps

STEPS = uuid_steps()
PLAN = make_plan(STEPS, make_catalog(make_relation(USERS)))
SHARED = (Lock(LockMode.SHARE, "public.users"),)
SHOWN = MeasuredLocks(SHARED, ("public.users",), (), ("users_uuid_key",), "an empty clone")


def shown_plan(each: Sequence[MeasuredLocks | str], undo: tuple[PlannedAction, ...] = ()) -> Plan:
    """The plan with that of each of its actions; `undo` is the way back of each operation."""
    found = iter(each)
    operations = [one for step in PLAN.steps for one in step.operations]
    shown = [
        Shown(tuple(with_shown(action, next(found)) for action in one.actions), undo)
        for one in operations
    ]
    return with_measurements(PLAN, shown, ("extension x",))


def test_a_plan_of_a_plain_table_is_not_refused() -> None:
    assert PLAN.refusals == ()
    refuse(PLAN)
    assert [len(step.actions) for step in PLAN.steps] == [1, 1, 2]


def test_every_refusal_comes_at_once_and_each_only_once() -> None:
    relation = make_relation(USERS, owner="somebody", persistence="t")
    catalog = make_catalog(relation, version=120_000, standby=True)
    plan = make_plan((*STEPS, *STEPS), catalog)
    with pytest.raises(PlanRefused) as refused:
        refuse(plan)
    told = list(refused.value.refusals)
    assert len(told) == len(set(told)) == 4
    assert told[0].startswith("server of mono: it is PostgreSQL 12")
    assert "standby" in told[1]
    assert sum("GRANT somebody TO migrator" in one for one in told) == 1
    assert sum("temporary" in one for one in told) == 1


def test_an_operation_that_says_nothing_of_the_owner_is_refused_all_the_same() -> None:
    catalog = make_catalog(make_relation(USERS, owner="somebody"))
    plan = make_plan(STEPS[1:], catalog)
    [refusal] = plan.refusals
    assert refusal.object == "public.users"
    assert refusal.remedy.startswith("GRANT somebody TO migrator")
    superuser = make_catalog(*catalog.relations.values(), superuser=True)
    assert make_plan(STEPS[1:], superuser).refusals == ()


def test_the_digest_follows_what_would_be_sent() -> None:
    catalog = make_catalog(make_relation(USERS))
    assert make_plan(STEPS, catalog).digest == PLAN.digest
    assert make_plan(STEPS[:2], catalog).digest != PLAN.digest
    assert (
        make_plan(STEPS, make_catalog(make_relation(USERS), version=150_001)).digest != PLAN.digest
    )
    assert make_plan(uuid_steps(TableName("public", "x")), catalog).digest != PLAN.digest


def test_sizes_come_from_the_catalog() -> None:
    catalog = make_catalog(make_relation(USERS))
    name = "public.users"
    index = Action("i", ("CREATE INDEX i ON public.users (x)",), scans=(name,), rows=1_000)
    assert estimate_size(index, USERS, catalog) == Size(1_000, 32_000, 32_000, 32_000)
    rewrite = Action("r", ("ALTER …",), rewrites=(name,))
    assert estimate_size(rewrite, USERS, catalog) == Size(0, 0, 163_840, 163_840)
    unknown = make_catalog(make_relation(USERS, rows=-1))
    assert not estimate_size(index, USERS, unknown).known
    assert estimate_size(Action("m", ("ALTER …",)), USERS, catalog) == Size(0)


def test_a_backfill_writes_and_a_proof_only_reads() -> None:
    catalog = make_catalog(make_relation(USERS))
    steps = make_steps(users_settings(), catalog)
    sizes = {
        step.step.name: planned.size
        for step in make_plan(steps, catalog).steps
        for planned in step.actions
        if planned.action.work is not None
    }
    assert sizes["populate-uuids"] == Size(1_000, 24_576, 0, 163_840)
    assert sizes["prove-uuids"].wal_bytes == 0


def test_space_is_what_stays_and_the_most_that_is_needed_meanwhile() -> None:
    assert PLAN.free_bytes == 32_000 + 32_000


def test_most_partitions_are_not_copied() -> None:
    parent = TableName("public", "log")
    names = [TableName("public", f"log_{number}") for number in range(10)]
    catalog = make_catalog(
        make_relation(parent, kind="p", children=tuple(names)),
        *(make_relation(name, bound="FOR VALUES …", parents=(parent,)) for name in names),
    )
    chosen = list(choose_tables(catalog, ["ALTER TABLE public.log_7 ADD x int"]))
    assert chosen == [parent, *names[:3], names[7]]


def test_the_text_tells_locks_sizes_time_outs_and_the_way_back() -> None:
    drop = Action("drop it", ("DROP INDEX CONCURRENTLY public.users_uuid_key",))
    undo = (PlannedAction(drop, Size(0), SHOWN),)
    plan = shown_plan(["no server", SHOWN, SHOWN, SHOWN], undo)
    shown = text.render(plan, {"02-add-indexes": 12.34})
    lines = [line.strip() for line in shown.splitlines()]
    assert "ALTER TABLE public.users ADD COLUMN uuid uuid;" in lines
    assert "locks     ACCESS EXCLUSIVE on public.users (by table: no server)" in lines
    assert "locks     SHARE on public.users (measured)" in lines
    assert "SHARE UPDATE EXCLUSIVE on public.users (by table)" in lines
    assert "rewrites  public.users" in lines
    assert "reads     public.users whole, about 1,000 rows" in lines
    assert "seconds   12.3 in the rehearsal" in lines
    assert "seconds   unknown: no rehearsal" in lines
    assert "undo: drop it; loses nothing" in lines
    assert "the clone lacks, so that locks on it are not seen: extension x" in lines
    assert "contract: not part of this release" in lines
    assert any(line.startswith("waits     metadata: at most 500ms for a lock") for line in lines)
    assert any("phasegate_key_index_scans_total" in line for line in lines)


def test_without_a_rehearsal_no_format_names_seconds() -> None:
    assert "seconds   unknown: no rehearsal" in text.render(PLAN)
    assert "no clone: what only shows once an earlier step is done is missing" in text.render(PLAN)
    assert " in the rehearsal" not in text.render(PLAN)
    assert all(
        one["rehearsed_seconds"] is None for one in json_module.loads(json.render(PLAN))["steps"]
    )


def test_the_text_says_refusals_and_dependents() -> None:
    view = Dependent("view", "public.names", "SELECT name\n   FROM users")
    relation = make_relation(USERS, owner="somebody", dependents=(view,))
    shown = text.render(make_plan(STEPS, make_catalog(relation)))
    assert "refused: nothing can begin before this is put right" in shown
    assert "    view public.names: SELECT name FROM users\n" in shown


def test_a_name_with_a_line_break_ends_no_comment() -> None:
    name = TableName("public", "a\nDROP TABLE users; --")
    plan = make_plan(uuid_steps(name), make_catalog(make_relation(name)))
    script = sql.render(plan)
    for statement in (one for planned in plan.actions for one in planned.action.statements):
        assert f"\n{statement};\n" in script
        script = script.replace(f"\n{statement};\n", "\n")
    assert "DROP TABLE users" in script
    assert not any(line.startswith("DROP") for line in script.splitlines())


def test_the_script_gives_each_action_its_time_outs_and_its_reasons() -> None:
    script = sql.render(PLAN)
    assert "\\set ON_ERROR_STOP on\n" in script
    build = script.index("CREATE UNIQUE INDEX CONCURRENTLY")
    before = script[:build].splitlines()
    assert before[-1] == "-- squawk-ignore prefer-robust-stmts"
    assert before[-2].startswith("-- prefer-robust-stmts: ")
    assert before[-4:-2] == ["SET lock_timeout = '600000ms';", "SET statement_timeout = '0ms';"]
    assert script.count("BEGIN;") == script.count("COMMIT;") == 3


def test_the_document_keeps_its_keys() -> None:
    told = json_module.loads(json.render(shown_plan(["why", SHOWN, SHOWN, SHOWN])))
    assert told["format"] == json.FORMAT == 1
    assert list(told) == [
        "format", "phasegate_version", "database", "server_version_num", "role", "digest",
        "free_bytes_needed", "refusals", "clone_lacks", "tables", "event_triggers", "steps",
        "dependents", "contract",
    ]  # fmt: skip
    step = told["steps"][0]
    assert list(step) == [
        "phase", "step", "title", "checksum", "rehearsed_seconds", "operations",
    ]  # fmt: skip
    operation = step["operations"][0]
    assert list(operation) == ["kind", "object", "actions", "undo", "undo_loses"]
    first = operation["actions"][0]
    assert list(first) == [
        "what", "statements", "transactional", "patience", "is_work", "lock_timeout_ms",
        "statement_timeout_ms", "locks", "locks_measured_on", "locks_not_measured_because",
        "locks_by_table", "scans", "rewrites", "builds", "rows", "disk_bytes", "meanwhile_bytes",
        "wal_bytes", "sizes_known",
    ]  # fmt: skip
    assert (first["locks_measured_on"], first["locks_not_measured_because"]) == (None, "why")
    second = told["steps"][1]["operations"][0]["actions"][0]
    assert second["locks"] == [{"mode": "SHARE", "relation": "public.users"}]
    assert second["patience"] == str(Patience.CONCURRENT)


def test_measurements_go_to_their_actions_in_order() -> None:
    shown = [dataclasses.replace(SHOWN, server=str(number)) for number in range(4)]
    plan = shown_plan(shown)
    assert [one.measured.server for one in plan.actions if one.measured] == ["0", "1", "2", "3"]
    assert plan.measured_on == "0"


def test_a_format_is_found_by_its_file() -> None:
    assert format_names() == ["json", "sql", "text"]
    assert render("sql", PLAN) == sql.render(PLAN)
