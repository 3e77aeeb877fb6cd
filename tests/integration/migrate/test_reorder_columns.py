"""A table written anew in another order of columns: nothing of it is lost, at no moment."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.execute import apply_action
from phasegate.migrate.lock_trace import measure_plan
from phasegate.migrate.model import LockMode, Step
from phasegate.migrate.operations.padding_decision import AskedDecision
from phasegate.migrate.operations.reorder_columns import ReorderColumns
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.plan import make_plan
from phasegate.migrate.programs import find_programs
from phasegate.migrate.rendering import sql, text
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, connect_parameters, open_migrating
from tests.fixtures.underway import Mover

T = TableName("public", "accounts")
REORDER = ReorderColumns(T)
ORDERED = Step("05-reorder-columns", "schema", "", (AskedDecision(T), REORDER))
NAMES = tuple(f"{one.schema}.{one.table}" for one in REORDER.names())
# One of each thing that a table can have and that must be there afterwards.
SCHEMA = """
CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE "An app";
GRANT CREATE, USAGE ON SCHEMA public TO keeper;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE plans (id int PRIMARY KEY);
INSERT INTO plans SELECT n FROM generate_series(1, 5) n;
CREATE TABLE accounts (
    a boolean NOT NULL DEFAULT true,
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 3 INCREMENT BY 2 CACHE 1),
    b smallint CONSTRAINT small CHECK (b < 100),
    number serial,
    c boolean,
    "Plan" int REFERENCES plans ON DELETE SET NULL DEFERRABLE,
    d smallint DEFAULT 7,
    parent bigint,
    e boolean,
    total bigint GENERATED ALWAYS AS ("Plan" * 2) STORED,
    name text COLLATE "C" DEFAULT 'x''y',
    feeling mood,
    at timestamptz DEFAULT now(),
    CONSTRAINT "The key" PRIMARY KEY (id) WITH (fillfactor = 80),
    UNIQUE (number) INCLUDE (name) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT own FOREIGN KEY (parent) REFERENCES accounts (id) ON UPDATE CASCADE,
    CHECK (name <> 'forbidden' AND id > 0)
) WITH (fillfactor = 90, autovacuum_enabled = false);
ALTER TABLE accounts ALTER name SET STORAGE EXTERNAL, ALTER name SET STATISTICS 500,
    ALTER "Plan" SET (n_distinct = 5);
CREATE INDEX "by Plan" ON accounts ("Plan" DESC NULLS LAST) WHERE c;
CREATE UNIQUE INDEX ON accounts (lower(name), id) WITH (fillfactor = 70);
CREATE UNIQUE INDEX replica ON accounts (id, a);
ALTER TABLE accounts REPLICA IDENTITY USING INDEX replica;
CREATE TABLE orders (
    id int PRIMARY KEY, account bigint NOT NULL REFERENCES accounts ON DELETE CASCADE
);
COMMENT ON TABLE accounts IS 'it''s ours'; COMMENT ON COLUMN accounts.b IS 'a \\ b';
COMMENT ON CONSTRAINT small ON accounts IS 'c'; COMMENT ON CONSTRAINT own ON accounts IS 'k';
COMMENT ON CONSTRAINT "The key" ON accounts IS 'p'; COMMENT ON INDEX replica IS 'i';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.at := now(); RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE OF name ON accounts FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION touch();
CREATE TRIGGER off BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE accounts DISABLE TRIGGER off;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON accounts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE accounts ENABLE ALWAYS TRIGGER later; COMMENT ON TRIGGER later ON accounts IS 't';
ALTER TABLE accounts OWNER TO keeper;
GRANT SELECT ON accounts TO reader WITH GRANT OPTION; GRANT INSERT ON accounts TO PUBLIC;
GRANT UPDATE (name, "Plan") ON accounts TO "An app";
GRANT USAGE ON SEQUENCE accounts_id_seq TO "An app";
GRANT ALL ON SEQUENCE accounts_number_seq TO reader;
INSERT INTO accounts (a, b, c, "Plan", parent, e, name, feeling)
SELECT n % 2 = 0, n % 100, n % 3 = 0, 1 + n % 5, CASE WHEN n > 10 THEN 3 END, true,
    'n' || n, 'good' FROM generate_series(1, 3000) n;
INSERT INTO orders SELECT n, 1 + 2 * n FROM generate_series(1, 1000) n;
ANALYZE;
"""
ORDER = [
    *("id", "parent", "total", "at", "number", "Plan", "feeling"),
    *("b", "d", "a", "c", "e", "name"),
]


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    with with_roles(any_database), open_migrating(any_database, tmp_path, NAMES) as found:
        yield found


@contextmanager
def with_roles(database: Database) -> Iterator[None]:
    database.execute(SCHEMA)
    try:
        yield
    finally:
        with suppress(psycopg.errors.UndefinedObject):
            database.execute(
                'DROP OWNED BY keeper, reader, "An app" CASCADE; DROP ROLE keeper, reader, "An app"'
            )


def dump(database: Database) -> list[str]:
    """What pg_dump tells of the schema, whatever the order of columns; and all rows."""
    newest = max(find_programs(), key=lambda one: one.major)
    command = [str(newest.folder / "pg_dump"), "-s", "-n", "public", "-d", database.conninfo()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # Debian's 15 marks each column with the moment of its birth.
    told = re.sub(r"pg_attver=\d+", "pg_attver", done.stdout)
    lines = [line.removesuffix(",") for line in told.splitlines()]
    # The order of grants to several is that in which they were given.
    found = sorted(line for line in lines if line and not line.startswith(("--", "\\")))
    return [*found, *map(str, database.execute(
        "SELECT (SELECT count(*) FROM accounts), (SELECT sum(hashtext(row_to_json(x)::text)) FROM ("
        ' SELECT id, parent, total, at, number, "Plan", feeling, b, d, a, c, e, name FROM accounts'
        ") x), (SELECT last_value FROM accounts_id_seq),"
        " (SELECT last_value FROM accounts_number_seq)"
    )[0])]  # fmt: skip


def columns(database: Database) -> list[str]:
    return [name for (name,) in database.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'accounts'::regclass"
        " AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )]  # fmt: skip


def leftovers(database: Database) -> list[Any]:
    return database.execute(
        "SELECT relname FROM pg_class WHERE relname ~ 'reorder|phasegate_'"
        " UNION ALL SELECT proname FROM pg_proc WHERE proname ~ 'reorder'"
        " UNION ALL SELECT tgname FROM pg_trigger WHERE tgname ~ 'phasegate'"
        " UNION ALL SELECT conname FROM pg_constraint WHERE NOT convalidated"
        " UNION ALL SELECT left(description, 60)::name FROM pg_description"
        " WHERE description ~ 'phasegate'"
    )


def do_one(migrating: Migrating) -> bool:
    """What is left first, as one process did it before it died; whether there was any."""
    catalog = migrating.catalog()
    left = REORDER.plan_remaining(catalog)
    if left:
        deadline = time.monotonic() + 30
        context = migrating.context(catalog=catalog)
        apply_action(left[0], REORDER, context, migrating.connection, deadline)
    return bool(left)


def test_all_that_a_table_has_is_there_afterwards_in_another_order(migrating: Migrating) -> None:
    database = migrating.database
    before = dump(database)
    assert REORDER.find_refusals(migrating.catalog()) == ()
    told = text.render(make_plan((ORDERED,), migrating.catalog()))
    assert re.search(
        r"now: worth it: another order would spare \d\d% .* \d+ of \d+ bytes of a row of"
        r" public\.accounts are padding",
        told,
    )
    expected = len(REORDER.plan_remaining(migrating.catalog()))
    done = 0
    while do_one(migrating):
        done += 1
        # Each finds what is left by the catalog alone, and it becomes less.
        assert len(REORDER.plan_remaining(migrating.catalog())) == expected - done
    assert columns(database) == ORDER
    assert dump(database) == before
    assert leftovers(database) == []
    assert migrating.apply(REORDER) == 0
    assert migrating.undo(REORDER) == 0
    told = text.render(make_plan((ORDERED,), migrating.catalog()))
    assert "now: skipped: another order would spare 0%" in told
    # It lives: numbers go on, keys hold both ways, triggers fire.
    [(number, next_id)] = database.execute(
        "INSERT INTO accounts (name, parent) VALUES ('new', 3) RETURNING number, id"
    )
    assert (number, next_id) == (3001, 3 + 2 * 3000)
    for bad in (
        "INSERT INTO accounts (parent) VALUES (4)",
        "INSERT INTO orders VALUES (9999, 4)",
        "UPDATE accounts SET b = 100 WHERE id = 3",
    ):
        with pytest.raises(psycopg.IntegrityError):
            database.execute(bad)
    database.execute("DELETE FROM accounts WHERE id = 5001")
    assert database.execute("SELECT count(*) FROM orders WHERE account = 5001") == [(0,)]


def test_undone_after_any_action_before_the_swap_it_leaves_nothing(migrating: Migrating) -> None:
    database = migrating.database
    before = dump(database)
    swap = len(REORDER.plan_remaining(migrating.catalog())) - 4
    for count in range(1, swap + 1):
        for _ in range(count):
            assert do_one(migrating)
        assert migrating.undo(REORDER) == 1
        assert (dump(database), leftovers(database)) == (before, [])
    for _ in range(swap + 2):
        assert do_one(migrating)
    # After it the new order stays, and what is not proved yet is proved.
    assert migrating.undo(REORDER) == 2
    assert (dump(database), leftovers(database)) == (before, [])
    assert columns(database) == ORDER


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE accounts ADD COLUMN more int DEFAULT 5",
        "ALTER TABLE accounts DROP COLUMN d",
        "ALTER TABLE accounts ALTER d SET DEFAULT 8",
        "ALTER TABLE accounts DISABLE TRIGGER phasegate_reorder",
        'DROP INDEX "by Plan"; CREATE INDEX ON accounts (d); UPDATE accounts SET d = 9',
        "UPDATE accounts_phasegate_reorder SET d = 99 WHERE id = 3",
    ],
)
def test_a_table_that_is_changed_meanwhile_is_copied_as_it_is_then(
    database: Database, tmp_path: Path, change: str
) -> None:
    with with_roles(database), open_migrating(database, tmp_path, NAMES) as migrating:
        while "prove" not in REORDER.plan_remaining(migrating.catalog())[0].what:
            do_one(migrating)
        database.execute(change)
        before = [line for line in dump_again(database) if "phasegate_reorder" not in line]
        if "UPDATE accounts_" in change:
            with pytest.raises(StepFailed, match="run again to copy anew"):
                migrating.apply(REORDER)
        migrating.apply(REORDER)
        assert dump_again(database) == before
        assert columns(database) != []
        assert leftovers(database) == []


def dump_again(database: Database) -> list[Any]:
    rows = database.execute("SELECT to_jsonb(x) - 'at' FROM accounts AS x ORDER BY id")
    shapes = database.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = 'accounts'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1"
    )
    indexes = database.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'accounts'::regclass"
        " ORDER BY 1"
    )
    return [*map(str, rows), *map(str, shapes), *map(str, indexes)]


ALONE = "DROP TABLE orders; ALTER TABLE accounts DROP CONSTRAINT own;"
REFUSED = {
    "CREATE VIEW v AS SELECT id FROM accounts": "view public.v",
    "CREATE MATERIALIZED VIEW v AS SELECT id FROM accounts": "materialized view public.v",
    "ALTER TABLE accounts ENABLE ROW LEVEL SECURITY": "public.accounts",
    "CREATE POLICY p ON accounts USING (true)": "policy p",
    "CREATE PUBLICATION p FOR TABLE accounts": "publication p",
    "CREATE PUBLICATION p FOR ALL TABLES WITH (publish_via_partition_root)": "publication p",
    "CREATE RULE r AS ON DELETE TO accounts DO ALSO NOTHING": "rule of its own r",
    "CREATE FUNCTION f(accounts) RETURNS int LANGUAGE sql AS 'SELECT 1'": "bound function",
    "CREATE TABLE other (one accounts)": "row type public.other.one",
    "CREATE TABLE heir () INHERITS (accounts)": "public.accounts",
    "CREATE STATISTICS s ON a, b FROM accounts": "statistics s",
    f"{ALONE} ALTER TABLE accounts DROP CONSTRAINT \"The key\"": "public.accounts",
    "ALTER TABLE accounts ADD CHECK (b <> 5) NOT VALID": "public.accounts, accounts_b_check",
    f"{ALONE} ALTER TABLE accounts SET UNLOGGED": "public.accounts",
    "CREATE TABLE accounts_phasegate_reorder (id int)": "public.accounts_phasegate_reorder",
    "ALTER TABLE accounts CLUSTER ON replica": "public.accounts",
    "ALTER TABLE accounts SET (toast.autovacuum_enabled = false)": "public.accounts",
    "REVOKE CREATE ON SCHEMA public FROM keeper": "public.accounts",
    "REVOKE DELETE ON accounts FROM keeper": "public.accounts",
    "GRANT SELECT (a) ON accounts TO reader WITH GRANT OPTION": "public.accounts",
    "COMMENT ON SEQUENCE accounts_id_seq IS 'x'": "public.accounts",
    "ALTER TABLE accounts ADD EXCLUDE (id WITH =)": "public.accounts, accounts_id_excl",
    "CREATE TABLE parts (a bigint REFERENCES accounts) PARTITION BY LIST (a)":
        "public.parts, parts_a_fkey",
}  # fmt: skip


def test_what_a_copy_could_not_carry_is_refused_by_its_name(
    database: Database, tmp_path: Path
) -> None:
    with with_roles(database):
        for number, (change, named) in enumerate(REFUSED.items()):
            copy = Database(database.server, f"{database.name}_{number}")
            database.execute(f"CREATE DATABASE {copy.name} TEMPLATE {database.name}")
            try:
                copy.execute(change)
                with open_migrating(copy, tmp_path / str(number), NAMES) as migrating:
                    catalog = migrating.catalog()
                found = REORDER.find_refusals(catalog)
                assert [one for one in found if one.object.startswith(named)], (change, found)
                assert all(one.found and one.remedy for one in found), change
                assert REORDER.plan_remaining(catalog) == (), change
            finally:
                copy.server.drop_database(copy.name)


def test_the_lock_of_the_swap_is_given_up_for_others_and_nothing_is_lost(
    database: Database, tmp_path: Path
) -> None:
    with with_roles(database), open_migrating(database, tmp_path, NAMES) as migrating:
        before = dump(database)
        with psycopg.connect(database.conninfo(application_name="reports")) as other:
            while "take the place" not in REORDER.plan_remaining(migrating.catalog())[0].what:
                do_one(migrating)
            other.execute("SELECT count(*) FROM accounts")

            def say(line: str) -> None:
                told.append(line)
                if "waits for a lock held by reports" in line:
                    other.rollback()
                    database.execute("UPDATE accounts SET b = b")

            told: list[str] = []
            migrating.apply(REORDER, say=say)
        assert any("waits for a lock" in line for line in told)
        assert (dump(database), leftovers(database)) == (before, [])


def test_what_truncate_took_does_not_come_back(migrating: Migrating) -> None:
    database = migrating.database
    while "prove" not in REORDER.plan_remaining(migrating.catalog())[0].what:
        do_one(migrating)
    database.execute(
        "UPDATE accounts SET b = 1; TRUNCATE accounts CASCADE;"
        "INSERT INTO accounts (name) VALUES ('one'), ('two'); UPDATE accounts SET name = 'three'"
        " WHERE name = 'two'"
    )
    migrating.apply(REORDER)
    assert database.execute("SELECT name FROM accounts ORDER BY id") == [("one",), ("three",)]
    assert leftovers(database) == []


def test_the_plan_shows_it_with_the_locks_that_it_takes(
    any_database: Database, tmp_path: Path
) -> None:
    steps = (
        Step("01-add-uuid-fields", "schema", "", (UuidColumn(T, "uuid"),)),
        ORDERED,
    )
    with with_roles(any_database), open_migrating(any_database, tmp_path, NAMES) as migrating:
        catalog = migrating.catalog()
        conninfo = connect_parameters(any_database)
        plan = measure_plan(make_plan(steps, catalog), catalog, migrating.connection, conninfo)
        assert "worth it: another order would spare" in text.render(plan)
        actions = plan.steps[1].actions
        assert [one.note for one in actions if one.action.statements and one.note] == []
        strength = list(LockMode)
        for one in actions:
            told = {lock.relation: lock.mode for lock in one.action.locks}
            for lock in one.locks:
                if "phasegate" not in lock.relation and lock.mode not in strength[:2]:
                    assert strength.index(lock.mode) <= strength.index(told[lock.relation]), one
        # The copy has the column that an earlier step will have added.
        swap = next(one for one in actions if "take the place" in one.action.what)
        assert "'uuid'" in "".join(swap.action.statements)
        assert 'GRANT UPDATE (name) ON public.accounts TO "An app"' in swap.action.statements
        script = tmp_path / "plan.sql"
        script.write_text(sql.render(plan))
        linted = run(
            Path(sys.executable).parent / "squawk", "--reporter=gcc", "--pg-version=18", script
        )
        assert (linted.returncode, linted.stdout) == (0, "")
        # Whoever sends it by hand, without the works between, loses nothing.
        psql = any_database.server.binaries / "psql"
        sent = run(psql, "-Xqf", script, any_database.conninfo())
        assert "the copy is not proved to have the rows of the table" in sent.stderr
        assert any_database.execute("SELECT count(*) FROM accounts") == [(3000,)]


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


KILLED = ("make a copy", "copy the rows", "copy the rows", "index the copy", "prove that the copy",
          "take the place", "prove the foreign")  # fmt: skip
CONFIG = """\
environment: test
tables: [{{name: public.accounts, reorder: true, accept_triggers: ["touch", later, "off"]}}]
migrate: {{backup: {{directory: {folder}/backups}}}}
database: {{url: "${{DATABASE_URL}}"}}
"""


def test_killed_in_the_middle_of_any_action_the_run_goes_on(
    database: Database, tmp_path: Path
) -> None:
    with with_roles(database):
        mover = Mover(database.server, database.name, tmp_path)
        (tmp_path / "phasegate.yaml").write_text(CONFIG.format(folder=tmp_path))
        database.execute(
            'INSERT INTO accounts (a, b, c, "Plan", parent, e, name, feeling)'
            ' SELECT a, b, c, "Plan", parent, e, name || n, feeling'
            " FROM accounts, generate_series(1, 9) n"
        )
        before = dump(database)[-4:]
        for part in KILLED:
            with mover.running("run", "--until", "schema") as run:
                run.await_line(part)
                run.signal(signal.SIGKILL)
                run.wait()
        code, _, told = mover.call("run", "--until", "schema")
        assert code == 0, told
        assert dump(database)[-4:] == before
        assert [one for one in leftovers(database) if one != ("phasegate_fill_uuid",)] == []
        assert columns(database) == [*ORDER[:-1], "uuid", "name"]
        code, _, told = mover.call("run", "--until", "schema")
        assert (code, "step" in told) == (0, False)


class Writer(threading.Thread):
    """Changes rows of `accounts` and, in the same transaction, of a table that nobody rewrites."""

    def __init__(self, database: Database, number: int, isolation: str) -> None:
        super().__init__()
        self.conninfo, self.number, self.isolation = database.conninfo(), number, isolation
        self.over = threading.Event()
        self.failures: list[str] = []
        self.slowest, self.done = 0.0, 0

    def run(self) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"SET default_transaction_isolation = '{self.isolation}'".encode())
            while not self.over.is_set():
                began = time.monotonic()
                try:
                    self.write(connection)
                except psycopg.errors.SerializationFailure:
                    pass
                except psycopg.Error as error:
                    self.failures.append(str(error))
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.done += 1

    def write(self, connection: psycopg.Connection[Any]) -> None:
        """Each writer has rows of its own, so that they do not get in each other's way."""
        n = self.done
        at = 2003 * self.number + 2 * (n * 7 % 900)
        both = f"id IN ({at}, {at + 4})"
        with connection.transaction(force_rollback=n % 11 == 0):
            for table in ("accounts", "oracle"):
                for statement in (
                    f"UPDATE {table} SET name = '{n}' WHERE id BETWEEN {at} AND {at + 6}",
                    f"DELETE FROM {table} WHERE id = {at + 8} AND id % 5 = 0 AND id > 10",
                    # Unique values change places.
                    f"UPDATE {table} SET number = (SELECT sum(number) FROM {table} WHERE {both})"
                    f" - number WHERE {both} AND (SELECT count(*) FROM {table} WHERE {both}) = 2",
                    f"UPDATE {table} SET a = NOT a WHERE id = {at}",
                ):
                    connection.execute(statement.encode())
            connection.execute(
                b"WITH made AS (INSERT INTO accounts (name) VALUES ('made') RETURNING *)"
                b" INSERT INTO oracle SELECT id, a, number, name FROM made"
            )


def test_writers_lose_nothing_and_wait_for_nobody(any_database: Database, tmp_path: Path) -> None:
    database = any_database
    with with_roles(database), open_migrating(database, tmp_path, NAMES) as migrating:
        database.execute(
            "CREATE TABLE oracle AS SELECT id, a, number, name FROM accounts;"
            "ALTER TABLE oracle ADD PRIMARY KEY (id); ANALYZE oracle"
        )
        isolation = ("read committed", "read committed", "repeatable read")
        writers = [Writer(database, number, isolation[number]) for number in range(3)]
        for one in writers:
            one.start()
        try:
            time.sleep(0.3)
            migrating.apply(REORDER)
            time.sleep(0.3)
        finally:
            for one in writers:
                one.over.set()
            for one in writers:
                one.join()
        assert [one.failures for one in writers] == [[], [], []]
        assert min(one.done for one in writers) > 20
        assert max(one.slowest for one in writers) < 2
        assert database.execute(
            "SELECT count(*) FROM (SELECT id, a, number, name FROM accounts) a"
            " FULL JOIN oracle o USING (id)"
            " WHERE (a.a, a.number, a.name) IS DISTINCT FROM (o.a, o.number, o.name)"
        ) == [(0,)]
        assert columns(database) == ORDER
        assert leftovers(database) == []
