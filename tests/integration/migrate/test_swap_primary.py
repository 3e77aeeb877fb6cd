"""The UUID as the primary key, and back: with traffic, foreign keys and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.names import TableName
from phasegate.migrate.operations.swap_primary import (
    SwapPrimary,
    find_integer_key,
)
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

T = TableName("public", "t")
SWAP = SwapPrimary(T, "id", "uuid", unread=True)
TABLES = (
    "CREATE TABLE t (id serial PRIMARY KEY, name text, uuid uuid DEFAULT gen_random_uuid());"
    "INSERT INTO t (name) SELECT 'x' FROM generate_series(1, 500);"
    "CREATE UNIQUE INDEX t_uuid_key ON t (uuid);"
    "CREATE TABLE c (id serial, t_id integer REFERENCES t ON DELETE CASCADE DEFERRABLE,"
    " t_uuid uuid REFERENCES t (uuid) ON UPDATE CASCADE ON DELETE CASCADE);"
    'ALTER TABLE t ADD COLUMN up integer CONSTRAINT "Üp" REFERENCES t;'
    "INSERT INTO c (t_id, t_uuid) SELECT id, uuid FROM t"
)
KEYS = (
    "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
    " WHERE contype IN ('p', 'f') ORDER BY conrelid::regclass::text, conname"
)
SHAPE = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(TABLES)
    with open_migrating(any_database, tmp_path, ("public.t",)) as found:
        yield found


def test_the_uuid_becomes_the_key_and_the_integer_again(migrating: Migrating) -> None:
    database = migrating.database
    before = database.execute(KEYS), database.execute(SHAPE)
    assert SWAP.find_refusals(migrating.catalog()) == ()
    assert find_integer_key(migrating.catalog(), T, "uuid") == "id"
    assert migrating.apply(SWAP) > 3
    swapped = database.execute(KEYS)
    assert [one for one in swapped if one not in before[0]] == [
        ("t_pkey", "PRIMARY KEY (uuid)", True)
    ]
    assert migrating.apply(SWAP) == 0
    assert SWAP.find_refusals(migrating.catalog()) == ()
    assert find_integer_key(migrating.catalog(), T, "uuid") == "id"
    # What the application before the swap sends goes on.
    database.execute(
        "INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'y';"
        "INSERT INTO c (t_id) VALUES (1); DELETE FROM t WHERE id = 2"
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        database.execute("INSERT INTO t (id) VALUES (1)")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        database.execute("INSERT INTO c (t_id) VALUES (4000)")
    assert migrating.undo(SWAP) > 1
    assert (database.execute(KEYS), database.execute(SHAPE)) == before
    assert migrating.undo(SWAP) == 0
    assert migrating.apply(SWAP) > 3
    assert database.execute(KEYS) == swapped


@pytest.mark.parametrize("way", ["plan_remaining", "plan_undo"])
def test_killed_after_any_action_it_goes_on(migrating: Migrating, way: str) -> None:
    if way == "plan_undo":
        migrating.apply(SWAP)
    plan = getattr(SWAP, way)
    left = len(plan(migrating.catalog()))
    assert left > 1
    for remaining in range(left, 0, -1):
        actions = plan(migrating.catalog())
        assert len(actions) == remaining
        if actions[0].transactional:
            # Killed within the transaction first: nothing of it is there.
            migrating.connection.execute("BEGIN")
            for statement in actions[0].statements:
                migrating.connection.execute(statement.encode())
            migrating.connection.execute("ROLLBACK")
            assert len(plan(migrating.catalog())) == remaining
            migrating.connection.execute("BEGIN")
        for statement in actions[0].statements:
            migrating.connection.execute(statement.encode())
        migrating.connection.execute("COMMIT" if actions[0].transactional else "SELECT 1")
    assert plan(migrating.catalog()) == ()


def test_before_the_swap_the_way_back_drops_the_spare_index(migrating: Migrating) -> None:
    before = migrating.database.execute(SHAPE)
    migrating.connection.execute(SWAP.plan_remaining(migrating.catalog())[0].statements[0].encode())
    assert migrating.database.execute(SHAPE) != before
    assert migrating.undo(SWAP) == 1
    assert migrating.database.execute(SHAPE) == before


REFUSED = {
    "a view": (
        "CREATE VIEW v AS SELECT id, name FROM t GROUP BY id",
        "it groups by the integer alone",
    ),
    "a function": (
        "CREATE FUNCTION f() RETURNS SETOF text BEGIN ATOMIC SELECT name FROM t GROUP BY id; END",
        "it groups by the integer alone",
    ),
    "a column list": ("CREATE PUBLICATION p FOR TABLE t (id, name)", "its column list lacks uuid"),
    "replica identity": ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey", "replica identity"),
    "not proved": (
        "ALTER TABLE c DROP CONSTRAINT c_t_id_fkey;"
        "ALTER TABLE c ADD FOREIGN KEY (t_id) REFERENCES t NOT VALID",
        "is not proved",
    ),
    "a constraint": (
        "ALTER TABLE c DROP CONSTRAINT c_t_uuid_fkey;"
        "ALTER TABLE t ADD UNIQUE USING INDEX t_uuid_key",
        "belongs to a UNIQUE constraint",
    ),
    "a name": (
        "CREATE INDEX t_id_key ON t (name)",
        "an index of that name is there and is another one",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_stands_in_the_way_is_refused_with_its_remedy(
    database: Database, tmp_path: Path, case: str
) -> None:
    made, said = REFUSED[case]
    database.execute(TABLES + ";" + made)
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        [refusal] = SWAP.find_refusals(migrating.catalog())
    assert said in refusal.found
    assert refusal.remedy


def test_without_evidence_it_is_refused(migrating: Migrating) -> None:
    [refusal] = replace(SWAP, unread=False).find_refusals(migrating.catalog())
    assert "no evidence" in refusal.found
