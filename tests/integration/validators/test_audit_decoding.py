"""Logical decoding on real servers: every committed change against the rows of the audit log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from phasegate.contract.audit_proofs import Decoding
from phasegate.servers.postgres import PostgresServer, find_postgres
from phasegate.validators import audit_decoding
from tests.conftest import MAJORS, SETTINGS
from tests.fixtures.audited import audit_table, make_users, read_audit
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present

WATCH = "[{table: public.users}]"
BOTH = "[{table: public.users}, {table: public.roles}]"
BY_APPLICATION = "[{table: public.users, writer: application}]"
SECONDS = 1.0


@pytest.fixture(scope="module", params=MAJORS, ids=lambda major: f"postgres{major}")
def logical_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    require_present(f"PostgreSQL {request.param}", find_postgres(request.param) is not None)
    with PostgresServer(request.param, settings=SETTINGS | {"wal_level": "logical"}) as server:
        yield server


@pytest.fixture
def audited(logical_server: PostgresServer) -> Iterator[Database]:
    database = Database(logical_server, f"test_{time.time_ns()}")
    logical_server.create_database(database.name)
    make_users(database)
    yield database
    assert slots(database) == 0
    logical_server.drop_database(database.name)


def slots(database: Database) -> int:
    [[count]] = database.execute("SELECT count(*) FROM pg_replication_slots")
    return int(count)


def decode(
    database: Database, folder: Path, watch: str, *changes: str, seconds: float = SECONDS
) -> Decoding:
    """Decodes while the changes are made, one after the other, in a thread."""
    failed: list[BaseException] = []

    def change() -> None:
        try:
            began = time.monotonic()
            while not slots(database) and time.monotonic() - began < 10:
                time.sleep(0.02)
            time.sleep(0.2)
            for one in changes:
                database.execute(one)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=change)
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        if changes:
            thread.start()
        found = audit_decoding.decode(connection, read_audit(folder, watch), seconds)
    if changes:
        thread.join()
    assert failed == []
    return found


CHANGES = (
    "INSERT INTO users VALUES (4, 'd', 'n'); UPDATE users SET name = 'm'",
    "BEGIN; DELETE FROM users WHERE id = 1; SAVEPOINT s; DELETE FROM users WHERE id = 2;"
    "ROLLBACK TO s; SAVEPOINT t; INSERT INTO users VALUES (1); RELEASE t; COMMIT",
    "BEGIN; UPDATE users SET name = 'x'; ROLLBACK",
    "TRUNCATE users",
)


def test_every_change_with_its_row(audited: Database, tmp_path: Path) -> None:
    found = decode(audited, tmp_path, WATCH, *CHANGES)
    [users] = found.tables
    assert (found.doubt, found.missing, found.other_rows) == ("", 0, 0)
    expected = {"INSERT": 2, "UPDATE": 4, "DELETE": 1, "TRUNCATE": 1}
    assert (users.changes, users.matched, users.blurred) == (expected, expected, {})
    assert (found.log_rows, users.transactions) == (8, 3)


@pytest.mark.parametrize(
    ("spoil", "change", "kind"),
    [
        ("DISABLE TRIGGER audit_row_change", "UPDATE users SET name = 'x' WHERE id = 1", "UPDATE"),
        ("DISABLE TRIGGER audit_row_change", "DELETE FROM users WHERE id = 1", "DELETE"),
        ("DISABLE TRIGGER audit_row_change", "INSERT INTO users VALUES (7)", "INSERT"),
        ("DISABLE TRIGGER audit_truncate", "TRUNCATE users", "TRUNCATE"),
        (
            "ENABLE TRIGGER audit_row_change",
            "SET session_replication_role = replica; DELETE FROM users WHERE id = 1",
            "DELETE",
        ),
    ],
    ids=["update", "delete", "insert", "truncate", "replica-role"],
)
def test_one_change_without_its_row_is_named(
    audited: Database, tmp_path: Path, spoil: str, change: str, kind: str
) -> None:
    audited.execute(f"ALTER TABLE users {spoil}")
    login = "INSERT INTO audit_logs (line) VALUES ('login')"
    found = decode(audited, tmp_path, WATCH, login, change, login)
    [gap] = found.gaps
    assert (gap.tables, gap.kinds, gap.missing) == (("public.users",), (kind,), 1)
    assert gap.xid > 0
    assert (found.missing, found.other_rows) == (1, 2)


def test_partitions_count_to_their_root_and_one_truncate_to_all_its_tables(
    audited: Database, tmp_path: Path
) -> None:
    audited.execute(
        "CREATE TABLE roles (id int, name text) PARTITION BY LIST (id);"
        "CREATE TABLE roles_1 PARTITION OF roles FOR VALUES IN (1);"
        "CREATE TABLE roles_2 PARTITION OF roles FOR VALUES IN (2)"
    )
    audit_table(audited, "public", "roles")
    for part in ("roles_1", "roles_2"):
        audited.execute(
            f"CREATE TRIGGER audit_truncate AFTER TRUNCATE ON {part} "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_row_change()"
        )
    changes = (
        "INSERT INTO roles VALUES (1), (2); UPDATE roles SET id = 2 WHERE id = 1",
        "CREATE TABLE roles_3 PARTITION OF roles FOR VALUES IN (3); INSERT INTO roles VALUES (3)",
        "TRUNCATE users, roles",
    )
    found = decode(audited, tmp_path, BOTH, *changes)
    roles, users = found.tables
    assert (found.doubt, found.missing) == ("", 0), found
    assert roles.matched == {"INSERT": 4, "DELETE": 1, "TRUNCATE": 1}
    assert users.matched == {"TRUNCATE": 1}


def test_a_hidden_gap_of_one_of_two_tables_is_told_of_both(
    audited: Database, tmp_path: Path
) -> None:
    audited.execute("CREATE TABLE roles (id int)")
    found = decode(
        audited, tmp_path, BOTH, "BEGIN; INSERT INTO roles VALUES (1);DELETE FROM users; COMMIT"
    )
    [gap] = found.gaps
    assert (gap.tables, gap.missing) == (("public.roles", "public.users"), 1)


def test_a_marked_backfill_is_left_out_and_an_unmarked_one_is_not(
    audited: Database, tmp_path: Path
) -> None:
    backfill = "SET LOCAL phasegate.backfill = 'on'; UPDATE users SET name = 'b'; COMMIT"
    mark = "SELECT pg_logical_emit_message(true, 'phasegate.backfill', 'on');"
    found = decode(audited, tmp_path, WATCH, f"BEGIN; {mark} {backfill}")
    assert (found.missing, found.tables[0].marked) == (0, {"UPDATE": 3})
    assert decode(audited, tmp_path, WATCH, f"BEGIN; {backfill}").missing == 3


def test_names_and_values_of_any_kind(audited: Database, tmp_path: Path) -> None:
    name = '"a.b, c: TRUNCATE:"."T ""x"" é {0} %s\n: UPDATE:"'
    audited.execute(f'CREATE SCHEMA "a.b, c: TRUNCATE:"; CREATE TABLE {name} (v text, u text)')
    audit_table(audited, "a.b, c: TRUNCATE:", 'T "x" é {0} %s\n: UPDATE:')
    quoted = name.replace('"', '\\"').replace("\n", "\\n")
    watch = f'[{{table: "{quoted}"}}]'
    changes = (
        f"INSERT INTO {name} VALUES (repeat('x', 1000000), 'table public.users: DELETE: (: '),"
        f"('COMMIT', ': TRUNCATE: (no-flags)'); UPDATE {name} SET v = E'a\\nBEGIN'",
        f"TRUNCATE users, {name} CASCADE",
    )
    found = decode(audited, tmp_path, watch, *changes)
    assert (found.doubt, found.missing) == ("", 0), found
    [odd] = found.tables
    assert odd.changes == {"INSERT": 2, "UPDATE": 2, "TRUNCATE": 1}


def test_a_large_transaction_is_read_in_little_memory(audited: Database, tmp_path: Path) -> None:
    import tracemalloc  # noqa: PLC0415

    tracemalloc.start()
    try:
        many = "INSERT INTO users SELECT i FROM generate_series(10, 60000) AS i"
        found = decode(audited, tmp_path, WATCH, many, seconds=2.5)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert (found.missing, found.tables[0].matched) == (0, {"INSERT": 59_991})


def test_the_application_s_rows_may_come_later_but_not_never(
    audited: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_decoding, "GRACE_SECONDS", 1.5)
    audited.execute("ALTER TABLE users DISABLE TRIGGER ALL")
    change = "UPDATE users SET name = 'x' WHERE id = 1"
    row = "INSERT INTO audit_logs (line) VALUES ('by application')"
    found = decode(audited, tmp_path, BY_APPLICATION, change, "SELECT pg_sleep(1.2)", row)
    assert (found.doubt, found.missing) == ("", 0), found
    assert found.tables[0].matched == {"UPDATE": 1}
    found = decode(audited, tmp_path, BY_APPLICATION, row, change)
    assert (found.missing, [gap.xid for gap in found.gaps]) == (1, [0])
    found = decode(audited, tmp_path, BY_APPLICATION, f"BEGIN; {row}; {change}; COMMIT")
    assert (found.missing, found.tables[0].matched) == (0, {"UPDATE": 1})
    found = decode(audited, tmp_path, BY_APPLICATION, change, row, row)
    assert (found.missing, found.tables[0].blurred) == (0, {"UPDATE": 1})


def without_replication(database: Database) -> str:
    database.execute("DROP ROLE IF EXISTS plain_judge; CREATE ROLE plain_judge LOGIN PASSWORD 'p'")
    return database.conninfo("plain_judge", "p")


def unlogged(database: Database) -> str:
    database.execute("ALTER TABLE users SET UNLOGGED")
    return database.conninfo()


def absent(database: Database) -> str:
    database.execute("DROP TABLE users")
    return database.conninfo()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (without_replication, ("its role may not replicate", "ALTER ROLE … REPLICATION")),
        (unlogged, ("public.users is unlogged", 'ALTER TABLE "public"."users" SET LOGGED')),
        (absent, ("there is no table public.users", "correct audit.table and audit.watch")),
    ],
    ids=["privilege", "unlogged", "absent"],
)
def test_what_cannot_be_decoded_proves_nothing(
    audited: Database,
    tmp_path: Path,
    spoil: Callable[[Database], str],
    expected: tuple[str, str],
) -> None:
    conninfo = spoil(audited)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        found = audit_decoding.decode(connection, read_audit(tmp_path, WATCH), SECONDS)
    assert found.doubt.startswith(expected[0]), found.doubt
    assert found.remedy == expected[1]
    audited.execute("DROP ROLE IF EXISTS plain_judge")


def test_a_server_that_does_not_decode_says_so(any_database: Database, tmp_path: Path) -> None:
    make_users(any_database)
    found = decode(any_database, tmp_path, WATCH)
    assert found.doubt == "wal_level is replica"
    assert found.remedy.startswith("set wal_level = logical")


def test_an_open_transaction_keeps_it_from_starting(
    audited: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = audit_decoding._LIMITS | {"statement_timeout": "1s"}
    monkeypatch.setattr(audit_decoding, "_LIMITS", limits)
    with psycopg.connect(audited.conninfo()) as other:
        other.execute("UPDATE users SET name = 'x'")
        found = decode(audited, tmp_path, WATCH)
    assert found.doubt == "the slot was not ready in time: a transaction is open for long"


KILLED = """
import sys, psycopg
from pathlib import Path
from tests.fixtures.audited import read_audit
from phasegate.validators.audit_decoding import decode
with psycopg.connect(sys.argv[3], autocommit=True) as connection:
    decode(connection, read_audit(Path(sys.argv[1]), sys.argv[2]), 60.0)
"""


def test_killed_in_the_middle_it_leaves_no_slot(audited: Database, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), WATCH, audited.conninfo()],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    try:
        began = time.monotonic()
        while not slots(audited):
            assert time.monotonic() - began < 10
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = time.monotonic()
    while slots(audited):
        assert time.monotonic() - killed < 5
        time.sleep(0.05)
