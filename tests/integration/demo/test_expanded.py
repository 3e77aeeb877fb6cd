"""What the expanded schema promises: no UUID is missing, no audit row lost, no change unseen."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from phasegate.demo.sql_steps import apply_step, read_steps
from tests.fixtures.database import Database

Connection = psycopg.AsyncConnection[tuple[object, ...]]
AUDITED = "SELECT action, subject FROM audit_logs WHERE category = 'data' ORDER BY id"


@pytest.fixture
async def expanded(any_database: Database) -> Database:
    """The expanded schema, made while an old application inserts explicit nulls and audit rows."""
    async with await connect(any_database) as connection:
        await connection.execute("SET demo.rows = 12000")
        for step in read_steps("legacy"):
            await apply_step(connection, step)
        writing = asyncio.create_task(keep_writing(any_database))
        for step in read_steps("expanded"):
            await apply_step(connection, step)
            await asyncio.sleep(0.02)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    return any_database


async def connect(database: Database) -> Connection:
    return await psycopg.AsyncConnection.connect(database.conninfo(), autocommit=True)


async def keep_writing(database: Database) -> None:
    async with await connect(database) as connection:
        for number in range(1_000_000):
            address = (f"late{number}",)
            try:
                await connection.execute(
                    "INSERT INTO users (email, name, uuid) VALUES (%s, 'late', NULL)", address
                )
            except psycopg.errors.UndefinedColumn:
                await connection.execute(
                    "INSERT INTO users (email, name) VALUES (%s, 'late')", address
                )
            await connection.execute(
                "INSERT INTO audit_logs (category, action, actor, subject)"
                " VALUES ('auth', 'late', 'x', %s)",
                (str(number),),
            )


async def test_nothing_is_lost_and_no_uuid_missing(expanded: Database) -> None:
    assert expanded.execute(
        "SELECT count(*) - count(uuid), count(*) - count(DISTINCT uuid) FROM users"
    ) == [(0, 0)]
    [(late, history, numbered)] = expanded.execute(
        "SELECT count(*) FILTER (WHERE action = 'late'),"
        " count(*) FILTER (WHERE category <> 'data' AND action <> 'late'),"
        " count(DISTINCT id) = count(*) FROM audit_logs"
    )
    [(users,)] = expanded.execute("SELECT count(*) FROM users WHERE name = 'late'")
    assert users - late in {0, 1}
    assert late > 10
    assert (history, numbered) == (6_000, True)


async def test_old_rows_stay_and_new_ones_go_to_their_month(expanded: Database) -> None:
    sizes = dict(
        expanded.execute("SELECT tableoid::regclass::text, count(*) FROM audit_logs GROUP BY 1")
    )
    [(month,)] = expanded.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    assert set(sizes) == {"audit_logs_legacy", f"audit_logs_{month}"}
    assert expanded.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass"
    ) == [(5,)]


async def test_every_change_is_audited_also_in_replica_role(expanded: Database) -> None:
    expanded.execute("DELETE FROM audit_logs WHERE category = 'data'")
    expanded.execute(
        "SET session_replication_role = replica;"
        " INSERT INTO users (email, name, uuid) VALUES ('a', 'a', NULL);"
        " UPDATE users SET name = 'b', uuid = NULL WHERE email = 'a';"
        " DELETE FROM users WHERE email = 'a'"
    )
    expanded.execute("TRUNCATE users CASCADE")
    events = expanded.execute(AUDITED)
    assert [action for action, _ in events] == ["insert", "update", "delete", "truncate"]
    assert len({subject for _, subject in events[:3]}) == 1


async def test_backfill_that_says_so_is_not_audited(expanded: Database) -> None:
    expanded.execute("DELETE FROM audit_logs WHERE category = 'data'")
    expanded.execute(
        "BEGIN; SET LOCAL phasegate.backfill = 'on'; UPDATE users SET name = 'x' WHERE id < 50;"
        " COMMIT; UPDATE users SET name = 'y' WHERE id = 7"
    )
    assert expanded.execute(AUDITED) == [("update", "users:7")]


async def test_application_without_rights_on_the_log_is_audited(expanded: Database) -> None:
    expanded.execute("DELETE FROM audit_logs WHERE category = 'data'")
    expanded.execute(
        "DROP ROLE IF EXISTS plain_writer; CREATE ROLE plain_writer;"
        " GRANT UPDATE, SELECT ON users TO plain_writer; SET ROLE plain_writer;"
        " UPDATE users SET name = 'z' WHERE id = 9"
    )
    assert expanded.execute(AUDITED) == [("update", "users:9")]
    expanded.execute("DROP OWNED BY plain_writer; DROP ROLE plain_writer")


async def test_second_run_stops_and_changes_nothing(expanded: Database) -> None:
    first, *_ = read_steps("expanded")
    before = expanded.execute("SELECT count(*), max(oid) FROM pg_class")
    async with await connect(expanded) as connection:
        with pytest.raises(psycopg.errors.DuplicateColumn):
            await apply_step(connection, first)
    assert expanded.execute("SELECT count(*), max(oid) FROM pg_class") == before
