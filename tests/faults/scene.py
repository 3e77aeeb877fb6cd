"""An exporter before servers that can fail, and what must hold of every scrape meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from phasegate.contract import metrics
from phasegate.contract.model import Distribution, Kind, Sample
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.app import Exporter
from phasegate.exporter.runner import Snapshot
from phasegate.servers.postgres import PostgresServer
from tests.fixtures.proxy import Proxy
from tests.fixtures.snapshots import labels_of, value_of

# `make faults` takes the long form.
LONG = os.environ.get("PHASEGATE_FAULTS") == "long"
FAULTY_SCRAPES = 1_000 if LONG else 50
SHORT_SECONDS = 0.2
LATE_SECONDS = 1.0
AMPLE_SECONDS = 2.0
WHOLE_SECONDS = 5.0
BUDGET = 5
MOST_GROWTH_BYTES = 24 * 2**20
# As unpleasant in a URL, a keyword form and a log as it can be.
CANARY = "can'ary%2F5b@1:f/ 9\\e"
ROLE = "watcher"
CACHE_TOPICS = {"cache", "cache_keys"}
OWN_TOPICS = {"exporter", "health"}

TABLES = """
CREATE TABLE users (
    id int PRIMARY KEY, name text, uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid()
);
INSERT INTO users (id, name) SELECT i, 'user ' || i FROM generate_series(1, 2000) AS i;
CREATE TABLE audit_logs (id int8, created_at timestamptz, category text)
    PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_old PARTITION OF audit_logs FOR VALUES FROM ('2020-01-01') TO (now());
CREATE TABLE audit_logs_now PARTITION OF audit_logs FOR VALUES FROM (now()) TO ('2999-01-01');
INSERT INTO audit_logs VALUES (1, '2026-01-01', 'login');
ANALYZE;
"""
CONFIG = """
environment: test
exporter: {probe_interval: 50ms, probe_timeout: 500ms}
tables: [{name: public.users}]
audit: {table: public.audit_logs, category_column: category}
"""


def prepare(server: PostgresServer) -> None:
    """The tables, and a role with the rights that an exporter needs and no more."""
    server.execute(f"CREATE ROLE {ROLE} LOGIN")
    set_password(server, CANARY)
    server.execute(f"GRANT pg_monitor TO {ROLE}")
    prepare_tables(server, TABLES, "postgres")


def prepare_tables(server: PostgresServer, tables: str, database: str) -> None:
    """The tables in one database, and the role's rights on them."""
    server.execute(tables, database)
    server.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}", database)


def set_password(server: PostgresServer, password: str) -> None:
    """Gives the role another password; open sessions keep theirs."""
    [[statement]] = server.execute(
        "SELECT format('ALTER ROLE %%I PASSWORD %%L', %s::text, %s::text)",
        parameters=[ROLE, password],
    )
    server.execute(statement)


def end_sessions(server: PostgresServer) -> None:
    """Ends every session of the role, ours and others', and waits until they are over."""
    server.execute(
        "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = %s",
        parameters=[ROLE],
    )


def count_backends(server: PostgresServer) -> int:
    """The sessions of the role, counted at the server."""
    with psycopg.connect(server.conninfo()) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
        [(found,)] = connection.execute(query, [ROLE]).fetchall()
        return int(found)


@dataclass
class Scene:
    """A running exporter; the proxy stands between it and the server."""

    exporter: Exporter
    server: PostgresServer
    proxy: Proxy | None = None
    slowest: float = 0.0

    async def scrape(self, seconds: float = WHOLE_SECONDS) -> Snapshot:
        """One full scrape, which must answer in its time and tell no password."""
        began = time.monotonic()
        found = await self.exporter.scrape(seconds, frozenset())
        took = time.monotonic() - began
        assert took < seconds + LATE_SECONDS
        self.slowest = max(self.slowest, took)
        tell_no_password(self.exporter, found)
        return found

    async def whole(self) -> Snapshot:
        """One full scrape, in which nothing may be missing."""
        found = await self.scrape()
        assert_whole(found)
        return found

    async def recovered(self) -> Snapshot:
        """The first full scrape after a fault: all but what has a schedule, which follows soon."""
        if LONG:
            # A server that stood still for minutes serves first who has given up meanwhile.
            await asyncio.sleep(2)
        found = await self.scrape()
        collectors = self.exporter.runner.collectors
        failed = {n: why for n, why in reasons(found).items() if collectors[n].interval is None}
        assert not failed, failed
        await self.whole_soon()
        return found

    async def whole_soon(self) -> Snapshot:
        """Scrapes until nothing is missing: what has a schedule of minutes follows by itself."""
        for _ in range(50):
            found = await self.scrape()
            if not reasons(found):
                break
            await asyncio.sleep(0.1)
        assert_whole(found)
        return found

    async def scrapes_while_down(
        self, target: str, before: Snapshot, count: int, seconds: float = SHORT_SECONDS
    ) -> Snapshot:
        """Scrapes with that deadline, in which the target is down; the last with time enough for
        all others, so that a busy machine cannot blur which of them is hurt. That one."""
        down, self.slowest = before, 0.0
        for _ in range(count):
            down = await self.scrape(seconds)
            assert_down(before, down, target)
        slowest = self.slowest
        down = await self.scrape(AMPLE_SECONDS)
        assert_down(before, down, target)
        assert_others_up(before, down, target)
        self.slowest = slowest
        return down

    async def probes_go_on(self) -> None:
        """Returns once the latency probe has an answer that is younger than this call."""
        since = time.time()
        for _ in range(100):
            found = await self.scrape()
            last = metrics.PROBE_LAST_SUCCESS
            if labels_of(found, last) and value_of(found, last, "database") > since:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("no probe since the end of the fault")

    async def backends(self) -> int:
        """The sessions of the exporter's role at the server."""
        return await asyncio.to_thread(count_backends, self.server)


@asynccontextmanager
async def running(folder: Path, config: str, environ: Mapping[str, str]) -> AsyncIterator[Exporter]:
    """An exporter with that configuration; ending it takes no longer than its answer to SIGTERM."""
    file = folder / "phasegate.yaml"
    file.write_text(config, encoding="utf-8")
    exporter = Exporter(lambda: load_settings(file, environ))
    await exporter.start()
    try:
        yield exporter
    finally:
        began = time.monotonic()
        await exporter.stop()
        assert time.monotonic() - began < 2


def through(proxy: Proxy, server: PostgresServer, password: str | None = CANARY) -> str:
    """The address of the server by way of the proxy, for the role."""
    address = server.conninfo("postgres", ROLE, password)
    return address.replace(f":{server.port}/", f":{proxy.port}/")


def assert_whole(found: Snapshot) -> None:
    """Every target is up and every collector has succeeded."""
    failed = {s.collector: (s.reason, s.error) for s in found.statuses if not s.success}
    assert not failed, failed
    assert {s.value for s in found.samples if s.metric is metrics.UP} == {1}


def assert_down(before: Snapshot, down: Snapshot, target: str) -> None:
    """The target is down and shows no gauge; the counters are kept."""
    assert value_of(down, metrics.UP, target) == 0
    lost = {s.metric.name for s in gauges(down) if is_of(s, target)}
    assert not lost, lost
    assert_counters_kept(before, down)


def assert_others_up(before: Snapshot, down: Snapshot, target: str) -> None:
    """Every other target is up, and shows all that it showed before."""
    up = {s.labels[0]: s.value for s in down.samples if s.metric is metrics.UP}
    expected = {name: float(name != target) for (name,) in labels_of(before, metrics.UP)}
    assert up == expected, (up, expected)
    others = {(s.metric.name, s.labels) for s in gauges(before) if not is_of(s, target)}
    others -= {(s.metric.name, s.labels) for s in gauges(down)}
    assert not others, others


def is_of(gauge: Sample, target: str) -> bool:
    """Whether it tells of that target. With one database, all is its own that is nobody else's."""
    if "target" in gauge.metric.labels:
        return gauge.labels[gauge.metric.labels.index("target")] == target
    topic = gauge.metric.collector
    of_cache = topic in CACHE_TOPICS
    return of_cache if target == "cache" else not of_cache and topic not in OWN_TOPICS


def gauges(snapshot: Snapshot) -> list[Sample]:
    """What is shown of the targets at this moment, `phasegate_up` aside."""
    found = [s for s in snapshot.samples if s.metric.kind is Kind.GAUGE]
    return [s for s in found if s.metric is not metrics.UP]


def assert_counters_kept(before: Snapshot, after: Snapshot) -> None:
    """Every counter and histogram is still there and has not fallen."""
    then, now = counted(before), counted(after)
    fell = {key: (then[key], now.get(key)) for key in then if now.get(key, -1) < then[key]}
    assert not fell, fell


def counted(snapshot: Snapshot) -> dict[tuple[str, tuple[str, ...]], float]:
    """By metric and labels: a counter's value, a histogram's count."""
    return {
        (s.metric.name, s.labels): sum(s.value.counts)
        if isinstance(s.value, Distribution)
        else s.value
        for s in snapshot.samples
        if s.metric.kind is not Kind.GAUGE
    }


def reasons(snapshot: Snapshot) -> dict[str, str]:
    """By collector the word for which it failed last."""
    return {s.collector: s.reason for s in snapshot.statuses if not s.success}


def resident_bytes() -> int:
    """The memory of this process, the exporter's among it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tell_no_password(exporter: Exporter, found: Snapshot) -> None:
    """The password is in no error and in no sample."""
    page = exporter.exposition.render(found.samples, as_openmetrics=False).decode()
    for text in (page, *(status.error for status in found.statuses)):
        assert CANARY not in text
        assert "ary%2F5b" not in text
