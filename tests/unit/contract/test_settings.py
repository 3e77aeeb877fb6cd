"""The pinned file is read whole, with its defaults, and the environment alone is enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phasegate.contract.errors import ConfigError
from phasegate.contract.names import ColumnName, TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import find_config, load_settings
from phasegate.contract.units import Retention

ENVIRON = {"DATABASE_URL": "postgresql://u:canary@h/db", "REDIS_URL": "redis://:canary@h"}
PINNED = """\
environment: production
database:
  url: "${DATABASE_URL}"
  replicas: {}
  identity: {system_identifier: "7412345678901234567", database: mono_prod}
cache: {url: "${REDIS_URL}", key_pattern: "perm:*"}
exporter:
  url: "http://127.0.0.1:9899"
  probe_interval: 200ms
  evidence_block: 10s
  partition_max_age: 60s
tables:
  - {name: public.users, uuid_column: uuid, uuid_version: 4, keys: alternate}
lookups:
  - {query_type: permission_check, sql: "select 1 where $1 is null", parameter: users.uuid}
audit:
  table: public.audit_logs
  time_column: created_at
  category_column: category
  partition: month
  premake: 3
  retention: 24 months
  watch: [{table: public.users, writer: trigger}]
health: [{name: api, url: "http://127.0.0.1:8080/health"}]
application:
  metrics_url: "http://127.0.0.1:8080/metrics"
  requests: {metric: http_requests_total}
  errors: {metric: http_requests_total, match: {status: "5.."}}
  cache: {requests: cache_requests_total, hits: cache_hits_total}
prometheus: {url: "http://127.0.0.1:9090"}
criteria:
  required: [health, uuid_lookup_latency, cache_hit_rate, error_rate, audit_coverage,
             integration_tests, customer_issues]
  uuid_lookup_latency: {warning: 10ms, critical: 20ms}
  error_rate: {margin: 1.5, floor: 0.001}
migrate:
  mode: online
  hooks: {maintenance_on: {command: ["kubectl", "…"], timeout: 300s}}
  backup: {directory: ./backups}
"""


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    path = tmp_path / "phasegate.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, ENVIRON if environ is None else environ)


def test_the_pinned_file_is_read(tmp_path: Path) -> None:
    settings = read(tmp_path, PINNED)
    assert settings.environment == "production"
    assert settings.database.url is not None
    assert settings.database.url.reveal() == ENVIRON["DATABASE_URL"]
    assert settings.database.identity.system_identifier == "7412345678901234567"
    assert settings.exporter.probe_interval == 0.2
    assert settings.tables[0].name == TableName("public", "users")
    assert settings.lookups[0].parameter == ColumnName("public", "users", "uuid")
    assert settings.audit is not None
    assert settings.audit.retention == Retention(24, "month")
    assert settings.audit.watch[0].writer == "trigger"
    assert settings.health[0].status == (200,)
    assert settings.application is not None
    assert settings.application.errors is not None
    assert settings.application.errors.match == {"status": "5.."}
    assert settings.criteria.uuid_lookup_latency.critical == 0.02
    assert settings.criteria.error_rate.margin == 1.5
    hook = settings.migrate.hooks.maintenance_on
    assert hook is not None
    assert (hook.command, hook.timeout) == (("kubectl", "…"), 300.0)
    assert settings.migrate.backup.directory == tmp_path / "backups"
    assert settings.file == tmp_path / "phasegate.yaml"


def test_keys_without_effect_are_told(tmp_path: Path) -> None:
    written = PINNED + "\n"
    assert read(tmp_path, written).without_effect == ()
    quiet = "environment: test\ncriteria: {audit_growth: {max_age: 60s}}\n"
    assert read(tmp_path, quiet).without_effect == ("criteria.audit_growth.max_age",)


def test_the_environment_alone_is_enough() -> None:
    settings = load_settings(None, ENVIRON)
    assert settings.database.url is not None
    assert settings.cache is not None
    assert settings.cache.url is not None
    assert settings.cache.url.reveal() == ENVIRON["REDIS_URL"]
    assert settings.file is None


def test_no_redis_url_means_no_cache() -> None:
    assert load_settings(None, {"DATABASE_URL": "host=h"}).cache is None


def test_neither_file_nor_database_url_names_both_ways() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {})
    (fault,) = caught.value.faults
    assert (fault.key, fault.line) == ("database.url", 0)
    assert "database.url or url_file" in fault.expected
    assert "DATABASE_URL" in fault.expected
    assert "PHASEGATE_CONFIG" in fault.hint


def test_who_does_not_connect_needs_no_url_where_the_identity_is_pinned(tmp_path: Path) -> None:
    file = tmp_path / "phasegate.yaml"
    file.write_text(
        'environment: x\ndatabase: {identity: {system_identifier: "74", database: mono}}'
    )
    assert not load_settings(file, {}, connects=False).database.configured
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {})
    (fault,) = caught.value.faults
    assert (fault.key, fault.line, fault.found) == ("database.url", 2, "no database")
    # Half of an identity pins nothing.
    file.write_text('database: {identity: {system_identifier: "74"}}')
    with pytest.raises(ConfigError, match="no database"):
        load_settings(file, {}, connects=False)
    # Rules and boards are of no database at all.
    file.write_text("criteria: {cache_hit_rate: {warning: 0.95}}")
    assert not load_settings(file, {}, measures=False).database.configured


@pytest.mark.parametrize(
    ("text", "database", "cache"),
    [
        ("environment: test", "postgresql://u:canary@h/db", "redis://:canary@h"),
        ("database: {url: 'host=here'}", "host=here", "redis://:canary@h"),
        ("cache: {key_pattern: 'p:*'}", "postgresql://u:canary@h/db", "redis://:canary@h"),
        (
            "cache: {url: 'unix:///run/v.sock'}",
            "postgresql://u:canary@h/db",
            "unix:///run/v.sock",
        ),
    ],
)
def test_the_environment_fills_in_for_a_url_that_the_file_leaves_out(
    tmp_path: Path, text: str, database: str, cache: str
) -> None:
    settings = read(tmp_path, text)
    assert settings.database.url is not None
    assert settings.database.url.reveal() == database
    assert settings.cache is not None
    assert settings.cache.url is not None
    assert settings.cache.url.reveal() == cache


def test_the_environment_leaves_a_url_file_alone(tmp_path: Path) -> None:
    settings = read(tmp_path, "database: {url_file: dsn}\ncache: {url_file: /abs/url}")
    assert settings.database.url is None
    assert settings.database.url_file == tmp_path / "dsn"
    assert settings.cache is not None
    assert (settings.cache.url, settings.cache.url_file) == (None, Path("/abs/url"))


@pytest.mark.parametrize(
    ("value", "environ", "found"),
    [
        ("${NAME}", {"NAME": "from-outside"}, "from-outside"),
        ('"${NAME}"', {"NAME": "from-outside"}, "from-outside"),
        ("a-${NAME}-${OTHER}", {"NAME": "1", "OTHER": "2"}, "a-1-2"),
        ("${NAME:-usual}", {}, "usual"),
        ("${NAME:-usual}", {"NAME": ""}, "usual"),
        ("${NAME:-usual}", {"NAME": "true"}, "true"),
    ],
)
def test_variables_are_expanded(
    tmp_path: Path, value: str, environ: dict[str, str], found: str
) -> None:
    assert read(tmp_path, f"environment: {value}", ENVIRON | environ).environment == found


def test_a_variable_may_hold_a_number_a_duration_and_a_size(tmp_path: Path) -> None:
    text = """
audit: {table: public.a, premake: "${N}"}
exporter: {probe_interval: "${D}", latency_buckets: ["${D}", 1h30m]}
criteria: {audit_partition_size: {warning: "${S}"}, cache_hit_rate: {warning: "${R}"}}
tables: [{name: public.t, uuid_version: "${V}"}]
"""
    environ = ENVIRON | {"N": "7", "D": "150ms", "S": "64MB", "R": "0.95", "V": "7"}
    text = text.replace("1h30m", "1s500ms")
    settings = read(tmp_path, text, environ)
    assert settings.audit is not None
    assert settings.audit.premake == 7
    assert settings.exporter.latency_buckets == (0.15, 1.5)
    assert settings.criteria.audit_partition_size.warning == 64_000_000
    assert settings.criteria.cache_hit_rate.warning == 0.95
    assert settings.tables[0].uuid_version == 7


def test_a_doubled_dollar_is_a_literal_one(tmp_path: Path) -> None:
    text = "health: [{name: api, url: 'http://h/', body: {contains: 'a $${NAME} $1 $ $$'}}]"
    assert read(tmp_path, text).health[0].body.contains == "a ${NAME} $1 $ $$"


def test_body_values_keep_their_kind(tmp_path: Path) -> None:
    body = '{a: ok, b: true, c: 3, d: 1.5, e: null, f: "3"}'
    text = f"health: [{{name: api, url: 'http://h/', body: {{json: {body}}}}}]"
    expected: dict[str, Any] = {"a": "ok", "b": True, "c": 3, "d": 1.5, "e": None, "f": "3"}
    found = read(tmp_path, text).health[0].body.json
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]


def test_find_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(None, {}) is None
    (tmp_path / "phasegate.yaml").write_text("", encoding="utf-8")
    assert find_config(None, {}) == Path("phasegate.yaml")
    assert find_config(None, {"PHASEGATE_CONFIG": "other.yaml"}) == Path("other.yaml")
    assert find_config(Path("named"), {"PHASEGATE_CONFIG": "other.yaml"}) == Path("named")


def test_settings_are_frozen() -> None:
    settings = load_settings(None, ENVIRON)
    with pytest.raises(AttributeError):
        settings.exporter.probe_interval = 1.0  # type: ignore[misc]
