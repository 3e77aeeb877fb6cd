"""The shape of a plan: what makes it another, and when it reads a whole table."""

from __future__ import annotations

from typing import Any

from phasegate.exporter.plan_shapes import read_plan

USERS = {("public", "users"), ("parts", "users_1"), ("parts", "users_2")}


def node(kind: str, *below: dict[str, Any], **facts: Any) -> dict[str, Any]:
    named = {key.replace("_", " ").title(): value for key, value in facts.items()}
    return {"Node Type": kind, "Parallel Aware": False, **named, "Plans": list(below)}


def scan(kind: str, relation: str, schema: str = "public", **facts: Any) -> dict[str, Any]:
    return node(kind, schema=schema, relation_name=relation, **facts)


def test_kinds_and_indexes_make_the_shape_and_costs_do_not() -> None:
    cheap = scan("Index Scan", "users", index_name="users_uuid", total_cost=8)
    dear = scan("Index Scan", "users", index_name="users_uuid", total_cost=900)
    other = scan("Index Scan", "users", index_name="users_pkey", total_cost=8)
    assert read_plan(cheap, USERS) == read_plan(dear, USERS)
    assert read_plan(cheap, USERS).text == "Index Scan using users_uuid on users"
    assert read_plan(cheap, USERS) != read_plan(other, USERS)


def test_a_whole_read_counts_on_the_looked_up_table_only() -> None:
    join = node("Nested Loop", scan("Seq Scan", "roles"), scan("Index Scan", "users"))
    assert read_plan(join, USERS).text == "Nested Loop (Seq Scan on roles, Index Scan on users)"
    assert read_plan(join, USERS).whole_reads == ()
    same_name = scan("Seq Scan", "users", schema="elsewhere")
    assert read_plan(same_name, USERS).whole_reads == ()
    below = node("Gather", scan("Seq Scan", "users", parallel_aware=True))
    assert read_plan(below, USERS).whole_reads == ("Parallel Seq Scan on public.users",)


def test_partitions_that_come_and_go_leave_the_shape_alone() -> None:
    one = node("Append", scan("Index Scan", "users_1", schema="parts", index_name="a"))
    two = node(
        "Append",
        scan("Index Scan", "users_1", schema="parts", index_name="a"),
        scan("Index Scan", "users_2", schema="parts", index_name="b"),
    )
    assert read_plan(one, USERS).text == read_plan(two, USERS).text == "Append (Index Scan)"
    lost = node("Append", two["Plans"][0], scan("Seq Scan", "users_2", schema="parts"))
    found = read_plan(lost, USERS)
    assert found.text == "Append (Index Scan, Seq Scan)"
    assert found.whole_reads == ("Seq Scan on parts.users_2",)
