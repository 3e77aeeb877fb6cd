"""Columns, indexes and NOT NULL in databases that make it hard: what breaks others must not us."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.migrate import execute
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.journal import Journal
from phasegate.migrate.model import LockMode, Operation
from phasegate.migrate.operations.not_null import NotNull
from phasegate.migrate.operations.unique_index import UniqueIndex
from phasegate.migrate.operations.uuid_column import UuidColumn
from phasegate.migrate.sessions import open_session
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, connect_parameters, open_migrating

T = TableName("public", "t")
COLUMN, INDEX, NOT_NULL = UuidColumn(T, "uuid"), UniqueIndex(T, "uuid"), NotNull(T, "uuid")
ANEW = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
OPERATIONS: tuple[Operation, ...] = (COLUMN, INDEX, NOT_NULL)
STRENGTH = [mode.value for mode in LockMode]
SCHEMA_OF_T = """
SELECT
    (SELECT array_agg((attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid))::text
        ORDER BY attnum)
     FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped),
    (SELECT array_agg(pg_get_indexdef(indexrelid) ORDER BY indexrelid::regclass::text)
     FROM pg_index WHERE indrelid = 't'::regclass),
    (SELECT array_agg(conname || pg_get_constraintdef(oid) ORDER BY conname)
     FROM pg_constraint WHERE conrelid = 't'::regclass),
    (SELECT array_agg(tgname) FROM pg_trigger WHERE tgrelid = 't'::regclass)
"""  # noqa: E501


def apply_all(migrating: Migrating, table: TableName, column: str, version: int = 4) -> None:
    """Column, rows, index and NOT NULL; each a second time with nothing left."""
    for operation in (
        UuidColumn(table, column, version),
        UniqueIndex(table, column),
        NotNull(table, column),
    ):
        assert operation.find_refusals(migrating.catalog()) == ()
        migrating.apply(operation)
        name, key = qualify(table), quote(column)
        migrating.database.execute(
            f"UPDATE {name} SET {key} = gen_random_uuid() WHERE {key} IS NULL"
        )
        assert migrating.apply(operation) == 0


@contextmanager
def acting_as(
    database: Database, folder: Path, role: str, *names: TableName
) -> Iterator[Migrating]:
    """A mover that is not a superuser."""
    parameters = connect_parameters(database, user=role, password="p")
    with open_session(parameters) as connection:
        journal = Journal(connection, folder, "identity")
        journal.open()
        migrating = Migrating(database, connection, journal, Settings(), names)
        yield migrating


@contextmanager
def role(database: Database, name: str) -> Iterator[None]:
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    try:
        yield
    finally:
        database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


BREAKING = (
    (TableName("a$body$b", "x$body$\n;y"), "u$body$\\'--"),
    (TableName("S'ch\\ema", "%s {0} %(x)s"), "ü" * 31),
    (TableName("public", "t" * 63), "select"),
)


def test_names_that_break_quoting(any_database: Database, tmp_path: Path) -> None:
    with open_migrating(any_database, tmp_path, ()) as migrating:
        for table, column in BREAKING:
            name = qualify(table)
            any_database.execute(
                f"CREATE SCHEMA IF NOT EXISTS {quote(table.schema)};"
                f"CREATE TABLE {name} (id integer PRIMARY KEY); INSERT INTO {name} VALUES (1)"
            )
            migrating.names = (table,)
            apply_all(migrating, table, column)
            any_database.execute(f"INSERT INTO {name} VALUES (2, NULL)")
            for operation in (NotNull(table, column), UniqueIndex(table, column)):
                migrating.undo(operation)
            assert migrating.undo(UuidColumn(table, column)) == 1
            assert migrating.catalog().relations[table].column(column) is None


def test_tables_whose_names_run_together_have_functions_of_their_own(
    database: Database, tmp_path: Path
) -> None:
    tables = (TableName("a_b", "c"), TableName("a", "b_c"))
    for table in tables:
        database.execute(f"CREATE SCHEMA {table.schema}; CREATE TABLE {qualify(table)} (id int)")
    with open_migrating(database, tmp_path, ()) as migrating:
        migrating.names = tables
        one, other = (UuidColumn(table, "uuid") for table in tables)
        assert (migrating.apply(one), migrating.apply(other)) == (1, 1)
        assert (migrating.apply(one), migrating.apply(other)) == (0, 0)
        assert migrating.undo(one) == 1
        database.execute("INSERT INTO a.b_c VALUES (1, NULL)")
        assert database.execute("SELECT count(uuid) FROM a.b_c") == [(1,)]


def test_an_owner_who_is_no_superuser_where_nobody_may_call_new_functions(
    any_database: Database, tmp_path: Path
) -> None:
    with role(any_database, "table_owner"), role(any_database, "plain_app"):
        any_database.execute(
            "CREATE TABLE t (id integer PRIMARY KEY); ALTER TABLE t OWNER TO table_owner;"
            "GRANT SELECT, INSERT, UPDATE ON t TO plain_app;"
            "GRANT CREATE ON SCHEMA public TO table_owner;"
            f"GRANT CREATE ON DATABASE {quote(any_database.name)} TO table_owner;"
            "ALTER DEFAULT PRIVILEGES FOR ROLE table_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC"
        )
        with acting_as(any_database, tmp_path, "table_owner", T) as migrating:
            apply_all(migrating, T, "uuid", 7)
        conninfo = any_database.conninfo(user="plain_app", password="p")
        with psycopg.connect(conninfo) as application:
            application.execute("INSERT INTO t VALUES (1); INSERT INTO t VALUES (2, NULL)")
            application.execute("UPDATE t SET uuid = NULL")
            rows = application.execute("SELECT substr(uuid::text, 15, 1) FROM t").fetchall()
        assert rows == [("7",), ("7",)]


def test_an_owner_who_may_not_make_an_index_is_told_before(
    database: Database, tmp_path: Path
) -> None:
    with role(database, "table_owner"):
        database.execute(
            "CREATE TABLE t (id integer PRIMARY KEY); ALTER TABLE t OWNER TO table_owner;"
            f"GRANT CREATE ON DATABASE {quote(database.name)} TO table_owner"
        )
        with acting_as(database, tmp_path, "table_owner", T) as migrating:
            assert COLUMN.find_refusals(migrating.catalog()) == ()
            [refusal] = INDEX.find_refusals(migrating.catalog())
            assert "may not make an index" in refusal.found
            database.execute(refusal.remedy)
            assert INDEX.find_refusals(migrating.catalog()) == ()


def test_settings_of_the_role_and_tables_of_the_same_name_change_nothing(
    database: Database, tmp_path: Path
) -> None:
    database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY);"
        "CREATE SCHEMA shadow; CREATE TABLE shadow.t (id integer PRIMARY KEY);"
        "CREATE FUNCTION shadow.gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';"
        f"ALTER DATABASE {quote(database.name)} SET search_path = shadow, pg_catalog, public;"
        f"ALTER DATABASE {quote(database.name)} SET statement_timeout = '1ms';"
        f"ALTER DATABASE {quote(database.name)} SET lock_timeout = '1ms';"
        f"ALTER DATABASE {quote(database.name)} SET default_transaction_read_only = on;"
        f"ALTER DATABASE {quote(database.name)} SET transaction_timeout = '1ms';"
        f"ALTER DATABASE {quote(database.name)} SET TimeZone = 'Pacific/Chatham'"
    )
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        migrating.connection.execute("CREATE TEMP TABLE t (id integer)")
        for operation in OPERATIONS:
            migrating.apply(operation)
            assert migrating.apply(operation) == 0
        rows = migrating.connection.execute(
            "INSERT INTO public.t VALUES (1, NULL) RETURNING uuid IS NOT NULL"
        ).fetchall()
        assert rows == [(True,)]
        assert migrating.connection.execute(
            "SELECT count(*) FROM pg_attribute WHERE attrelid = 'shadow.t'::regclass AND attnum > 0"
        ).fetchall() == [(1,)]


THERE_BEFORE = (
    "ALTER TABLE t ADD uuid uuid NOT NULL DEFAULT md5(random()::text)::uuid",
    "ALTER TABLE t ADD uuid uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE t ADD uuid uuid UNIQUE",
    "SELECT 1",
)


def test_an_undo_leaves_what_was_there_as_it_was(any_database: Database, tmp_path: Path) -> None:
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        for before in THERE_BEFORE:
            any_database.execute(f"{ANEW}; CREATE TABLE t (id integer PRIMARY KEY); {before}")
            found = any_database.execute(SCHEMA_OF_T)
            apply_all(migrating, T, "uuid")
            for operation in reversed(OPERATIONS):
                migrating.undo(operation)
                assert migrating.undo(operation) == 0
            assert any_database.execute(SCHEMA_OF_T) == found


DAMAGES = (
    "DROP TRIGGER phasegate_fill_uuid ON t",
    "ALTER FUNCTION phasegate.fill_public_t_uuid() SECURITY INVOKER",
    "ALTER FUNCTION phasegate.fill_public_t_uuid() RESET search_path",
    "ALTER FUNCTION phasegate.fill_public_t_uuid() SET search_path = public",
)


def test_a_repair_does_not_forget_whose_the_column_is(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        migrating.apply(COLUMN)
        for damage in DAMAGES:
            database.execute(damage)
            assert migrating.apply(COLUMN) == 1, damage
            assert migrating.apply(COLUMN) == 0, damage
        migrating.undo(COLUMN)
        assert migrating.catalog().relations[T].column("uuid") is None


def test_a_partition_is_guarded_also_where_its_own_trigger_was_weakened(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE t (id int, k int) PARTITION BY LIST (k);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1) PARTITION BY LIST (id);"
        "CREATE TABLE t11 PARTITION OF t1 FOR VALUES IN (1)"
    )
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        migrating.apply(COLUMN)
        any_database.execute(
            "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);"
            "SET session_replication_role = replica; INSERT INTO t2 VALUES (1, 2, NULL);"
            "INSERT INTO t11 VALUES (1, 1, NULL); RESET session_replication_role;"
            "ALTER TABLE t11 DISABLE TRIGGER phasegate_fill_uuid"
        )
        assert migrating.apply(COLUMN) == 1
        assert migrating.apply(COLUMN) == 0
        any_database.execute("INSERT INTO t11 VALUES (1, 1, NULL)")
        assert any_database.execute("SELECT count(*), count(uuid) FROM t") == [(3, 3)]


WORKS = {
    "unlogged": "CREATE UNLOGGED TABLE t (id int PRIMARY KEY)",
    "no primary key": "CREATE TABLE t (id int)",
    "row type used by another table": (
        "CREATE TABLE t (id int); CREATE TABLE holder (one t, more t[])"
    ),
    "generated columns": "CREATE TABLE t (id int, twice int GENERATED ALWAYS AS (id * 2) STORED)",
    "publication with a column list": (
        "CREATE TABLE t (id int PRIMARY KEY, x int); CREATE PUBLICATION p FOR TABLE t (id)"
    ),
    "an event trigger": (
        "CREATE TABLE t (id int);"
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION watch()"
    ),
    "row security forced on its owner": (
        "CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    ),
    "a view and a rule on it": (
        "CREATE TABLE t (id int); CREATE VIEW v AS SELECT * FROM t;"
        "CREATE RULE r AS ON DELETE TO t DO ALSO NOTIFY gone"
    ),
    "a trigger that empties the UUID": (
        "CREATE TABLE t (id int); CREATE FUNCTION empty() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW := jsonb_populate_record(NEW, ''{\"uuid\": null}''); RETURN NEW; END';"
        "CREATE TRIGGER an_old_one BEFORE INSERT OR UPDATE ON t"
        " FOR EACH ROW EXECUTE FUNCTION empty()"
    ),
}


def test_what_looks_odd_and_works(database: Database, tmp_path: Path) -> None:
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        for kind, made in WORKS.items():
            database.execute(f"{ANEW}; {made}; INSERT INTO t (id) VALUES (1)")
            apply_all(migrating, T, "uuid")
            # What the application knew before must go on.
            database.execute("INSERT INTO t (id) VALUES (2); UPDATE t SET id = 3 WHERE id = 2")
            found = database.execute("SELECT count(*), count(DISTINCT uuid) FROM t")
            assert found == [(2, 2)], kind


REFUSED: dict[str, tuple[str, Operation, str]] = {
    "typed table": (
        "CREATE TYPE y AS (id int); CREATE TABLE t OF y",
        COLUMN,
        "a typed table, of public.y",
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW t AS SELECT 1 AS id",
        COLUMN,
        "it is a materialized view",
    ),
    "foreign partition": (
        "CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;"
        "CREATE TABLE t (id int) PARTITION BY LIST (id);"
        "CREATE FOREIGN TABLE t1 PARTITION OF t FOR VALUES IN (1) SERVER s",
        COLUMN,
        "it holds rows of it elsewhere",
    ),
    "inherited column": (
        "CREATE TABLE above (uuid uuid); CREATE TABLE t (id int) INHERITS (above)",
        COLUMN,
        "the column is inherited from public.above",
    ),
    "a system column": (
        "CREATE TABLE t (id int)",
        UuidColumn(T, "ctid"),
        "every table has it",
    ),
    "index of a table with heirs": (
        "CREATE TABLE t (id int); CREATE TABLE heir () INHERITS (t)",
        INDEX,
        "public.heir inherit from it",
    ),
    "index of a partitioned table": (
        "CREATE TABLE t (id int) PARTITION BY LIST (id)",
        INDEX,
        "must hold the partition key",
    ),
    "the index's name is taken": (
        "CREATE TABLE t (id int, uuid uuid); CREATE INDEX t_uuid_key ON t (uuid)",
        INDEX,
        "an index of that name is there",
    ),
    "the constraint's name is taken": (
        "CREATE TABLE t (id int, uuid uuid);"
        "ALTER TABLE t ADD CONSTRAINT t_uuid_not_null CHECK (uuid <> md5('')::uuid)",
        NOT_NULL,
        "a constraint of that name is there",
    ),
}


def test_what_cannot_be_is_refused(any_database: Database, tmp_path: Path) -> None:
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        for kind, (made, operation, said) in REFUSED.items():
            any_database.execute(f"{ANEW}; {made}")
            [refusal] = operation.find_refusals(migrating.catalog())
            assert said in refusal.found, kind
            assert refusal.remedy, kind


def test_a_stranger_with_the_name_of_our_index_is_never_dropped(
    database: Database, tmp_path: Path
) -> None:
    database.execute("CREATE TABLE t (id int, uuid uuid); CREATE INDEX t_uuid_key ON t (id)")
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        with pytest.raises(StepFailed, match="already exists"):
            migrating.apply(INDEX)
        assert migrating.undo(INDEX) == 0
    assert database.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 't_uuid_key'::regclass"
    )


def test_duplicates_are_named_and_no_broken_index_is_left_to_be_paid_for(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE t (id int, uuid uuid); INSERT INTO t SELECT n, md5('')::uuid FROM"
        " generate_series(1, 3) n; CREATE TABLE other (id int)"
    )
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        with pytest.raises(StepFailed) as failed:
            migrating.apply(INDEX)
        assert "Key (uuid)=(d41d8cd9-8f00-b204-e980-0998ecf8427e) is duplicated" in str(
            failed.value
        )
        query = str(failed.value).split("all that are there twice: ")[1].split(";")[0]
        assert any_database.execute(query)[0][1] == 3
        assert any_database.execute("SELECT 1 FROM pg_class WHERE relname = 't_uuid_key'") == []
        any_database.execute("UPDATE t SET uuid = NULL WHERE id = 2")
        with pytest.raises(StepFailed) as failed:
            migrating.apply(NOT_NULL)
        query = str(failed.value).split("these are they: ")[1].split(";")[0]
        assert any_database.execute(query) == [(2, None)]


def test_an_index_that_lost_a_lock_is_cleared_before_it_is_tried_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadlock or a time-out in the middle leaves an invalid index; sent again as it was, the
    statement would say that the name is taken."""
    monkeypatch.setitem(execute.__dict__, "FIRST_PAUSE_SECONDS", 0.01)
    database.execute("CREATE TABLE t (id int, uuid uuid); INSERT INTO t VALUES (1)")
    holder = psycopg.connect(database.conninfo())
    holder.execute("INSERT INTO t VALUES (2)")

    def limit(connection: psycopg.Connection[Any], _: object) -> None:
        connection.execute("SET lock_timeout = '150ms'")

    monkeypatch.setattr(execute, "set_patience", limit)
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        release = threading.Timer(0.6, holder.rollback)
        release.start()
        migrating.apply(INDEX)
        release.join()
        assert any("waits for a lock" in said for said in migrating.said)
        assert any("drop the invalid index" in said for said in migrating.said)
        assert migrating.apply(INDEX) == 0
    holder.close()


STATEMENTS: dict[str, Callable[[int], str]] = {
    "as it always did": lambda n: f"INSERT INTO t (id, name) VALUES ({n}, 'a')",
    "without a list": lambda n: f"INSERT INTO t VALUES ({n}, 'a')",
    "upsert": lambda n: f"INSERT INTO t (id) VALUES ({n}) ON CONFLICT (id) DO UPDATE SET id = {n}",
    "update": lambda n: f"UPDATE t SET name = 'b' WHERE id = {n % 20}",
    "copy": lambda n: f"COPY t (id, name) FROM PROGRAM 'echo {n},x' (FORMAT csv)",
}


def test_the_old_application_goes_on_between_any_two_actions(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, name text);INSERT INTO t SELECT generate_series(1, 20)"
    )
    number = 100
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        for operation in OPERATIONS:
            while left := operation.plan_remaining(migrating.catalog()):
                for statement in left[0].statements:
                    migrating.connection.execute(statement.encode())
                for make in STATEMENTS.values():
                    number += 1
                    any_database.execute(make(number))
            any_database.execute("UPDATE t SET name = name")
    assert any_database.execute("SELECT count(*) = count(DISTINCT uuid) FROM t") == [(True,)]


def test_a_session_that_dies_in_the_middle_leaves_what_the_next_one_finishes(
    database: Database, tmp_path: Path
) -> None:
    """Killed in every transaction; what was left before is left after."""
    database.execute("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100)")
    kills = 0
    for operation in OPERATIONS:
        while True:
            with open_migrating(database, tmp_path, ("public.t",)) as migrating:
                left = operation.plan_remaining(migrating.catalog())
                if left and left[0].transactional:
                    with pytest.raises(errors.AdminShutdown):
                        send_and_die(migrating, left[0].statements)
                    kills += 1
            if not left:
                break
            with open_migrating(database, tmp_path, ("public.t",)) as migrating:
                assert operation.plan_remaining(migrating.catalog()) == left
                for statement in left[0].statements:
                    migrating.connection.execute(statement.encode())
        database.execute("UPDATE t SET uuid = gen_random_uuid() WHERE uuid IS NULL")
    assert kills == 3


def send_and_die(migrating: Migrating, statements: tuple[str, ...]) -> None:
    with migrating.connection.transaction():
        for statement in statements:
            migrating.connection.execute(statement.encode())
        pid = migrating.connection.info.backend_pid
        migrating.database.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        migrating.connection.execute("SELECT 1")


def test_the_locks_that_are_taken_are_those_that_are_told(
    any_database: Database, tmp_path: Path
) -> None:
    any_database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    with open_migrating(any_database, tmp_path, ("public.t",)) as migrating:
        for operation in (COLUMN, NOT_NULL):
            while left := operation.plan_remaining(migrating.catalog()):
                with migrating.connection.transaction():
                    for statement in left[0].statements:
                        migrating.connection.execute(statement.encode())
                    taken = migrating.connection.execute(
                        "SELECT mode FROM pg_locks WHERE relation = 'public.t'::regclass"
                    ).fetchall()
                modes = {re.sub("(?<=[a-z])(?=[A-Z])", " ", mode[:-4]).upper() for (mode,) in taken}
                [told] = left[0].locks
                assert told.relation == "public.t"
                assert max(modes, key=STRENGTH.index) == told.mode
            any_database.execute("UPDATE t SET uuid = gen_random_uuid() WHERE uuid IS NULL")
