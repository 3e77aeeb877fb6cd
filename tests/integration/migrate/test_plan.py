"""The plan's facts on real servers: locks as a clone shows them, and nothing changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest

from phasegate.contract.names import TableName
from phasegate.migrate import clone
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.lock_trace import measure_plan
from phasegate.migrate.model import Action, Lock, LockMode, Refusal, Step
from phasegate.migrate.plan import Plan, PlannedAction, PlannedStep, make_plan
from phasegate.migrate.rendering import sql
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, connect_parameters, open_migrating
from tests.fixtures.planned import TABLES, USERS, demo_steps, make_legacy, uuid_steps


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    make_legacy(any_database)
    with open_migrating(any_database, tmp_path, TABLES) as found:
        yield found


@pytest.fixture
def on_18(database: Database, tmp_path: Path) -> Iterator[Migrating]:
    make_legacy(database)
    with open_migrating(database, tmp_path, TABLES) as found:
        yield found


def measure(migrating: Migrating, steps: tuple[Step, ...]) -> Plan:
    catalog = migrating.catalog()
    conninfo = connect_parameters(migrating.database)
    return measure_plan(make_plan(steps, catalog), catalog, migrating.connection, conninfo)


def modes(planned: PlannedAction) -> dict[str, LockMode]:
    assert planned.measured is not None, planned.note
    return {lock.relation: lock.mode for lock in planned.measured.locks}


def understates(planned: PlannedAction) -> bool:
    """Whether a lock that stops writers is measured and not told, or told as a weaker one."""
    strength = list(LockMode)
    told = {lock.relation: strength.index(lock.mode) for lock in planned.action.locks}
    return any(
        strength.index(lock.mode) > told.get(lock.relation, strength.index(LockMode.ROW_EXCLUSIVE))
        for lock in (planned.measured.locks if planned.measured else ())
    )


def check_audit(step: PlannedStep) -> None:
    """What a clone alone can know of the audit log's move."""
    partition, ready, triggers = step.operations
    swap = partition.actions[-1]
    assert modes(swap) == {"public.audit_logs": LockMode.ACCESS_EXCLUSIVE}
    assert swap.measured is not None
    # Neither read nor indexed under the strong lock, and new tables are not told.
    assert (swap.measured.scans, swap.measured.builds, swap.measured.rewrites) == ((), (), ())
    # Before the table is partitioned nothing is left of it.
    # The first partition ends at least a week ahead: near the end of a month, with the next one.
    assert len(ready.actions) in (2, 3)
    for one in ready.actions:
        assert one.action.what.split()[:3] == ["make", "the", "partition"]
    assert modes(ready.actions[0]) == {"public.audit_logs": LockMode.SHARE_UPDATE_EXCLUSIVE}
    assert ready.actions[0].scans == ()
    assert modes(triggers.actions[-1]) == {"public.users": LockMode.SHARE_ROW_EXCLUSIVE}


@dataclass(frozen=True)
class Send:
    """Statements as they are, for what no operation of ours would send."""

    kind: ClassVar[str] = "send"
    loss: ClassVar[str] = ""
    statements: tuple[str, ...]
    transactional: bool = True
    table: TableName = USERS

    @property
    def object(self) -> str:
        return str(self.table)

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        return ()

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        return tuple(
            Action(
                one, (one,), transactional=self.transactional,
                locks=(Lock(LockMode.ACCESS_EXCLUSIVE, "public.users"),),
            )
            for one in self.statements
        )  # fmt: skip

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        return ()


def run(program: str | Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A program of this environment, or at that path."""
    place = Path(sys.executable).parent / program
    return subprocess.run([place, *arguments], check=False, capture_output=True, text=True)


def send(*statements: str, transactional: bool = True) -> tuple[Step, ...]:
    return (Step("step", "schema", "Send", (Send(statements, transactional),)),)


def test_what_our_operations_tell_of_their_locks_is_what_the_server_takes(
    migrating: Migrating,
) -> None:
    before = migrating.catalog().relations
    plan = measure(migrating, uuid_steps())
    told = [{lock.relation: lock.mode for lock in one.action.locks} for one in plan.actions]
    assert [modes(one) for one in plan.actions] == told
    assert all(
        "PostgreSQL" in (one.measured.server if one.measured else "") for one in plan.actions
    )
    assert not any(one.rewrites for one in plan.actions)
    # The way back is of the state in which all is done, and the clone has gone it.
    undo = [one for step in plan.steps for found in step.operations for one in found.undo or ()]
    assert [one.action.statements[-1].split()[:2] for one in undo] == [
        ["ALTER", "TABLE"],
        ["DROP", "INDEX"],
        ["ALTER", "TABLE"],
    ]
    assert [modes(one)["public.users"] for one in undo] == [
        LockMode.ACCESS_EXCLUSIVE,
        LockMode.SHARE_UPDATE_EXCLUSIVE,
        LockMode.ACCESS_EXCLUSIVE,
    ]
    assert migrating.catalog().relations == before


def test_the_demo_s_plan_passes_the_linter_and_psql_can_run_it(
    database: Database, tmp_path: Path
) -> None:
    # Without rows there is no work to be done between the statements.
    make_legacy(database, rows=0)
    script = tmp_path / "plan.sql"
    with open_migrating(database, tmp_path, TABLES) as migrating:
        # Measured, for months can be premade only of a table that is partitioned.
        plan = measure(migrating, demo_steps(migrating.catalog()))
        assert [one.note for one in plan.actions if one.action.statements and one.note] == []
        assert [one.action.what for one in plan.actions if understates(one)] == []
        check_audit(next(one for one in plan.steps if one.step.name == "03-add-audit-tables"))
        script.write_text(sql.render(plan))
        linted = run("squawk", "--reporter=gcc", "--pg-version=18", script)
        assert (linted.returncode, linted.stdout) == (0, "")
        done = run(database.server.binaries / "psql", "-Xqf", script, database.conninfo())
        assert (done.returncode, done.stderr) == (0, "")
        after = make_plan(demo_steps(migrating.catalog()), migrating.catalog())
    assert [one for one in after.actions if one.action.statements] == []


def test_the_linter_finds_what_is_not_suppressed_with_a_reason(
    database: Database, tmp_path: Path
) -> None:
    with open_migrating(database, tmp_path, TABLES) as migrating:
        plan = make_plan(send("ALTER TABLE public.users RENAME TO people"), migrating.catalog())
    script = tmp_path / "plan.sql"
    script.write_text(sql.render(plan))
    linted = run("squawk", "--reporter=gcc", script)
    assert linted.returncode == 1
    assert "renaming-table" in linted.stdout


def test_functions_and_views_that_name_a_table_are_told(on_18: Migrating) -> None:
    on_18.database.execute(
        "CREATE FUNCTION by_name() RETURNS bigint LANGUAGE plpgsql AS"
        " 'BEGIN RETURN (SELECT count(*) FROM users); END';"
        "CREATE FUNCTION parsed(n integer) RETURNS text LANGUAGE sql"
        " RETURN (SELECT email FROM users WHERE id = n);"
        "CREATE FUNCTION other() RETURNS text LANGUAGE sql AS 'SELECT ''superusers''::text';"
        "CREATE VIEW names AS SELECT name FROM users"
    )
    plan = make_plan(uuid_steps(), on_18.catalog())
    told = {(one.dependent.kind, one.dependent.name) for one in plan.dependents}
    assert told == {
        ("function", "public.by_name()"),
        ("function", "public.parsed(n integer)"),
        ("bound function", "public.parsed(integer)"),
        ("view", "public.names"),
        ("foreign key", "public.user_roles, user_roles_user_id_fkey"),
    }


def test_a_foreign_key_a_rewrite_and_a_scan_are_seen(on_18: Migrating) -> None:
    # What is not touched is not dumped: here somebody holds it, whatever it is called.
    odd = '"Un.re|l(at)*ed ""$1"'
    asked = TableName("public", 'sel"ect "Ü.1$')
    on_18.names += (asked,)
    on_18.database.execute(
        f"CREATE TABLE {odd} (id int); CREATE VIEW v AS SELECT id FROM users;"
        f"CREATE TABLE {qualify(asked)} (id int)"
    )
    steps = (
        *send("ALTER TABLE public.user_roles DROP CONSTRAINT user_roles_user_id_fkey"),
        *send("ALTER TABLE public.users ADD COLUMN u uuid DEFAULT gen_random_uuid()"),
        *send("ALTER TABLE public.users ADD CHECK (id > 0)"),
        *send("ALTER TABLE public.users DROP COLUMN nothing"),
        *send("ALTER TABLE public.users ALTER COLUMN id TYPE bigint"),
        *send("CREATE INDEX ON public.users (u)"),
        *send(f"ALTER TABLE {qualify(asked)} ADD CHECK (id > 0)"),
        *send(
            "ALTER TABLE public.audit_logs RENAME TO old; ALTER TABLE public.old ADD CHECK (id > 0)"
        ),
        *send("CREATE INDEX CONCURRENTLY i ON public.users (name)", transactional=False),
    )
    with psycopg.connect(on_18.database.conninfo()) as other:
        other.execute(f"LOCK TABLE {odd}, permissions IN ACCESS EXCLUSIVE MODE".encode())
        plan = measure(on_18, steps)
    drop, rewrite, check, broken, in_use, index, named, moved, beside = plan.actions
    # It is on the child, and yet stops whoever reads the parent.
    assert modes(drop) == {
        "public.user_roles": LockMode.ACCESS_EXCLUSIVE,
        "public.users": LockMode.ACCESS_EXCLUSIVE,
    }
    assert rewrite.rewrites == ("public.users",)
    assert check.scans == ("public.users",)
    assert not check.rewrites
    # What fails there says so, and the rest is measured all the same.
    assert broken.measured is None
    assert 'column "nothing" of relation "users" does not exist' in broken.note
    assert broken.locks == broken.action.locks
    # The view that stands on the column is in the clone too.
    assert "used by a view" in in_use.note
    assert modes(index) == {"public.users": LockMode.SHARE}
    assert index.measured is not None
    assert index.measured.builds == ("users_u_idx",)
    assert (modes(named), named.scans) == (
        {qualify(asked): LockMode.ACCESS_EXCLUSIVE},
        (qualify(asked),),
    )
    # A scan under a new name is one of the table that was there.
    assert moved.scans == ("public.audit_logs",)
    assert modes(beside) == {"public.users": LockMode.SHARE_UPDATE_EXCLUSIVE}


def test_a_table_that_is_locked_leaves_the_plan_by_table(
    on_18: Migrating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clone, "LOCK_WAIT_MILLISECONDS", 200)
    catalog = on_18.catalog()
    plan = make_plan(send("ALTER TABLE public.users ADD n int"), catalog)
    conninfo = connect_parameters(on_18.database)
    with psycopg.connect(on_18.database.conninfo()) as other:
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        [planned] = measure_plan(plan, catalog, on_18.connection, conninfo).actions
    assert planned.measured is None
    assert planned.note == "pg_dump: a table is locked by somebody; plan again later"
    assert str(conninfo["password"]) not in planned.note
    on_18.database.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        stranger = {**conninfo, "user": "stranger", "password": "x"}
        [planned] = measure_plan(plan, catalog, on_18.connection, stranger).actions
    finally:
        on_18.database.execute("DROP ROLE stranger")
    assert planned.measured is None
    assert "permission denied for table" in planned.note
    assert planned.locks == (Lock(LockMode.ACCESS_EXCLUSIVE, "public.users"),)


# Its pg_dump is of another release too, and knows nothing of what 15.20 says of each column.
def test_a_clone_of_another_major_without_an_extension_says_what_it_lacks(
    postgres15: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_postgres
    monkeypatch.setattr(clone, "find_postgres", lambda major: None if major == 15 else found(major))
    postgres15.create_database("with_extension")
    try:
        database = Database(postgres15, "with_extension")
        database.execute(
            "CREATE EXTENSION pgcrypto; CREATE TABLE users (id int PRIMARY KEY);"
            "CREATE TABLE salted (id int PRIMARY KEY, salt text DEFAULT gen_salt('bf'))"
        )
        with open_migrating(database, tmp_path, ("public.users", "public.salted")) as migrating:
            plan = measure(
                migrating,
                (
                    *send("ALTER TABLE public.users ADD n int"),
                    *send("ALTER TABLE public.salted ADD n int"),
                ),
            )
    finally:
        postgres15.drop_database("with_extension")
    good, lost = plan.actions
    assert 'extension "pgcrypto" is not available' in plan.lacks
    assert good.measured is not None, good.note
    assert good.measured.server == ("an empty clone on PostgreSQL 18 (no server of 15 at hand)")
    assert lost.measured is None
    assert 'extension "pgcrypto" is not available' in lost.note
