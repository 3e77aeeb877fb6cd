"""The log's move looked at hard: what it must not lose, not open, and not hold up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest

from phasegate.contract.coverage_gaps import find_gaps, find_log_gaps
from phasegate.contract.errors import StepFailed
from phasegate.contract.names import TableName
from phasegate.contract.settings import Audit, Settings, Watch
from phasegate.migrate.model import Action, Operation
from phasegate.migrate.operations.audit_triggers import AuditTriggers
from phasegate.migrate.operations.partition_audit import PartitionAudit
from phasegate.migrate.operations.premake import Premake
from phasegate.migrate.periods import parse_bound
from phasegate.migrate.phases import make_steps
from phasegate.migrate.programs import find_programs
from tests.fixtures.audited import read_facts
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, open_migrating

LOG, USERS = TableName("public", "audit_logs"), TableName("public", "users")
EVENTS = TableName("public", "events")
PARTITION = PartitionAudit(LOG, "created_at", "month", "category")
PREMAKE = Premake(LOG, "month", 3)
TRIGGERS = AuditTriggers(LOG, "created_at", (USERS, EVENTS), "category")
SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE events (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
CREATE TABLE audit_logs (
    id bigint GENERATED ALWAYS AS IDENTITY
        (SEQUENCE NAME log_ids START WITH 7 INCREMENT BY 10 CACHE 1) PRIMARY KEY,
    created_at timestamptz DEFAULT now(), category text NOT NULL, action text NOT NULL,
    actor text NOT NULL, subject text NOT NULL, details jsonb NOT NULL DEFAULT '{}'
) WITH (fillfactor = 90);
CREATE INDEX ON audit_logs (category, created_at);
INSERT INTO audit_logs (created_at, category, action, actor, subject)
SELECT now() - n * interval '1 second', 'auth', 'login', 'a', 'b' FROM generate_series(1, 20000) n;
"""
NEXT = "INSERT INTO audit_logs (category, action, actor, subject) VALUES ('a', 'b', 'c', 'd') "


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(SCHEMA)
    names = ("public.users", "public.events", "public.audit_logs")
    watch = tuple(Watch(table=name) for name in (USERS, EVENTS))
    settings = Settings(audit=Audit(table=LOG, category_column="category", watch=watch))
    with open_migrating(any_database, tmp_path, names, settings) as found:
        yield found


def dump_schema(database: Database) -> str:
    """As pg_dump writes it, without what is drawn anew each time."""
    newest = max(find_programs(), key=lambda one: one.major)
    command = [str(newest.folder / "pg_dump"), "-s", "-n", "public", "-n", "phasegate"]
    done = subprocess.run(
        [*command, "-d", database.conninfo()], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))


def send(migrating: Migrating, action: Action) -> None:
    """As the runner sends it, and no more: it may be dead by then."""
    with migrating.connection.transaction() if action.transactional else nullcontext():
        for statement in action.statements:
            migrating.connection.execute(statement.encode())


def test_infrastructure_twice_leaves_an_identical_dump_of_the_schema(migrating: Migrating) -> None:
    steps = make_steps(migrating.settings, migrating.catalog())
    [step] = [one for one in steps if one.name == "03-add-audit-tables"]
    before = dump_schema(migrating.database)
    for operation in step.operations:
        assert operation.find_refusals(migrating.catalog()) == ()
        assert migrating.apply(operation) > 0
    once = dump_schema(migrating.database)
    assert once != before
    for operation in step.operations:
        assert migrating.apply(operation) == 0
    assert dump_schema(migrating.database) == once


def test_the_verdict_of_the_exporters_own_facts_is_no_gap(
    migrating: Migrating, tmp_path: Path
) -> None:
    for operation in (PARTITION, PREMAKE, TRIGGERS):
        migrating.apply(operation)
    audit = migrating.settings.audit
    assert audit is not None
    facts = read_facts(migrating.database, audit)
    assert find_log_gaps(facts) == []
    assert [find_gaps(audit, facts, one) for one in facts.watched] == [[], []]
    # Each kind of harm is a gap, and is what is left to do.
    for harm in (
        "ALTER TABLE users DISABLE TRIGGER phasegate_audit",
        "ALTER TABLE events_1 DISABLE TRIGGER phasegate_audit",
        "DROP TRIGGER phasegate_audit_truncate ON events_2",
        "DROP TRIGGER phasegate_audit ON events",
        "CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30)",
    ):
        migrating.database.execute(harm)
        facts = read_facts(migrating.database, audit)
        assert any(find_gaps(audit, facts, one) for one in facts.watched), harm
        assert migrating.apply(TRIGGERS) == 1, harm
        facts = read_facts(migrating.database, audit)
        assert [find_gaps(audit, facts, one) for one in facts.watched] == [[], []], harm


def test_the_swap_reads_no_rows_and_the_sequence_counts_on(migrating: Migrating) -> None:
    database = migrating.database
    database.execute("DELETE FROM audit_logs WHERE id > 199000")
    notices: list[str] = []
    migrating.connection.add_notice_handler(lambda one: notices.append(one.message_primary or ""))
    while left := PARTITION.plan_remaining(migrating.catalog()):
        swaps = len(left) == 1
        if swaps:
            migrating.connection.execute("SET client_min_messages = debug1")
        send(migrating, left[0])
    implied = [one for one in notices if "is implied by existing constraints" in one]
    assert any("audit_logs_legacy" in one for one in implied)
    assert not [one for one in notices if one.startswith(("verifying table", "rewriting table"))]
    built = [one for one in notices if one.startswith("building index")]
    assert not [one for one in built if "audit_logs_legacy" in one]
    migrating.connection.execute("SET client_min_messages = warning")
    migrating.apply(PREMAKE)
    assert database.execute(f"{NEXT} RETURNING id") == [(7 + 10 * 20000,)]
    assert database.execute("SELECT nextval('log_ids')") == [(7 + 10 * 20001,)]
    assert database.execute("SELECT to_regclass('log_ids_legacy')") == [(None,)]
    [made] = [one for one in migrating.catalog().relations[LOG].columns if one.name == "id"]
    assert made.identity == "a"
    assert database.execute(
        "SELECT reloptions FROM pg_class WHERE relname ~ '^audit_logs_20' LIMIT 1"
    ) == [(["fillfactor=90"],)]


def test_rows_from_beyond_the_end_stop_it_before_the_log_refuses_any(migrating: Migrating) -> None:
    database = migrating.database
    database.execute("UPDATE audit_logs SET created_at = now() + interval '99 days' WHERE id < 40")
    with pytest.raises(StepFailed, match=r"4 rows of public\.audit_logs are from"):
        migrating.apply(PARTITION)
    relation = migrating.catalog().relations[LOG]
    assert not [one for one in relation.constraints if one.type == "c" and "<" in one.definition]


def test_an_end_that_came_near_meanwhile_is_announced_anew(migrating: Migrating) -> None:
    catalog = migrating.catalog()
    while len(left := PARTITION.plan_remaining(catalog)) > 2:
        send(migrating, left[0])
        catalog = migrating.catalog()
    [first] = [one for one in catalog.relations[LOG].constraints if "<" in one.definition]
    later = replace(catalog, now=catalog.now + timedelta(days=38).total_seconds())
    left = PARTITION.plan_remaining(later)
    assert left[0].what.startswith("announce that public.audit_logs ends at")
    send(migrating, left[0])
    [second] = [
        one for one in migrating.catalog().relations[LOG].constraints if "<" in one.definition
    ]
    assert (second.name, second.definition != first.definition) == (first.name, True)
    assert migrating.apply(PARTITION) == 2


def test_the_end_is_never_near(migrating: Migrating) -> None:
    catalog = migrating.catalog()
    for length, day in product(("day", "week", "month"), range(1, 40, 3)):
        now = datetime(2027, 12, 1, 23, 59, tzinfo=UTC) + timedelta(days=day)
        operation = PartitionAudit(LOG, "created_at", length)
        left = operation.plan_remaining(replace(catalog, now=now.timestamp()))
        [written] = [one.what for one in left if "public.audit_logs ends at" in one.what]
        cut = datetime.fromisoformat(written.partition("ends at ")[2])
        assert timedelta(days=7) < cut - now < timedelta(days=40)


def test_a_partition_is_no_more_open_than_the_log_was(migrating: Migrating) -> None:
    database = migrating.database
    database.execute(
        "CREATE ROLE anybody; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO anybody, PUBLIC"
    )
    try:
        for operation in (PARTITION, PREMAKE):
            migrating.apply(operation)
        assert (
            database.execute(
                "SELECT relname::text FROM pg_class WHERE relname ~ '^audit_logs'"
                " AND relkind IN ('r', 'p') AND has_table_privilege('anybody', oid, 'SELECT')"
            )
            == []
        )
    finally:
        database.execute(
            "DROP OWNED BY anybody; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES"
            " FROM PUBLIC; DROP ROLE anybody"
        )


def test_a_name_that_is_taken_is_another_one_or_refused(migrating: Migrating) -> None:
    database = migrating.database
    now = datetime.fromtimestamp(migrating.catalog().now, UTC)
    migrating.apply(PARTITION)
    database.execute(f"CREATE TABLE audit_logs_{now:%Y_%m} (id int)")
    database.execute(f"CREATE VIEW audit_logs_{now.year + 1}_01 AS SELECT 1 AS a")
    migrating.apply(Premake(LOG, "month", 14))
    catalog = migrating.catalog()
    bounds = [parse_bound(catalog.relations[one].bound) for one in catalog.relations[LOG].children]
    assert len(bounds) >= 14
    assert f"audit_logs_{now.year + 1}_01_2" in {
        one.table for one in catalog.relations[LOG].children
    }


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE audit_logs ADD CHECK (category IN ('auth', 'user')) NOT VALID",
        "ALTER TABLE audit_logs ADD CHECK (action <> 'truncate')",
        "CREATE TYPE kind AS ENUM ('auth'); ALTER TABLE audit_logs ALTER category"
        " TYPE kind USING 'auth'",
    ],
)
def test_a_log_that_would_refuse_our_rows_gets_no_triggers(migrating: Migrating, harm: str) -> None:
    migrating.database.execute(harm)
    rows = migrating.database.execute("SELECT count(*) FROM audit_logs")
    with pytest.raises(StepFailed, match=r"audit_logs|kind"):
        migrating.apply(TRIGGERS)
    assert migrating.database.execute("SELECT count(*) FROM audit_logs") == rows
    migrating.database.execute("INSERT INTO users VALUES (1, 'n')")
    assert migrating.catalog().relations[USERS].triggers == ()


def test_the_function_belongs_to_the_logs_owner_and_the_log_never_watches_itself(
    migrating: Migrating,
) -> None:
    database = migrating.database
    database.execute(
        "CREATE ROLE keeper; GRANT USAGE ON SCHEMA public TO keeper;"
        "ALTER TABLE audit_logs OWNER TO keeper"
    )
    try:
        migrating.apply(TRIGGERS)
        database.execute("INSERT INTO users VALUES (1, 'n')")
        assert database.execute(
            "SELECT p.proowner::regrole::text FROM pg_proc p WHERE proname ~ '^audit_public'"
        ) == [("keeper",)]
        assert database.execute("SELECT subject FROM audit_logs WHERE category = 'data'") == [
            ("users:1",)
        ]
        own: Operation = AuditTriggers(LOG, "created_at", (LOG,), "category")
        assert [
            "the log itself" in one.found for one in own.find_refusals(migrating.catalog())
        ] == [True]
        migrating.undo(TRIGGERS)
    finally:
        database.execute("DROP OWNED BY keeper CASCADE; DROP ROLE keeper")


def test_a_half_proved_not_null_is_proved_before_the_swap(migrating: Migrating) -> None:
    """On 18 the catalog says NOT NULL as soon as it is announced."""
    while left := PARTITION.plan_remaining(migrating.catalog()):
        send(migrating, left[0])
        if left[0].what.startswith("announce that public.audit_logs.created_at"):
            following = PARTITION.plan_remaining(migrating.catalog())[0].what
            assert following == "prove that public.audit_logs.created_at is not null"
    assert migrating.catalog().relations[LOG].kind == "p"
