"""The triggers of watched tables on real servers: each way in which a change could go unaudited."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from phasegate.contract import metrics
from phasegate.contract.audit_facts import AuditFacts
from phasegate.contract.coverage import Window, evaluate_coverage
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.storage import Storage
from tests.fixtures.database import Database
from tests.fixtures.snapshots import value_of
from tests.integration.exporter.conftest import StartExporter

# An audit trail as somebody wrote it by hand.
AUDITED = """
CREATE FUNCTION audit_row_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    before jsonb;
    after jsonb;
BEGIN
    IF coalesce(current_setting('phasegate.backfill', true), '') = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        before := to_jsonb(OLD);
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        after := to_jsonb(NEW);
    END IF;
    INSERT INTO public.audit_logs (category, action, actor, subject, details)
    VALUES ('data', lower(TG_OP), 'database:' || session_user,
            TG_TABLE_NAME || ':' || coalesce(after ->> 'id', before ->> 'id', ''),
            jsonb_strip_nulls(jsonb_build_object('before', before, 'after', after)));
    RETURN NULL;
END
$body$;
CREATE TRIGGER audit_row_change AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION audit_row_change();
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION audit_row_change();
ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change;
ALTER TABLE users ENABLE ALWAYS TRIGGER audit_truncate;
"""
TABLES = f"""
CREATE TABLE audit_logs (
    id int8 GENERATED ALWAYS AS IDENTITY, created_at timestamptz NOT NULL DEFAULT now(),
    category text, action text, actor text, subject text, details jsonb
);
CREATE TABLE users (id int PRIMARY KEY, name text);
{AUDITED}
"""
PARTITIONED = """
CREATE TABLE events (id int, name text) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (200);
CREATE TRIGGER audit_row_change AFTER INSERT OR UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION audit_row_change();
ALTER TABLE events ENABLE ALWAYS TRIGGER audit_row_change;
ALTER TABLE events_1 ENABLE ALWAYS TRIGGER audit_row_change;
ALTER TABLE events_2 ENABLE ALWAYS TRIGGER audit_row_change;
""" + "".join(
    f"""
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_row_change();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER audit_truncate;
"""
    for table in ("events", "events_1", "events_2")
)
CONFIG = """
exporter: {evidence_block: 1s}
audit: {table: public.audit_logs, watch: [{table: public.users}]}
"""
OF_EVENTS = CONFIG.replace("public.users", "public.events")
FUNCTION = "public.audit_row_change"
REPLACE = "DROP TRIGGER audit_row_change ON users; CREATE TRIGGER audit_row_change"
OTHER = """
CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- INSERT INTO public.audit_logs
    INSERT INTO audit_logs_copy VALUES (1);
    RETURN NULL;
END $$;
"""


@pytest.fixture
def database(any_database: Database) -> Database:
    return any_database


async def look(exporter: Exporter) -> tuple[Judgement, float]:
    """The verdict on what is there now, and what the gauge says."""
    # Twice: one that was under way may have looked before the change.
    for _ in range(2):
        await exporter.runner.run_scheduled(5)
    snapshot = await exporter.scrape(5, frozenset())
    facts = facts_of(exporter)
    judged = evaluate_coverage(exporter.settings, facts, time.time(), Window(0, 0, 60), None)
    audit = exporter.settings.audit
    assert audit is not None
    name = audit.watch[0].table
    return judged, value_of(snapshot, metrics.AUDIT_COVERAGE_GAPS, *name)


def facts_of(exporter: Exporter) -> AuditFacts:
    facts = exporter.evidence.audit(0, exporter.targets)
    assert facts is not None
    return facts


async def check_remedy(exporter: Exporter, database: Database, judged: Judgement) -> None:
    """The SQL that the verdict gives closes the gap."""
    for remedy in judged.remedy.split("; and "):
        database.execute(remedy)
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.PASSED, 0), judged


async def test_the_triggers_of_the_demo_cover_everything(start_exporter: StartExporter) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.PASSED, 0), judged
    assert judged.reason.startswith("covered: public.users (relations: 1)")
    [pinning] = [note for note in judged.facts["notes"] if "pin it" in note]
    assert f"audit.function: {{name: '{FUNCTION}', sha256: " in pinning


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "DROP TRIGGER audit_row_change ON users",
            "INSERT, UPDATE, DELETE not audited: no trigger",
        ),
        ("DROP TRIGGER audit_truncate ON users", "TRUNCATE not audited: no trigger calls"),
        ("ALTER TABLE users DISABLE TRIGGER audit_row_change", "audit_row_change is disabled"),
        ("ALTER TABLE users DISABLE TRIGGER ALL", "audit_truncate is disabled"),
        ("ALTER TABLE users ENABLE TRIGGER audit_row_change", "does not fire under session_repl"),
        ("ALTER TABLE users ENABLE REPLICA TRIGGER audit_truncate", "replica only"),
        (
            f"{REPLACE} AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW "
            "WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION audit_row_change();"
            "ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change",
            "INSERT, UPDATE, DELETE not audited: the trigger audit_row_change has a WHEN",
        ),
        (
            f"{REPLACE} AFTER INSERT OR UPDATE OF name OR DELETE ON users FOR EACH ROW "
            "EXECUTE FUNCTION audit_row_change();"
            "ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change",
            "public.users: UPDATE not audited: the trigger audit_row_change fires for an update",
        ),
        (
            f"{REPLACE} BEFORE INSERT OR UPDATE OR DELETE ON users FOR EACH ROW "
            "EXECUTE FUNCTION audit_row_change();"
            "ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change",
            "does not fire AFTER",
        ),
        (
            f"{OTHER} {REPLACE} AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW "
            "EXECUTE FUNCTION other();"
            "ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change",
            f"INSERT, UPDATE, DELETE not audited: no trigger calls {FUNCTION}",
        ),
        (
            f"{REPLACE} AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH STATEMENT "
            "EXECUTE FUNCTION audit_row_change();"
            "ALTER TABLE users ENABLE ALWAYS TRIGGER audit_row_change",
            "without a transition table",
        ),
        ("CREATE RULE lost AS ON INSERT TO audit_logs DO INSTEAD NOTHING", "by the rule lost ON"),
    ],
)
async def test_each_gap_fails_and_its_remedy_closes_it(
    start_exporter: StartExporter, database: Database, sql: str, told: str
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    assert (await look(exporter))[0].verdict is Verdict.PASSED
    database.execute(sql)
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps >= 1) == (Verdict.FAILED, True)
    assert told in judged.reason
    await check_remedy(exporter, database, judged)


async def test_statement_triggers_that_see_the_rows_cover_a_table_without_partitions(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    database.execute("DROP TRIGGER audit_row_change ON users")
    for event, seen in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD")):
        database.execute(
            f"CREATE TRIGGER of_{event} AFTER {event} ON users REFERENCING {seen} TABLE AS seen "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_row_change();"
            f"ALTER TABLE users ENABLE ALWAYS TRIGGER of_{event}"
        )
    assert (await look(exporter))[0].verdict is Verdict.PASSED
    # Whoever inherits is written to by the parent's name too, and by its own.
    database.execute("CREATE TABLE guests () INHERITS (users)")
    judged, _ = await look(exporter)
    assert "public.guests: INSERT, UPDATE, DELETE, TRUNCATE not audited" in judged.reason
    await check_remedy(exporter, database, judged)


async def test_each_partition_is_looked_at(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES + PARTITIONED, OF_EVENTS)
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.PASSED, 0), judged
    assert judged.reason.startswith("covered: public.events (relations: 3)")
    for sql, told in (
        ("DROP TRIGGER audit_truncate ON events_2", "public.events_2: TRUNCATE not audited"),
        (
            "ALTER TABLE events_1 DISABLE TRIGGER audit_row_change",
            "public.events_1: INSERT, UPDATE, DELETE not audited: the trigger audit_row_change is",
        ),
        (
            "CREATE TABLE later (id int, name text);"
            "ALTER TABLE events ATTACH PARTITION later FOR VALUES FROM (200) TO (300)",
            "public.later: TRUNCATE not audited: no trigger",
        ),
        ("DROP TRIGGER audit_row_change ON events", "public.events: INSERT, UPDATE, DELETE not"),
        (
            "DROP TRIGGER audit_row_change ON events;"
            "CREATE TRIGGER audit_row_change AFTER INSERT OR UPDATE OR DELETE ON events "
            "FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION audit_row_change();"
            "ALTER TABLE events ENABLE ALWAYS TRIGGER audit_row_change",
            "public.events_1: INSERT, UPDATE, DELETE not audited: the trigger audit_row_change",
        ),
    ):
        database.execute(sql)
        judged, gaps = await look(exporter)
        assert (judged.verdict, gaps >= 1) == (Verdict.FAILED, True)
        assert told in judged.reason
        await check_remedy(exporter, database, judged)


async def test_a_body_that_is_altered_is_a_gap_until_it_is_pinned(
    start_exporter: StartExporter, database: Database, tmp_path: Path
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    assert (await look(exporter))[0].verdict is Verdict.PASSED
    altered = AUDITED.partition("CREATE TRIGGER")[0].replace("CREATE", "CREATE OR REPLACE")
    database.execute(altered.replace("IF TG_OP IN ('UPDATE'", "IF TG_OP IN ('update'"))
    # What was seen first outlives a reload, and with storage a restart, which keeps the same.
    await exporter.reload()
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.FAILED, 1)
    assert f"{FUNCTION}: its body was altered: another one was seen at 20" in judged.reason
    [(definition,)] = database.execute(f"SELECT pg_get_functiondef('{FUNCTION}'::regproc)")
    digest = hashlib.sha256(definition.encode()).hexdigest()
    assert digest in judged.remedy
    file = tmp_path / "phasegate.yaml"
    pinned = f"audit: {{function: {{name: {FUNCTION}, sha256: {digest}}}, "
    file.write_text("environment: test\n" + CONFIG.replace("audit: {", pinned), encoding="utf-8")
    await exporter.reload()
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.PASSED, 0)
    assert not [note for note in judged.facts["notes"] if "pin it" in note]
    database.execute(altered)
    judged, _ = await look(exporter)
    assert judged.verdict is Verdict.FAILED
    assert "not that of audit.function.sha256" in judged.reason


async def test_the_first_body_is_remembered_over_a_restart(
    database: Database, tmp_path: Path
) -> None:
    database.execute(TABLES)
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG, encoding="utf-8")

    async def look_once() -> Judgement:
        with Storage(tmp_path / "state") as storage:
            environ = {"DATABASE_URL": database.conninfo()}
            exporter = Exporter(lambda: load_settings(file, environ), storage=storage)
            await exporter.start()
            try:
                return (await look(exporter))[0]
            finally:
                await exporter.stop()

    assert (await look_once()).verdict is Verdict.PASSED
    database.execute(f"ALTER FUNCTION {FUNCTION}() SECURITY INVOKER")
    for _ in range(2):
        assert "its body was altered" in (await look_once()).reason
    database.execute(f"ALTER FUNCTION {FUNCTION}() SECURITY DEFINER")
    assert (await look_once()).verdict is Verdict.PASSED


async def test_a_function_of_another_schema_or_a_table_that_is_not_there(
    start_exporter: StartExporter, database: Database
) -> None:
    named = CONFIG.replace("audit: {", "audit: {function: {name: log.audit_row_change}, ")
    exporter = await start_exporter(TABLES, named)
    judged, _ = await look(exporter)
    assert "no trigger calls log.audit_row_change" in judged.reason
    database.execute("ALTER TABLE users RENAME TO people")
    judged, gaps = await look(exporter)
    assert (judged.verdict, gaps) == (Verdict.FAILED, 1)
    assert judged.reason == "public.users: there is no such table"
    database.execute("ALTER TABLE audit_logs RENAME TO logs")
    assert "there is no such audit log" in (await look(exporter))[0].reason


async def test_hostile_names_are_only_names(
    start_exporter: StartExporter, database: Database
) -> None:
    name = '"Odd ""schema"" {0} %s; --"'
    exporter = await start_exporter(
        TABLES.partition("CREATE FUNCTION")[0]
        + f"""
        CREATE SCHEMA {name};
        CREATE TABLE {name}."Log.(s)" (id int);
        CREATE TABLE {name}."log.(s)" (id int);
        CREATE TABLE {name}."se'lect" (id int);
        CREATE FUNCTION {name}."au dit"() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT /* first */ INTO {name}."log.(s)" VALUES (1);
            RETURN NULL;
        END $$;
        """,
        f"""audit: {{table: '{name}."Log.(s)"', watch: [{{table: '{name}."se''lect"'}}]}}\n""",
    )
    judged, _ = await look(exporter)
    assert "calls a function that inserts into" in judged.reason
    database.execute(
        f"""CREATE TRIGGER "it's" AFTER INSERT OR UPDATE OR DELETE ON {name}."se'lect"
        FOR EACH ROW EXECUTE FUNCTION {name}."au dit"();
        ALTER TABLE {name}."se'lect" DISABLE TRIGGER "it's";
        """
    )
    judged, _ = await look(exporter)
    assert "calls a function that inserts into" in judged.reason
    database.execute(
        f"""CREATE OR REPLACE FUNCTION {name}."au dit"() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            insert /* first */ into {name}."Log.(s)" VALUES (1);
            RETURN NULL;
        END $$;
        """
    )
    judged, _ = await look(exporter)
    assert f"""{name}."se'lect": INSERT, UPDATE, DELETE not audited: the trigger "it's" is""" in (
        judged.reason
    )
    await check_remedy(exporter, database, judged)


async def test_a_replica_session_and_truncate_are_in_the_log(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    database.execute("SET session_replication_role = replica; INSERT INTO users VALUES (7, 'x')")
    database.execute("TRUNCATE users")
    assert (await look(exporter))[0].verdict is Verdict.PASSED
    rows = database.execute("SELECT action, subject FROM audit_logs ORDER BY id")
    assert rows == [("insert", "users:7"), ("truncate", "users:")]


async def until_counts(exporter: Exporter, done: Callable[[str], bool]) -> str:
    """The counts of the verdict, once the window is closed; it takes 15 s and some."""
    for _ in range(100):
        judged, _ = await look(exporter)
        assert judged.verdict is Verdict.PASSED
        told = str(judged.facts["counts"]["what"])
        if done(told):
            return told
        await asyncio.sleep(0.3)
    raise AssertionError(told)


async def test_counts_support_it_only_without_a_roll_back(
    start_exporter: StartExporter, database: Database
) -> None:
    exporter = await start_exporter(TABLES, CONFIG)
    assert "no window ended 15 s ago" in (await look(exporter))[0].facts["counts"]["what"]
    database.execute("INSERT INTO users SELECT g, 'x' FROM generate_series(1, 50) AS g")
    database.execute("UPDATE users SET name = 'y' WHERE id <= 10")
    await asyncio.sleep(1.5)
    assert "15 s ago" in (await look(exporter))[0].facts["counts"]["what"]
    told = await until_counts(exporter, lambda told: "none rolled back" in told)
    assert told.startswith("60 changes and 60 rows of the log in ")
    with psycopg.connect(database.conninfo()) as connection:
        connection.execute("INSERT INTO users VALUES (100, 'undone')")
        connection.rollback()
    told = await until_counts(exporter, lambda told: told.startswith("trans"))
    assert told.startswith("transactions rolled back: 1; ")
