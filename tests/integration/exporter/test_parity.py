"""The exposition of a running exporter and the contract, held against each other both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from aiohttp import web
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from phasegate.contract import metrics
from phasegate.contract.gates import PREFLIGHT_CHECKS
from phasegate.contract.migration import Event
from phasegate.contract.model import Kind
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter, latency_edges
from phasegate.migrate.journal import Journal, save_progress
from phasegate.migrate.opening import fetch_identity
from phasegate.servers.cache import CacheServer
from tests.fixtures.database import Database

SCHEMA = """
CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, uuid uuid UNIQUE);
CREATE TABLE parts (id int PRIMARY KEY REFERENCES users);
INSERT INTO users (name, uuid) SELECT 'u', gen_random_uuid() FROM generate_series(1, 500);
CREATE TABLE later (id int PRIMARY KEY);
INSERT INTO later VALUES (1);
CREATE TABLE audit_logs (id int8, created_at timestamptz NOT NULL DEFAULT now(), category text)
PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_all PARTITION OF audit_logs
FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2100-01-01 00:00+00');
CREATE TABLE audit_logs_other PARTITION OF audit_logs DEFAULT;
INSERT INTO audit_logs (category) VALUES ('auth');
ANALYZE;
"""
CONFIG = """
environment: test
exporter: {probe_interval: 20ms, exact_count_interval: 1s}
tables: [{name: public.users}, {name: public.later}]
audit:
  table: public.audit_logs
  category_column: category
  watch: [{table: public.users}]
criteria: {uuid_lookup_latency: {warning: 7ms}}
"""
SERVICE = """
health: [{{name: api, url: "http://127.0.0.1:{port}/health"}}]
application:
  metrics_url: "http://127.0.0.1:{port}/metrics"
  requests: {{metric: http_requests_total}}
  errors: {{metric: http_requests_total, match: {{status: "5.."}}}}
"""
# Each needs a server, a fault or a moment that this exporter does not meet; proved elsewhere.
ELSEWHERE = {
    "phasegate_replica_query_duration_seconds": "needs a replica",
    "phasegate_probe_failures_total": "needs a fault: test_latency",
    "phasegate_collector_errors_total": "needs a fault: test_faults",
    "phasegate_series_dropped": "needs more series than the cap: test_exposition",
    "phasegate_health_certificate_expiry_timestamp_seconds": "needs TLS: test_health",
    "phasegate_replication_lag_seconds": "needs a standby: test_database",
    "phasegate_replication_lag_bytes": "needs a standby: test_database",
    "phasegate_replica_lag_seconds": "needs a standby: test_database",
    "phasegate_replica_lag_bytes": "needs a standby: test_database",
    "phasegate_replication_slot_active": "needs a slot: test_database",
    "phasegate_replication_slot_retained_bytes": "needs a slot: test_database",
    "phasegate_error_baseline_ratio": "needs a captured baseline: test_error_baseline",
    "phasegate_key_overflow_seconds": "needs an hour of growth: test_key_overflow",
}


@pytest.fixture
async def service_port() -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def count(_: web.Request) -> web.Response:
        return web.Response(text='http_requests_total{status="200"} 1\n')

    application = web.Application()
    application.router.add_get("/health", answer)
    application.router.add_get("/metrics", count)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def families(
    database: Database, cache_server: CacheServer, service_port: int, tmp_path: Path
) -> dict[str, Family]:
    database.execute(SCHEMA)
    write_journal(database, tmp_path)
    file = tmp_path / "phasegate.yaml"
    file.write_text(CONFIG + SERVICE.format(port=service_port), encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": cache_server.url()}
    exporter = Exporter(lambda: load_settings(file, environ))
    await exporter.start()
    for _ in range(4):
        snapshot = await exporter.scrape(5, frozenset())
        await asyncio.sleep(1)
    await exporter.stop()
    text = exporter.exposition.render(snapshot.samples, as_openmetrics=False).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def write_journal(database: Database, folder: Path) -> None:
    """As a migration that is under way leaves one."""
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        journal = Journal(connection, folder, fetch_identity(connection), "anna")
        journal.open()
        journal.write(Event.PHASE_STARTED, phase="prepare")
        checks = {name: {"value": 1.0} for name in PREFLIGHT_CHECKS}
        journal.write(Event.PREFLIGHT, phase="prepare", facts={"checks": checks})
        journal.write(Event.BACKUP_MADE, phase="prepare")
        journal.write(Event.BACKUP_PROVED, phase="prepare", facts={"proved": True})
        journal.write(Event.GATE_PASSED, phase="prepare")
        journal.write(Event.PHASE_STARTED, phase="infrastructure")
        journal.write(Event.ACTION, phase="infrastructure")
        journal.write(Event.HOOK, phase="infrastructure", facts={"hook": "deploy_api"})
        journal.write(Event.OVERRIDE, phase="infrastructure", facts={"criteria": ["health"]})
        work = {"step": "populate-uuids", "name": "t", "unit": "pages", "note": ""}
        save_progress(connection, **work, done=1, total=2, rate=3)


async def test_exposition_and_contract_say_the_same(families: dict[str, Family]) -> None:
    known = {metric.name.removesuffix("_total"): metric for metric in metrics.METRICS}
    assert set(families) <= set(known)
    missing = {known[name].name for name in set(known) - set(families)}
    assert missing <= set(ELSEWHERE), missing - set(ELSEWHERE)
    for name, family in families.items():
        metric = known[name]
        assert (family.type, family.documentation) == (metric.kind.value, metric.help), name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample


async def test_every_edge_is_there_and_one_at_each_limit(families: dict[str, Family]) -> None:
    environ = {"DATABASE_URL": "postgresql://127.0.0.1/x"}
    defaults = latency_edges(load_settings(None, environ))
    for metric in metrics.METRICS:
        if metric.kind is Kind.HISTOGRAM and metric.name in families:
            samples = families[metric.name].samples
            edges = {float(s.labels["le"]) for s in samples if s.name.endswith("_bucket")}
            assert edges == {*defaults, 0.007, float("inf")}
