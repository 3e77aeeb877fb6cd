"""Names that break a quotation, a template, a label or a line reach the exposition unharmed."""

from __future__ import annotations

import json
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from phasegate.contract import metrics
from phasegate.contract.names import ColumnName, TableName
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.faults.scene import CANARY, ROLE, Scene, running
from tests.fixtures.snapshots import distribution_of, labels_of, value_of

DATABASE = 'Data "base" %s {0} $1 \\ é'
SCHEMA = 'Sche\'ma "%(x)s" {y} $$'
TABLE = "Users.of\n\tthe 'house' %% é".ljust(62, "x")
UUID, KEY = 'U"uid {0} %s', "ID $1 \\"
AUDIT, PARTITION = "Audit; DROP -- ", 'Part"ition\n/* %s'
TIME, CATEGORY = "Created at", "Cate'gory {}"

SETUP = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.{table} ({key} int PRIMARY KEY, {uuid} uuid UNIQUE DEFAULT gen_random_uuid());
INSERT INTO {schema}.{table} ({key}) SELECT generate_series(1, 2000);
CREATE TABLE {schema}.{audit} (id int8, {time} timestamptz, {category} text)
    PARTITION BY RANGE ({time});
CREATE TABLE {schema}.{partition} PARTITION OF {schema}.{audit}
    FOR VALUES FROM ('2020-01-01') TO ('2999-01-01');
INSERT INTO {schema}.{audit} VALUES (1, now(), 'login');
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
ANALYZE;
"""


def config() -> str:
    table, audit = str(TableName(SCHEMA, TABLE)), str(TableName(SCHEMA, AUDIT))
    parameter = str(ColumnName(SCHEMA, TABLE, KEY))
    quoted = {
        name: json.dumps(f'"{name.replace(chr(34), chr(34) * 2)}"')
        for name in (UUID, TIME, CATEGORY)
    }
    select = sql.SQL("SELECT 1 FROM {} WHERE {} = $1").format(
        sql.Identifier(SCHEMA, TABLE), sql.Identifier(KEY)
    )
    return f"""
environment: test
exporter: {{probe_interval: 50ms, probe_timeout: 500ms}}
tables: [{{name: {json.dumps(table)}, uuid_column: {quoted[UUID]}}}]
lookups:
  - query_type: by_key
    sql: {json.dumps(select.as_string())}
    parameter: {json.dumps(parameter)}
audit:
  table: {json.dumps(audit)}
  time_column: {quoted[TIME]}
  category_column: {quoted[CATEGORY]}
"""


async def test_hostile_names(server: PostgresServer, tmp_path: Path) -> None:
    server.create_database(DATABASE)
    names = {
        **{"schema": SCHEMA, "table": TABLE, "key": KEY, "uuid": UUID, "audit": AUDIT},
        **{"partition": PARTITION, "time": TIME, "category": CATEGORY, "role": ROLE},
    }
    assert len(TABLE.encode()) == 63
    quoted = {key: sql.Identifier(name) for key, name in names.items()}
    server.execute(sql.SQL(SETUP).format(**quoted).as_string(), DATABASE)
    environ = {"DATABASE_URL": server.conninfo(DATABASE, ROLE, CANARY)}
    async with running(tmp_path, config(), environ) as exporter:
        scene = Scene(exporter, server)
        await scene.whole_soon()
        await scene.probes_go_on()
        found = await scene.whole()
        text = exporter.exposition.render(found.samples, as_openmetrics=False).decode()
    server.drop_database(DATABASE)
    assert value_of(found, metrics.TABLE_SIZE, SCHEMA, PARTITION, AUDIT) > 0
    assert value_of(found, metrics.UUID_MISSING, SCHEMA, TABLE) == 0
    assert value_of(found, metrics.KEY_USED, SCHEMA, TABLE, KEY) > 0
    assert value_of(found, metrics.AUDIT_CREATED, SCHEMA, AUDIT) >= 0
    assert value_of(found, metrics.AUDIT_EVENTS, "login") == 1
    for query_type in ("uuid_lookup", "id_lookup", "by_key"):
        durations = distribution_of(found, metrics.QUERY_DURATION, query_type, SCHEMA, TABLE)
        assert durations is not None
        assert sum(durations.counts)
    assert not labels_of(found, metrics.PROBE_ABSENT)
    [info] = labels_of(found, metrics.TARGET_INFO)
    assert DATABASE in info
    assert exposed(text) == series(found)


def series(found: Snapshot) -> set[tuple[str, tuple[str, ...]]]:
    """Schema and table of every sample that has them."""
    return {
        (s.metric.name.removesuffix("_total"), s.labels[s.metric.labels.index("schema") :][:2])
        for s in found.samples
        if "schema" in s.metric.labels
    }


def exposed(text: str) -> set[tuple[str, tuple[str, ...]]]:
    """The same, as a scraper reads them."""
    return {
        (family.name, (sample.labels["schema"], sample.labels["table"]))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "schema" in sample.labels
    }
