"""The schema, the reference, `/config` and the hashes say what the reader does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from phasegate.contract.config_schema import render_configuration, render_json_schema
from phasegate.contract.names import TableName
from phasegate.contract.sections import Key, ListOf, MapOf, Section, keys_of
from phasegate.contract.settings import SETTINGS, Settings
from phasegate.contract.settings_criteria import Criteria
from phasegate.contract.settings_describe import (
    MEASURED_BY,
    criterion_hash,
    describe_settings,
    settings_hash,
)
from phasegate.contract.settings_load import load_settings
from phasegate.contract.shapes import Shape

ENVIRON = {"DATABASE_URL": "postgresql://u:hushhush@h/db"}
FILE = """
environment: production
database: {replicas: {r1: {url: "host=r"}}, identity: {database: mono}}
cache: {url: "redis://h"}
exporter: {probe_interval: 100ms, latency_buckets: [15ms, 1s]}
tables: [{name: public.users}, {name: '"odd.schema".orders', uuid_column: u}]
lookups: [{query_type: q, sql: "select $1", parameter: users.uuid}]
audit: {table: public.audit_logs, retention: 1 year, watch: [{table: public.users}]}
health: [{name: api, url: "http://h/", body: {json: {status: ok, n: 3}}, status: [200, 204]}]
application: {metrics_url: "http://h/m", cache: {requests: a, hits: b}}
prometheus: {url: "http://p", headers: {X-Scope-OrgID: tenant-a}}
criteria: {required: [health], audit_partition_size: {warning: 1GiB, critical: 1500MB}}
migrate: {hooks: {drain: {url: "http://h/drain", retries: 2}}}
"""


def read(tmp_path: Path, text: str = FILE) -> Settings:
    path = tmp_path / "phasegate.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, ENVIRON)


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(render_json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def all_keys(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key with its path; `[]` and `<name>` stand for the items of lists and maps."""
    match shape:
        case Section(of=of):
            for name, known in keys_of(of).items():
                yield (*path, name), known
                yield from all_keys(known.shape, (*path, name))
        case ListOf(item=item):
            yield from all_keys(item, (*path, "[]"))
        case MapOf(item=item):
            yield from all_keys(item, (*path, "<name>"))


KEYS = dict(all_keys(SETTINGS))


def test_the_schema_accepts_a_whole_file(validator: Any) -> None:
    assert list(validator.iter_errors(yaml.safe_load(FILE))) == []


@pytest.mark.parametrize(
    "text",
    [
        "exporter: {probe_intervall: 1s}",
        "exporter: {probe_interval: 200}",
        "exporter: {max_series: many}",
        "environment: 5",
        "tables: [{uuid_column: u}]",
        "audit: {table: a.b, partition: year}",
        "criteria: {required: []}",
        "database: {url: 'mysql://h'}",
        "health: [{name: a, url: 'ftp://h'}]",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(validator: Any, text: str) -> None:
    assert list(validator.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize("path", [path for path, known in KEYS.items() if known.example])
def test_every_example_is_valid(validator: Any, path: tuple[str, ...]) -> None:
    """By the schema, each at its own place; the reader's own check is the shape's."""
    definition = _schema_at(validator.schema, path)
    example = yaml.safe_load(KEYS[path].example)
    scope = {**definition, "$defs": validator.schema["$defs"]}
    assert list(jsonschema.Draft202012Validator(scope).iter_errors(example)) == []


def _schema_at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    place = schema
    for step in path:
        if "$ref" in place:
            place = schema["$defs"][place["$ref"].rpartition("/")[2]]
        match step:
            case "[]":
                place = place["items"]
            case "<name>":
                place = place["additionalProperties"]
            case _:
                place = place["properties"][step]
    return place


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_a_sentence_and_a_place_in_the_reference(path: tuple[str, ...]) -> None:
    known = KEYS[path]
    assert known.doc.endswith(".")
    assert f"| `{path[-1]}` |" in render_configuration()


def test_the_committed_pages_are_the_generated_ones() -> None:
    reference = Path(__file__).parents[3] / "docs" / "reference"
    schema = (reference / "phasegate.schema.json").read_text(encoding="utf-8")
    page = (reference / "configuration.md").read_text(encoding="utf-8")
    assert schema == render_json_schema()
    assert page == render_configuration()


def test_what_is_described_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    settings = read(tmp_path)
    described = yaml.safe_load(describe_settings(settings))
    described["database"]["url"] = ENVIRON["DATABASE_URL"]
    described["database"]["replicas"]["r1"]["url"] = "host=r"
    described["cache"]["url"] = "redis://h"
    described["prometheus"]["headers"]["X-Scope-OrgID"] = "tenant-a"
    again = read(tmp_path, yaml.safe_dump(described))
    assert replace(again, without_effect=()) == replace(settings, without_effect=())


def test_the_arguments_of_a_command_are_not_shown(tmp_path: Path) -> None:
    file = FILE.replace(
        'drain: {url: "http://h/drain"',
        "deploy_api: {command: [curl, -u, 'u:hushhush'], environment: {TOKEN: hushhush-2}},"
        ' drain: {url: "http://h/drain"',
    ).replace("database: {", "database: {password_command: [echo, hushhush-3], ")
    settings = read(tmp_path, file)
    shown = describe_settings(settings)
    assert "hushhush" not in f"{shown} {settings!r}"
    found = yaml.safe_load(shown)
    assert found["database"]["password_command"] == ["echo", "… 1 argument hidden"]
    hook = found["migrate"]["hooks"]["deploy_api"]
    assert hook["command"] == ["curl", "… 2 arguments hidden"]
    assert hook["environment"] == {"TOKEN": "***"}
    assert settings.database.password_command == ("echo", "hushhush-3")


def test_every_criterion_names_its_settings() -> None:
    assert set(MEASURED_BY) == set(keys_of(Criteria)) - {"required"}
    known = {".".join(path) for path in KEYS}
    assert {key for keys in MEASURED_BY.values() for key in keys} <= known


def test_the_hash_follows_the_settings_and_no_secret(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert len(settings_hash(settings)) == 16
    assert settings_hash(settings) == settings_hash(read(tmp_path))
    other = FILE.replace("100ms", "200ms")
    assert settings_hash(read(tmp_path, other)) != settings_hash(settings)
    assert settings_hash(read(tmp_path, other), "tables", "audit.table") == settings_hash(
        settings, "tables", "audit.table"
    )
    tenant = FILE.replace("OrgID: tenant-a", "OrgID: other")
    assert settings_hash(read(tmp_path, tenant)) == settings_hash(settings)


USERS = TableName("public", "users")


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("probe_interval: 100ms", "probe_interval: 50ms", {"uuid_lookup_latency"}),
        ("hits: b", "hits: c", {"cache_hit_rate"}),
        ("public.audit_logs", "public.audit", {"audit_growth", "audit_partition_size",
         "audit_partition_runway", "audit_coverage", "indexes_valid", "constraints_validated"}),
        ("name: public.users}", "name: public.users, uuid_column: x}",
         {"uuid_lookup_latency", "uuid_missing", "indexes_valid", "constraints_validated"}),
        ("uuid_column: u}", "uuid_column: v}", set()),
        ("name: public.users}", "name: public.users, keys: primary}", set()),
        ("warning: 1GiB", "warning: 2MB", set()),
        ("status: ok", "status: fine", {"health"}),
    ],
)  # fmt: skip
def test_a_criterion_depends_on_what_is_measured_for_it(
    tmp_path: Path, old: str, new: str, changed: set[str]
) -> None:
    before, after = read(tmp_path), read(tmp_path, FILE.replace(old, new))
    found = {
        criterion
        for criterion in MEASURED_BY
        if criterion_hash(before, criterion, USERS) != criterion_hash(after, criterion, USERS)
    }
    assert found == changed


def test_reading_the_settings_imports_no_driver() -> None:
    code = (
        "import sys, phasegate.contract.settings_load, phasegate.contract.connection\n"
        "print(sorted({'psycopg', 'redis', 'rich', 'pydantic', 'aiohttp', 'click', 'asyncio'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
