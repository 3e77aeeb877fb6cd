"""What the runbooks let a person paste is tried: SQL on a real PostgreSQL with the demo's schema
after its migration, PromQL on a real Prometheus with an exporter's history."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
import redis

from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.database import Database
from tests.fixtures.planned import expand, make_legacy
from tests.fixtures.presence import require_present
from tests.fixtures.runbooks import Section, find_sections_with

pytestmark = pytest.mark.xdist_group("runbook_queries")
TEMPLATE = "runbooks_template"
# What is found where the alerts fire, as the runbooks name it.
FAULTS = """
CREATE TABLE public.audit_logs_default PARTITION OF public.audit_logs DEFAULT;
INSERT INTO public.audit_logs (created_at, category, action, actor, subject)
SELECT '2039-12-01', 'auth', 'login', 'user:1', 'user:' || n FROM generate_series(1, 9) AS n;
CREATE INDEX users_name_idx ON public.users (name);
CREATE INDEX users_name_idx_ccnew ON public.users (name);
UPDATE pg_index SET indisvalid = false
WHERE indexrelid IN ('public.users_name_idx'::regclass, 'public.users_name_idx_ccnew'::regclass);
ALTER TABLE public.users ADD CONSTRAINT users_email_present CHECK (email <> '') NOT VALID;
"""
SQL = find_sections_with("sql")
PROMQL = find_sections_with("promql")
# Outside a transaction, or not at all.
ALONE = re.compile(r"\bCONCURRENTLY\b")
# The test's transaction stands for that of the block, or nothing could be rolled back.
BOUND = re.compile(r"^(BEGIN|COMMIT);$", re.MULTILINE)


def number(found: list[tuple[Section, str]]) -> list[str]:
    return [f"{section.title}-{index}" for index, (section, _) in enumerate(found)]


@pytest.fixture(scope="module")
def template(
    postgres18: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """The demo's database after the phase `schema`, with everything wrong in it. Only copied."""
    postgres18.create_database(TEMPLATE)
    database = Database(postgres18, TEMPLATE)
    make_legacy(database, 200)
    expand(database, tmp_path_factory.mktemp("runbooks"))
    database.execute(FAULTS)
    yield database
    postgres18.drop_database(TEMPLATE)


@pytest.fixture(scope="module")
def migrated(template: Database) -> Iterator[Database]:
    """A copy in which nothing is committed but what cannot be rolled back."""
    yield from copy(template, "runbooks")


@pytest.fixture
def faulty(template: Database) -> Iterator[Database]:
    """A copy of its own, in which a fault is mended for good."""
    yield from copy(template, "runbooks_faulty")


def copy(template: Database, name: str) -> Iterator[Database]:
    template.server.execute(f"CREATE DATABASE {name} TEMPLATE {template.name}")
    yield Database(template.server, name)
    template.server.drop_database(name)


@pytest.mark.parametrize(("section", "text"), SQL, ids=number(SQL))
def test_each_sql_runs_on_the_demos_schema(section: Section, text: str, migrated: Database) -> None:
    alone = ALONE.search(text) is not None
    with psycopg.connect(migrated.conninfo(), autocommit=alone) as connection:
        # As psql sends it: a statement after the other.
        for statement in split(BOUND.sub("", text)):
            connection.execute(statement.encode())
        if not alone:
            connection.rollback()
    assert section


def split(text: str) -> list[str]:
    """The statements of a block; none of them holds a semicolon."""
    plain = re.sub(r"--.*$", "", text, flags=re.MULTILINE)
    return [statement for part in plain.split(";") if (statement := part.strip())]


def paste(database: Database, title: str, *numbers: int, **replaced: str) -> list[Any]:
    """The SQL blocks of those numbers of a section, committed; the rows of the last statement.
    `replaced` are words of it and what somebody would put in their place."""
    texts = [text for section, text in SQL if section.title == title]
    rows: list[Any] = []
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for chosen in numbers:
            text = texts[chosen]
            for word, other in replaced.items():
                text = text.replace(word, other)
            for statement in split(text):
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
    return rows


def test_invalid_indexes_are_found_and_mended(faulty: Database) -> None:
    found = paste(faulty, "InvalidIndex", 0)
    assert {row[1] for row in found} == {"users_name_idx", "users_name_idx_ccnew"}
    paste(faulty, "InvalidIndex", 2, 3)
    assert paste(faulty, "InvalidIndex", 0) == []


def test_an_unvalidated_constraint_is_found_and_validated(faulty: Database) -> None:
    assert [row[1] for row in paste(faulty, "UnvalidatedConstraint", 0)] == ["users_email_present"]
    paste(faulty, "UnvalidatedConstraint", 1)
    assert paste(faulty, "UnvalidatedConstraint", 0) == []


def test_rows_of_a_default_partition_come_into_one_of_their_own(faulty: Database) -> None:
    [(month, _, rows, *_)] = paste(faulty, "AuditDefaultPartitionUsed", 0)
    assert (month.year, month.month, rows) == (2039, 12, 9)
    # The month of the first look, as the runbook says.
    names = {"2040-01-01": "2039-12-01", "2040-02-01": "2040-01-01", "2040_01": "2039_12"}
    before = faulty.execute("SELECT count(*) FROM public.audit_logs")
    paste(faulty, "AuditDefaultPartitionUsed", 1, 2, **names)
    assert faulty.execute("SELECT count(*) FROM public.audit_logs_default") == [(0,)]
    assert faulty.execute("SELECT count(*) FROM public.audit_logs_2039_12") == [(9,)]
    assert faulty.execute("SELECT count(*) FROM public.audit_logs") == before
    assert paste(faulty, "AuditDefaultPartitionUsed", 3) == []


@pytest.mark.parametrize("block", [1, 2])
def test_disabled_triggers_are_found_and_ours_fire_always_again(
    faulty: Database, block: int
) -> None:
    disabled = "ALL" if block == 2 else "USER"
    faulty.execute(f"ALTER TABLE public.users DISABLE TRIGGER {disabled}")
    assert len(paste(faulty, "TriggerDisabled", 0)) >= 3
    paste(faulty, "TriggerDisabled", block)
    assert paste(faulty, "TriggerDisabled", 0) == []
    ours = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname LIKE 'phasegate%' AND tgrelid = "
    assert faulty.execute(ours + "'public.users'::regclass") == [("A",)]


def test_the_root_of_a_queue_for_a_lock_is_named(faulty: Database) -> None:
    with (
        closing(psycopg.connect(faulty.conninfo())) as root,
        psycopg.connect(faulty.conninfo(), autocommit=True) as waiting,
        ThreadPoolExecutor(1) as pool,
    ):
        root.execute("LOCK public.users IN ACCESS EXCLUSIVE MODE")
        queued = pool.submit(waiting.execute, "SELECT count(*) FROM public.users")
        while not (found := paste(faulty, "LockQueue", 0)):
            assert not queued.done()
        [(waiter, waits, *_)] = found
        assert (waiter, waits is not None) == (waiting.info.backend_pid, True)
        assert found[0][4] == root.info.backend_pid
        texts = [text for section, text in SQL if section.title == "LockQueue"]
        [roots, _] = split(texts[1])
        assert [row[0] for row in faulty.execute(roots)] == [root.info.backend_pid]
        paste(faulty, "LockQueue", 2, **{"12345": str(root.info.backend_pid)})
        assert queued.result(10).fetchall() != []


def test_negative_keys_go_on_where_the_range_ends(faulty: Database) -> None:
    insert = "INSERT INTO public.users (email, name) VALUES (gen_random_uuid()::text, 'new')"
    faulty.execute("SELECT setval(pg_get_serial_sequence('public.users', 'id'), 2147483647)")
    with pytest.raises(psycopg.Error, match="maximum value"):
        faulty.execute(insert)
    paste(faulty, "IntegerKeyNearEnd", 2)
    assert faulty.execute(f"{insert} RETURNING id") == [(-2147483648,)]


def test_wrong_keys_are_unlinked_and_the_neighbours_stay(cache_server: CacheServer) -> None:
    program = shutil.which("redis-cli")
    require_present("redis-cli", program is not None)
    [text] = [
        text.partition("phasegate ")[0]
        for section, text in find_sections_with("sh")
        if section.title == "LowCacheHitRate" and "UNLINK" in text
    ]
    with redis.Redis.from_url(cache_server.url()) as client:
        client.mset({"perm:1": "x", 'perm:it\'s a "name"': "x", "permit:1": "x", "session:1": "x"})
        environment = {**os.environ, "REDIS_URL": cache_server.url()}
        subprocess.run(["sh", "-ec", text], check=True, env=environment, capture_output=True)
        left = set(client.scan_iter("perm*")) | set(client.scan_iter("session:*"))
        client.delete("permit:1", "session:1")
    assert left == {b"permit:1", b"session:1"}


@pytest.mark.parametrize(("section", "text"), PROMQL, ids=number(PROMQL))
def test_each_promql_is_answered_without_an_error_or_a_warning(
    section: Section, text: str, history_prometheus: str
) -> None:
    query = urllib.parse.urlencode({"query": text})
    with urllib.request.urlopen(f"{history_prometheus}/api/v1/query?{query}", timeout=10) as reply:  # noqa: S310
        answer = json.load(reply)
    assert answer["status"] == "success", section.place
    assert not answer.get("warnings"), answer["warnings"]
    assert not answer.get("infos"), answer["infos"]
