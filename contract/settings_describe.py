"""Settings shown to people and compared by machines, both without a secret.

`describe_settings` is what `/config` answers. A hash tells whether two measurements were made
under the same settings: what a judge compares with, such as a limit, is no part of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from phasegate.contract.names import TableName
from phasegate.contract.secrets import redact
from phasegate.contract.settings import SETTINGS, Settings
from phasegate.contract.settings_load import secrets_of

_AUDIT = ("audit.table", "audit.time_column", "audit.partition")
MEASURED_BY: dict[str, tuple[str, ...]] = {
    "health": ("health",),
    "uuid_lookup_latency": ("tables", "exporter.probe_interval", "exporter.probe_timeout"),
    "cache_hit_rate": ("application.metrics_url", "application.cache"),
    "error_rate": ("application.metrics_url", "application.requests", "application.errors"),
    "audit_coverage": ("audit.table", "audit.watch"),
    "integration_tests": (),
    "customer_issues": (),
    "uuid_missing": ("tables",),
    "indexes_valid": ("tables", "audit.table"),
    "constraints_validated": ("tables", "audit.table"),
    "audit_growth": ("audit.table",),
    "audit_partition_size": ("audit.table", "exporter.partition_max_age"),
    "audit_partition_runway": _AUDIT,
    "backup_restored": (),
    "preflight": (),
}
"""The settings that change what is measured for a criterion, by dotted key."""
_TABLE_KEYS = ("name", "uuid_column")


def describe_settings(settings: Settings) -> str:
    """The settings in force, defaults filled in, as YAML of the file's own form; redacted."""
    plain = _without_nothing(SETTINGS.plain(settings))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    return redact(text, secrets_of(settings))


def settings_hash(settings: Settings, *keys: str) -> str:
    """16 hex digits of the settings below these dotted keys; of all where none is given."""
    plain = SETTINGS.plain(settings)
    return _digest({key: _part(plain, key) for key in keys} if keys else plain)


def criterion_hash(settings: Settings, criterion: str, table: TableName | None = None) -> str:
    """16 hex digits of what the measurement for `criterion` depends on.

    With `table`, of `tables` only the entry of that table counts, so that adding another one
    leaves the evidence of this one whole.
    """
    plain = SETTINGS.plain(settings)
    plain["tables"] = [
        {key: entry[key] for key in _TABLE_KEYS}
        for entry in plain["tables"]
        if table is None or entry["name"] == str(table)
    ]
    return _digest({key: _part(plain, key) for key in MEASURED_BY[criterion]})


def counted_hashes(settings: Settings) -> dict[tuple[str, str, str], str]:
    """The hashes of what is exposed as counters, by criterion, schema and table."""
    found = {
        ("uuid_lookup_latency", *table.name): criterion_hash(
            settings, "uuid_lookup_latency", table.name
        )
        for table in settings.tables
    }
    return found | {("cache_hit_rate", "", ""): criterion_hash(settings, "cache_hit_rate")}


def _part(plain: Any, key: str) -> Any:
    for step in key.split("."):
        if plain is None:
            return None
        plain = plain[step]
    return plain


def _digest(plain: Any) -> str:
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        parts = {name: _without_nothing(part) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part not in (None, {}, [], "")}
    if isinstance(value, list):
        return [_without_nothing(item) for item in value]
    return value
