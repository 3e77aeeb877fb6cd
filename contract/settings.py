"""`phasegate.yaml` as frozen classes: every key once, with its kind, its default and its sentence.

A field's name is the key in the file, so `settings.exporter.probe_interval` is
`exporter: {probe_interval: …}`. Durations are float seconds, sizes whole bytes, secrets `Secret`.
The reader, the JSON Schema, the reference and `/config` are all made from these classes; to add a
key, add one field. Values that contradict each other are told by `contract/settings_rules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phasegate.contract import settings_rules as rules
from phasegate.contract.frozen import keyed
from phasegate.contract.names import ColumnName, TableName
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import ListOf, MapOf, Section, setting
from phasegate.contract.settings_connection import Cache, Database
from phasegate.contract.settings_criteria import Criteria
from phasegate.contract.settings_http import HttpAccess
from phasegate.contract.settings_issues import Issues, of_issues
from phasegate.contract.settings_kinds import (
    COLUMN,
    COLUMN_OF_TABLE,
    FUNCTION,
    METRIC_NAME,
    NAME,
    RETENTION,
    TABLE,
    WORD,
)
from phasegate.contract.settings_migrate import Migrate
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.contract.settings_tables import Table
from phasegate.contract.shapes import (
    Choice,
    Duration,
    HttpUrl,
    JsonScalar,
    Number,
    Regex,
    Text,
)
from phasegate.contract.units import Retention

_STATUS = Number("an HTTP status", 100, 599, whole=True)


@keyed
class Exporter(HttpAccess):
    """How the exporter measures, and how others reach it."""

    url: str | None = setting(
        HttpUrl(),
        "Where the judge finds the exporter; the base, without a path.",
        None,
        example='"http://127.0.0.1:9899"',
    )
    metrics_path: str = setting(
        Text("a path that begins with /", r"/[^\s?#]*"),
        "The path of the metrics below `url`.",
        "/metrics",
    )
    probe_interval: float = setting(
        Duration(0.01, 60), "Time from one latency probe of a lookup to the next.", 0.2
    )
    probe_timeout: float = setting(
        Duration(0.05, 60), "Statement timeout of a probe; a cancelled probe counts as slow.", 5.0
    )
    connect_timeout: float = setting(Duration(0.1, 60), "Longest time to connect to a server.", 3.0)
    collect_timeout: float = setting(
        Duration(0.05, 300), "Longest time of one collector where the scraper states none.", 5.0
    )
    scrape_timeout_offset: float = setting(
        Duration(0, 30),
        "Taken off the scraper's own time limit, so that the answer still arrives in time.",
        0.5,
    )
    evidence_block: float = setting(Duration(1, 300), "Length of one block of evidence.", 10.0)
    evidence_retention: float = setting(
        Duration(60, 30 * 86_400), "How long blocks of evidence are kept.", 86_400.0
    )
    partition_max_age: float = setting(
        Duration(1, 3_600), "No size of an audit partition is ever older than this.", 60.0
    )
    reconcile_interval: float = setting(
        Duration(1, 86_400), "Time from one count of changed audit partitions to the next.", 600.0
    )
    reconcile_rate: int = setting(
        Number("rows a second", 1, 10**9, whole=True),
        "Most rows a second that the counts of a reconciliation read on average.",
        500_000,
    )
    exact_count_interval: float = setting(
        Duration(1, 86_400), "Time from one exact count of missing UUIDs to the next.", 300.0
    )
    cache_scan_interval: float = setting(
        Duration(1, 86_400), "Time from one SCAN of the cache to the next.", 60.0
    )
    cache_scan_budget: float = setting(
        Duration(0.01, 600), "Longest time that one SCAN of the cache may take.", 2.0
    )
    explain_interval: float = setting(
        Duration(1, 86_400),
        "Time from one EXPLAIN of each lookup to the next.",
        60.0,
    )
    max_series: int = setting(
        Number("series", 1, 1_000_000, whole=True),
        "Most series of one metric; what is dropped is counted.",
        10_000,
    )
    latency_buckets: tuple[float, ...] = setting(
        ListOf(Duration(1e-6, 60), "durations", unique=True),
        "More bucket edges of the latency histogram, besides the defaults and the thresholds.",
        (),
        example="[15ms, 75ms]",
    )


@keyed
class Lookup:
    """A query of the user's own, timed as the lookups by UUID are."""

    query_type: str = setting(WORD, "Value of the label `query_type`.", example="permission_check")
    sql: str = setting(
        Text(), "One SELECT with the parameter `$1`.", example='"select … where u.uuid = $1"'
    )
    parameter: ColumnName = setting(
        COLUMN_OF_TABLE,
        "The column whose values are bound to `$1`: `table.column` of a table above, "
        "else `schema.table.column`.",
        example="users.uuid",
    )


@keyed
class Watch:
    """A table whose changes the audit log must hold."""

    table: TableName = setting(TABLE, "Schema and table.", example="public.users")
    writer: str = setting(
        Choice(("trigger", "application")), "Who writes the audit rows.", "trigger"
    )
    canary: Mapping[str, str | int | float | bool | None] = setting(
        MapOf(JsonScalar(), "key columns and their values", Text("the name of a column")),
        "One row, by its key, that `validate` updates in a transaction that is rolled back, to see "
        "whether the trigger writes its audit row; absent: nothing is tried.",
        dict,
        example="{id: 1}",
    )


@keyed
class AuditFunction:
    """The function that the triggers of the watched tables call."""

    name: TableName = setting(FUNCTION, "Schema and function.", example="public.audit_row_change")
    sha256: str | None = setting(
        Text("64 small hexadecimal digits", r"[0-9a-f]{64}"),
        "SHA-256 of its definition (`pg_get_functiondef`), which a verdict states; absent: it must "
        "stay as the exporter saw it first.",
        None,
        example='"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
    )


@keyed
class Audit:
    """The audit log."""

    table: TableName = setting(TABLE, "Schema and table.", example="public.audit_logs")
    time_column: str = setting(
        COLUMN, "The time of the event; partitions are cut by it.", "created_at"
    )
    category_column: str | None = setting(
        COLUMN, "The category of the event; absent: events are not told apart.", None,
        example="category",
    )  # fmt: skip
    partition: str = setting(
        Choice(("day", "week", "month")),
        "Length of a partition; bounds in UTC.",
        "month",
    )
    premake: int = setting(
        Number("partitions", 1, 400, whole=True),
        "Partitions kept ready ahead.",
        3,
    )
    retention: Retention | None = setting(
        RETENTION,
        "How long audit rows are kept; absent: for ever.",
        None,
        example="24 months",
    )
    function: AuditFunction | None = setting(
        Section(AuditFunction, "name, sha256"),
        "Whose triggers audit; absent: any function whose source inserts into the audit table by "
        "name.",
        None,
        example="{name: public.audit_row_change}",
    )
    watch: tuple[Watch, ...] = setting(
        ListOf(Section(Watch, "table, writer, canary", rules.of_watch), "watched tables"),
        "Tables whose changes the audit log must hold.",
        (),
        example="[{table: public.users, writer: trigger}]",
    )


@keyed
class Body:
    """What the body of a healthy answer holds."""

    json: Mapping[str, str | int | float | bool | None] = setting(
        MapOf(JsonScalar(), "fields and their values", Text("a dotted path of fields", r"\S+")),
        "The body is a JSON object in which each of these fields (dotted for nested ones) has "
        "this value.",
        dict,
        example="{status: ok}",
    )
    contains: str | None = setting(
        Text(), "The body contains this text.", None, example='"all systems operational"'
    )


@keyed
class Health(HttpAccess):
    """An HTTP check of health."""

    name: str = setting(NAME, "Value of the label `check`.", example="api")
    url: str = setting(HttpUrl(), "What is asked.", example='"http://127.0.0.1:8080/health"')
    status: tuple[int, ...] = setting(
        ListOf(_STATUS, "HTTP statuses", least=1, unique=True), "Statuses that are healthy.", (200,)
    )
    body: Body = setting(
        Section(Body, "json, contains"), "What the body must hold; absent: anything.", Body
    )
    timeout: float = setting(Duration(0.05, 60), "Longest time of the whole answer.", 5.0)


@keyed
class ApplicationCounter:
    """One counter of the application."""

    metric: str = setting(METRIC_NAME, "Name of the metric.", example="http_requests_total")
    match: Mapping[str, str] = setting(
        MapOf(Regex(), "labels and expressions", Text("a label", r"[a-zA-Z_][a-zA-Z0-9_]*")),
        "Only series whose labels match these expressions, each matched whole.",
        dict,
        example='{status: "5.."}',
    )


@keyed
class ApplicationCache:
    """The application's own counters of its cache; told apart by their label `cache`."""

    requests: str = setting(METRIC_NAME, "Counter of lookups.", example="cache_requests_total")
    hits: str = setting(METRIC_NAME, "Counter of hits.", example="cache_hits_total")


_COUNTER = Section(ApplicationCounter, "metric, match")


@keyed
class Application(HttpAccess):
    """The application's own counters."""

    metrics_url: str = setting(
        HttpUrl(), "The application's metrics.", example='"http://127.0.0.1:8080/metrics"'
    )
    timeout: float = setting(Duration(0.05, 60), "Longest time of the whole answer.", 3.0)
    requests: ApplicationCounter | None = setting(
        _COUNTER,
        "Requests, all of them.",
        None,
        example="{metric: http_requests_total}",
    )
    errors: ApplicationCounter | None = setting(
        _COUNTER,
        "Requests that failed.",
        None,
        example='{metric: http_requests_total, match: {status: "5.."}}',
    )
    cache: ApplicationCache | None = setting(
        Section(ApplicationCache, "requests, hits"),
        "Lookups in the application's cache.",
        None,
        example="{requests: cache_requests_total, hits: cache_hits_total}",
    )


@keyed
class Prometheus(HttpAccess):
    """A Prometheus-compatible API as a source of evidence."""

    url: str = setting(HttpUrl(), "The base of its API.", example='"http://127.0.0.1:9090"')
    headers: Mapping[str, Secret] = setting(
        MapOf(Text(secret=True), "headers", Text("a header's name", r"[A-Za-z0-9-]+")),
        "Headers of every request, for example the tenant.",
        dict,
        example="{X-Scope-OrgID: team-a}",
    )
    match: Mapping[str, str] = setting(
        MapOf(Text(), "labels", Text("a label's name", r"[A-Za-z_][A-Za-z0-9_]*")),
        "Labels of the one exporter whose series are judged; needed where several are scraped.",
        dict,
        example="{job: phasegate}",
    )


@keyed
class Settings:
    """All of `phasegate.yaml`, with defaults filled in.

    Not from the file: `file` is where it was read, `without_effect` the dotted keys in it that this
    release reads and checks, but does not use yet.
    """

    environment: str = setting(
        NAME,
        "Stated by the exporter and demanded by the judge.",
        "",
        example="production",
    )
    database: Database = setting(
        Section(Database, "url and more", rules.of_database),
        "The PostgreSQL server that is measured and migrated.",
        Database,
    )
    cache: Cache | None = setting(
        Section(Cache, "url and more", rules.of_cache),
        "The Redis or Valkey that holds the permission cache; absent: none is measured.",
        None,
    )
    exporter: Exporter = setting(
        Section(Exporter, "how the exporter measures", rules.of_exporter),
        "How the exporter measures, and how others reach it.",
        Exporter,
    )
    tables: tuple[Table, ...] = setting(
        ListOf(Section(Table, "name and more"), "tables"),
        "Tables that gain a UUID key.",
        (),
    )
    lookups: tuple[Lookup, ...] = setting(
        ListOf(Section(Lookup, "query_type, sql, parameter", rules.of_lookup), "lookups"),
        "More queries that are timed, besides one `uuid_lookup` for each table above.",
        (),
    )
    audit: Audit | None = setting(
        Section(Audit, "table and more", rules.of_audit),
        "The audit log; absent: none is measured.",
        None,
    )
    health: tuple[Health, ...] = setting(
        ListOf(Section(Health, "name, url and more", rules.of_http), "checks"),
        "HTTP checks of health.",
        (),
    )
    application: Application | None = setting(
        Section(Application, "metrics_url and more", rules.of_application),
        "The application's own counters.",
        None,
    )
    prometheus: Prometheus | None = setting(
        Section(Prometheus, "url and more", rules.of_http),
        "A Prometheus-compatible API as a source of evidence.",
        None,
    )
    issues: Issues = setting(
        Section(Issues, "alerts, tracker, signoff", of_issues),
        "Where customers' issues would show.",
        Issues,
    )
    criteria: Criteria = setting(
        Section(Criteria, "required, and overrides by criterion"),
        "What `validate` judges, and overrides of its limits.",
        Criteria,
    )
    migrate: Migrate = setting(
        Section(Migrate, "mode, hooks, backup and more"), "How the migration runs.", Migrate
    )
    monitoring: Monitoring = setting(
        Section(Monitoring, "job, team, links and more"),
        "What the generated alerts and boards say of the place where they are used.",
        Monitoring,
    )
    file: Path | None = None
    without_effect: tuple[str, ...] = ()

    @property
    def named_tables(self) -> tuple[TableName, ...]:
        """Each once: those that gain a UUID, the audit log, those whose changes it holds."""
        found = [table.name for table in self.tables]
        if self.audit is not None:
            found += [self.audit.table, *(watch.table for watch in self.audit.watch)]
        return tuple(dict.fromkeys(found))


SETTINGS = Section(Settings, "the settings", rules.of_settings)
