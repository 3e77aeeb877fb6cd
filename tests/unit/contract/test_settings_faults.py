"""Every kind of bad input, each told with its place, and all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from phasegate.contract import document
from phasegate.contract.errors import ConfigError, ConfigFault
from phasegate.contract.settings_load import load_settings

ENVIRON = {"DATABASE_URL": "host=h"}


def faults_of(
    tmp_path: Path, text: str | bytes, environ: dict[str, str] | None = None
) -> tuple[ConfigFault, ...]:
    path = tmp_path / "phasegate.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, ENVIRON if environ is None else environ)
    assert all(fault.file == str(path) for fault in caught.value.faults)
    return caught.value.faults


DOCUMENTS = {
    "empty": (b"", 1, 1, "an empty file"),
    "only a comment": (b"# nothing\n", 1, 1, "an empty file"),
    "a list": (b"- a\n", 1, 1, "a list"),
    "a text": (b"hello\n", 1, 1, "a text"),
    "null": (b"~\n", 1, 1, "nothing"),
    "a tab": (b"exporter:\n\turl: x\n", 2, 1, "cannot start any token"),
    "an open quote": (b"environment: 'x\n", 2, 1, "end of stream"),
    "a missing colon": (b"database:\n  url\n  cache: x\n", 3, 8, "mapping values"),
    "not UTF-8": (b"environment: a\nx: \xff\n", 2, 1, "not UTF-8"),
    "a control character": (b"environment: a\x00b\n", 1, 1, "a character that YAML"),
    "two documents": (b"environment: a\n---\nenvironment: b\n", 2, 1, "a second document"),
    "too large": (b"# " + b"x" * 1_048_576, 1, 1, "1048578 bytes"),
    "too deep": (b"[" * 40 + b"]" * 40, 1, 26, "24 levels"),
    "a key of many parts": (b"? [a, b]\n: c\n", 1, 3, "a key of many parts"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_broken_documents(tmp_path: Path, name: str) -> None:
    data, line, column, found = DOCUMENTS[name]
    fault = faults_of(tmp_path, data)[0]
    assert (fault.line, fault.column) == (line, column)
    assert found in fault.found


# The file; of its one fault the key, a part of what was found, a part of what is expected or the
# hint.
FAULTS = {
    "unknown key": ("exporter: {probe_intervall: 1s}", "exporter.probe_intervall",
                    "an unknown key", "did you mean probe_interval?"),
    "canary of the application": (
        "audit: {table: a.b, watch: [{table: a.c, writer: application, canary: {id: 1}}]}",
        "audit.watch[0].canary", "a canary where the application writes", "writer: trigger"),
    "canary without a value": ("audit: {table: a.b, watch: [{table: a.c, canary: {id: }}]}",
                               "audit.watch[0].canary.id", "nothing", "the value of one row's key"),
    "decoding without a unit": ("criteria: {audit_coverage: {decoding: 30}}",
                                "criteria.audit_coverage.decoding", "30", "a duration"),
    "unknown key at the top": ("databse: {}", "databse", "an unknown key", "did you mean database"),
    "key twice": ("environment: a\nenvironment: b", "environment", "the same key again", "line 1"),
    "merge key": ("exporter: {<<: {url: x}}", "exporter.'<<'", "a merge key", "keys themselves"),
    "anchor": ("environment: &a b", "environment", "an anchor", "plain value"),
    "alias": ("environment: *a", "environment", "an alias", "value itself"),
    "tag": ("environment: !!str 5", "environment", "a tag", "plain value"),
    "no value": ("environment:", "environment", "nothing", "a name"),
    "empty text": ("audit: {table: ''}", "audit.table", "an empty text", "schema.table"),
    "number for text": ("environment: 5", "environment", "the number '5'", "in quotes"),
    "boolean for text": ("environment: yes", "environment", "the boolean 'yes'", "in quotes"),
    "text for number": ("exporter: {max_series: many}", "exporter.max_series", "'many'", "series"),
    "quoted number": ("exporter: {max_series: '5'}", "exporter.max_series", "'5'",
                      "without quotes"),
    "float for whole": ("exporter: {max_series: 1.5}", "exporter.max_series", "'1.5'", "series"),
    "underscores": ("exporter: {max_series: 1_000}", "exporter.max_series", "'1_000'", "series"),
    "hexadecimal": ("exporter: {max_series: 0x10}", "exporter.max_series", "'0x10'", "series"),
    "huge": ("exporter: {max_series: 99999999999999999999}", "exporter.max_series",
             "'9999", "from 1 "),
    "huge float": ("criteria: {cache_hit_rate: {warning: 1e999}}",
                   "criteria.cache_hit_rate.warning", "'1e999'", "from 0 to 1"),
    "NaN": ("criteria: {cache_hit_rate: {warning: .nan}}", "criteria.cache_hit_rate.warning",
            "'.nan'", "from 0 to 1"),
    "infinity": ("criteria: {error_rate: {margin: .inf}}", "criteria.error_rate.margin", "'.inf'",
                 "from 1 to 100"),
    "ratio in per cent": ("criteria: {cache_hit_rate: {warning: 90}}",
                          "criteria.cache_hit_rate.warning", "'90'", "from 0 to 1"),
    "mapping for text": ("environment: {a: b}", "environment", "a mapping", "a name"),
    "text for mapping": ("exporter: fast", "exporter", "a text", "a mapping"),
    "text for list": ("tables: public.users", "tables", "a text", "a list"),
    "mapping for list": ("tables: {name: public.users}", "tables", "a mapping", "a list"),
    "missing key": ("tables: [{uuid_column: u}]", "tables[0].name", "nothing",
                    "name: public.users"),
    "no unit": ("exporter: {probe_interval: 200}", "exporter.probe_interval", "'200'", "its unit"),
    "odd unit": ("exporter: {probe_interval: 2 fortnights}", "exporter.probe_interval", "fortn",
                 "200ms"),
    "negative duration": ("exporter: {probe_interval: -1s}", "exporter.probe_interval", "'-1s'",
                          "from 10ms"),
    "duration too long": ("exporter: {probe_interval: 2h}", "exporter.probe_interval",
                          "'2h'", "to 1m"),
    "endless duration": (f"exporter: {{probe_interval: {'9' * 400}s}}", "exporter.probe_interval",
                         "'999", "to 1m"),
    "odd size": ("criteria: {audit_partition_size: {warning: 10 gigs}}",
                 "criteria.audit_partition_size.warning", "'10 gigs'", "10GiB"),
    "odd retention": ("audit: {table: a.b, retention: 24}", "audit.retention", "'24'", "24 months"),
    "retention of none": ("audit: {table: a.b, retention: 0 months}", "audit.retention",
                          "'0 months'", "24 months"),
    "odd choice": ("audit: {table: a.b, partition: year}", "audit.partition", "'year'",
                   "day, week, month"),
    "text for choice of numbers": ("tables: [{name: a.b, uuid_version: '4'}]",
                                   "tables[0].uuid_version", "the text '4'", "one of 4, 7"),
    "no schema": ("tables: [{name: users}]", "tables[0].name", "'users'", "public.users"),
    "too many parts": ("tables: [{name: a.b.c}]", "tables[0].name", "'a.b.c'", "schema"),
    "blank in a name": ("tables: [{name: a.b c}]", "tables[0].name", "'a.b c'", "double quotes"),
    "half a name": ("tables: [{name: a.}]", "tables[0].name", "'a.'", "missing"),
    "name too long": (f"tables: [{{name: a.{'ä' * 32}}}]", "tables[0].name", "'a.", "63 bytes"),
    "dotted column": ("tables: [{name: a.b, uuid_column: c.d}]", "tables[0].uuid_column", "'c.d'",
                      "single name"),
    "odd metric": ("application: {metrics_url: 'http://h/', requests: {metric: a-b}}",
                   "application.requests.metric", "'a-b'", "name of a metric"),
    "odd label": ("application: {metrics_url: 'http://h/', requests: {metric: a, match: {a-b: c}}}",
                  "application.requests.match.a-b", "this name", "a label"),
    "odd expression": ("application: {metrics_url: 'http://h/', requests: {metric: a, "
                       "match: {b: '('}}}", "application.requests.match.b", "'('", "compile"),
    "odd scheme": ("health: [{name: a, url: 'ftp://h/'}]", "health[0].url", "no such URL", "https"),
    "no host": ("health: [{name: a, url: 'http:///x'}]", "health[0].url", "no such URL", "https"),
    "odd port": ("health: [{name: a, url: 'http://h:99999/'}]", "health[0].url", "no such",
                 "https"),
    "user in a URL": ("health: [{name: a, url: 'http://u:hushhush@h/'}]", "health[0].url",
                      "a user or password", "basic_auth"),
    "odd status": ("health: [{name: a, url: 'http://h/', status: [20]}]", "health[0].status[0]",
                   "'20'", "from 100 to 599"),
    "no status": ("health: [{name: a, url: 'http://h/', status: []}]", "health[0].status",
                  "an empty list", "at least 1"),
    "odd database URL": ("database: {url: 'mysql://h/'}", "database.url", "a text", "libpq"),
    "odd cache URL": ("cache: {url: 'memcached://h'}", "cache.url", "a text", "rediss://"),
    "odd cache port": ("cache: {url: 'redis://h:x'}", "cache.url", "a text", "a port"),
    "odd cache parameter": ("cache: {url: 'redis://h?timeout=3'}", "cache.url", "a text",
                            "not known: timeout"),
    "empty command": ("database: {password_command: []}", "database.password_command",
                      "an empty list", "at least 1"),
    "command as text": ("database: {password_command: aws x}", "database.password_command",
                        "a text", "a list"),
    "odd replica name": ("database: {replicas: {'a b': {url: host=h}}}", "database.replicas.'a b'",
                         "this name", "letters"),
    "unset variable": ("environment: ${NOPE}", "environment", "${NOPE}, which is not set",
                       "variable NOPE"),
    "unfinished variable": ("environment: ${NOPE", "environment", "an unfinished ${", "${NAME}"),
    "odd variable": ("environment: '${1A}'", "environment", "an unfinished ${", "${NAME}"),
    "empty variable": ("audit: {table: '${EMPTY}'}", "audit.table", "nothing in ${EMPTY}",
                       "schema.table"),
    # contradictions
    "url and url_file": ("database: {url: host=h, url_file: x}", "database.url_file",
                         "url and url_file", "one of them"),
    "two passwords": ("database: {password_file: a, password_command: [b]}",
                      "database.password_command", "password_file and", "one of them"),
    "password alone": ("cache: {password_file: a}", "cache.password_file", "alone", "url"),
    "replica without url": ("database: {replicas: {a: {}}}", "database.replicas.a.url", "nothing",
                            "url or url_file"),
    "replica with an odd url": ("database: {replicas: {a: {url: x}}}", "database.replicas.a.url",
                                "a text", "libpq"),
    "replica named database": ("database: {replicas: {database: {url: host=h}}}",
                               "database.replicas.database", "named database", "another name"),
    "replica named cache": ("database: {replicas: {cache: {url: host=h}}}",
                            "database.replicas.cache", "named cache", "another name"),
    "check named database": ("health: [{name: database, url: 'http://h/'}]", "health[0].name",
                             "named database", "another name"),
    "latency limits": ("criteria: {uuid_lookup_latency: {warning: 20ms, critical: 10ms}}",
                       "criteria.uuid_lookup_latency.warning", "beyond", "lower than critical"),
    "latency limit against the default": (
        "criteria: {uuid_lookup_latency: {critical: 5ms}}",
        "criteria.uuid_lookup_latency.critical", "beyond the warning", "warning is 10 ms by"),
    "hit rate limit against the default": (
        "criteria: {cache_hit_rate: {warning: 0.7}}", "criteria.cache_hit_rate.warning",
        "beyond the critical", "higher than critical; critical is 80 % by"),
    "growth limit against the default": (
        "criteria: {audit_growth: {warning: 60000}}", "criteria.audit_growth.warning",
        "beyond", "critical is 50,000 rows an hour"),
    "size limit against the default": (
        "criteria: {audit_partition_size: {critical: 1GiB}}",
        "criteria.audit_partition_size.critical", "beyond", "higher than warning; warning is 10"),
    "runway limit against the default": (
        "criteria: {audit_partition_runway: {critical: 20d}}",
        "criteria.audit_partition_runway.critical", "beyond", "lower than warning; warning is 14"),
    "number as an argument": ("database: {password_command: [echo, 70000000]}",
                              "database.password_command[1]", "a number", "an argument"),
    "hit rate limits": ("criteria: {cache_hit_rate: {warning: 0.8, critical: 0.9}}",
                        "criteria.cache_hit_rate.warning", "beyond", "higher than critical"),
    "runway limits": ("criteria: {audit_partition_runway: {warning: 1d, critical: 2d}}",
                      "criteria.audit_partition_runway.warning", "beyond", "higher than"),
    "same table twice": ("tables: [{name: a.b}, {name: a.b}]", "tables[1].name",
                         "a.b a second time", "each once"),
    "same check twice": ("health: [{name: a, url: 'http://h/'}, {name: a, url: 'http://i/'}]",
                         "health[1].name", "a a second time", "each once"),
    "no premake": ("audit: {table: a.b, premake: 0}", "audit.premake", "'0'", "from 1"),
    "unknown criterion": ("criteria: {required: [latency]}", "criteria.required[0]", "'latency'",
                          "uuid_lookup_latency"),
    "criterion that never gates": ("criteria: {required: [audit_growth]}", "criteria.required[0]",
                                   "'audit_growth'", "one of"),
    "unknown criterion's limits": ("criteria: {hit_rate: {}}", "criteria.hit_rate",
                                   "an unknown key", "cache_hit_rate"),
    "criterion twice": ("criteria: {required: [health, health]}", "criteria.required[1]",
                        "health a second time", "each once"),
    "nothing required": ("criteria: {required: []}", "criteria.required", "an empty list",
                         "at least 1"),
    "parameter without a column": ("lookups: [{query_type: a, sql: $1, parameter: uuid}]",
                                   "lookups[0].parameter", "'uuid'", "table and column"),
    "parameter of no table": ("lookups: [{query_type: a, sql: $1, parameter: users.uuid}]",
                              "lookups[0].parameter", "no table", "schema.table.column"),
    "parameter of two tables": ("tables: [{name: a.u}, {name: b.u}]\n"
                                "lookups: [{query_type: a, sql: $1, parameter: u.uuid}]",
                                "lookups[0].parameter", "several tables", "schema.table.column"),
    "SQL without a parameter": ("lookups: [{query_type: a, sql: select 1, parameter: a.b.c}]",
                                "lookups[0].sql", "SQL without $1", "$1"),
    "same lookup twice": ("tables: [{name: a.u}]\nlookups: [{query_type: q, sql: $1, parameter: "
                          "u.x}, {query_type: q, sql: $1, parameter: a.u.y}]",
                          "lookups[1].query_type", "a second time", "once"),
    "our own lookup again": ("tables: [{name: a.u}]\n"
                             "lookups: [{query_type: uuid_lookup, sql: $1, parameter: u.x}]",
                             "lookups[0].query_type", "a second time", "once"),
    "audit table watched": ("audit: {table: a.b, watch: [{table: a.b}]}", "audit.watch[0].table",
                            "the audit table itself", "audits"),
    "watched twice": ("audit: {table: a.b, watch: [{table: a.c}, {table: a.c}]}",
                      "audit.watch[1].table", "a.c a second time", "once"),
    "audit table gains a key": ("audit: {table: a.b}\ntables: [{name: a.b}]", "tables[0].name",
                                "the audit table", "UUID key"),
    "hook of both kinds": ("migrate: {hooks: {drain: {command: [a], url: 'http://h/'}}}",
                           "migrate.hooks.drain.url", "command and url", "one of them"),
    "hook of no kind": ("migrate: {hooks: {drain: {retries: 1}}}", "migrate.hooks.drain.command",
                        "nothing", "command or url"),
    "no password": ("prometheus: {url: 'http://h', basic_auth: {username: u}}",
                    "prometheus.basic_auth.password", "nothing", "password or password_file"),
    "two ways in": ("prometheus: {url: 'http://h', bearer_file: b, basic_auth: {username: u, "
                    "password_file: p}}", "prometheus.bearer_file", "basic_auth and bearer_file",
                    "one of them"),
    "certificate without key": ("exporter: {cert: c}", "exporter.cert", "cert alone", "key"),
    "key without certificate": ("exporter: {key: c}", "exporter.key", "key alone", "cert"),
    "timeout below a limit": ("exporter: {probe_timeout: 50ms}\n"
                              "criteria: {uuid_lookup_latency: {critical: 50ms}}",
                              "exporter.probe_timeout", "cancelled before", "uuid_lookup_latency"),
    "probe beyond a block": ("exporter: {probe_interval: 5s, evidence_block: 1s}",
                             "exporter.probe_interval", "above evidence_block", "many probes"),
    "scan beyond its interval": ("exporter: {cache_scan_budget: 2m}",
                                 "exporter.cache_scan_budget", "above", "cache_scan_interval"),
    "bucket twice": ("exporter: {latency_buckets: [1s, 1000ms]}", "exporter.latency_buckets[1]",
                     "1s a second time", "each once"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_bad_values(tmp_path: Path, name: str) -> None:
    text, key, found, wanted = FAULTS[name]
    faults = faults_of(tmp_path, text, ENVIRON | {"EMPTY": ""})
    assert [fault.key for fault in faults] == [key]
    (fault,) = faults
    assert found in fault.found
    assert wanted in f"{fault.expected}; {fault.hint}"
    assert "hushhush" not in str(fault)


def test_a_fault_points_at_its_value(tmp_path: Path) -> None:
    text = "environment: a\ntables:\n  - name: public.users\n    uuid_version: 5\n"
    (fault,) = faults_of(tmp_path, text)
    assert (fault.line, fault.column) == (4, 19)
    assert str(fault).startswith(f"{tmp_path}/phasegate.yaml:4:19: tables[0].uuid_version: found ")


def test_a_contradiction_points_at_the_later_value(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "tables:\n- name: a.b\n- name: a.b\n")
    assert (fault.line, fault.column) == (3, 9)


def test_all_faults_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
envronment: a
exporter: {probe_interval: 200, max_series: 0}
database: {url: "${NOPE}", replicas: {cache: {url: host=h}}}
criteria:
  uuid_lookup_latency: {warning: 2s, critical: 1s}
  required: []
audit: {table: public.a, premake: 0, watch: [{table: public.a}]}
health: [{url: 'http://h/'}, {name: a, url: x}]
"""
    assert [(fault.line, fault.key) for fault in faults_of(tmp_path, text)] == [
        (1, "envronment"),
        (2, "exporter.probe_interval"),
        (2, "exporter.max_series"),
        (3, "database.url"),
        (3, "database.replicas.cache"),
        (5, "criteria.uuid_lookup_latency.warning"),
        (6, "criteria.required"),
        (7, "audit.premake"),
        (7, "audit.watch[0].table"),
        (8, "health[0].name"),
        (8, "health[1].url"),
    ]


def test_a_wrong_name_is_told_beside_a_fault_below_it(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, "database: {replicas: {cache: {}}}")
    assert [fault.key for fault in faults] == [
        "database.replicas.cache",
        "database.replicas.cache.url",
    ]


def test_a_fault_of_the_environment_has_no_place() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(None, {"DATABASE_URL": "mysql://u:hushhush@h/"})
    (fault,) = caught.value.faults
    assert str(fault) == (
        "the environment: database.url: found the value of ${DATABASE_URL}, expected a libpq "
        "connection string: postgresql://… or keyword=value pairs"
    )


def test_a_variable_that_is_no_text(tmp_path: Path) -> None:
    odd = {"ODD": "hushhush\udcff", "DATABASE_URL": "host=h password=hushhush\udcff"}
    one, two = faults_of(tmp_path, "audit: {table: 'a.${ODD}'}", odd)
    assert (one.key, one.hint) == ("database.url", "it is no text in UTF-8")
    assert (two.key, two.found) == ("audit.table", "bytes that are no text in ${ODD}")
    assert "hushhush" not in f"{one} {two}"


@pytest.mark.parametrize("target", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, target: str) -> None:
    with pytest.raises(ConfigError, match="a file that cannot be read"):
        load_settings(tmp_path / target, ENVIRON)


CANARY = "hushhush-7f/3:K"
LEAKS = {
    "URL for mapping": f"database: 'postgresql://u:{CANARY}@h/db'",
    "keyword form for mapping": f"database: 'host=h password={CANARY}'",
    "bare password for mapping": f"prometheus: {{url: 'http://h', basic_auth: '{CANARY}'}}",
    "URL for a name": f"environment: 'postgresql://u:{CANARY}@h/db'",
    "bad scheme": f"database: {{url: 'postgre://u:{CANARY}@h'}}",
    "bad cache URL": f"cache: {{url: 'redis://:{CANARY}@h:x'}}",
    "HTTP URL": f"health: [{{name: a, url: 'http://u:{CANARY}@h'}}]",
    "variable in a URL": "database: {url: '${CANARY}'}",
    "variable elsewhere": "exporter: {probe_interval: '${CANARY}', max_series: '${CANARY}'}",
    "variable in a choice": "audit: {table: '${CANARY}', partition: '${CANARY}'}",
    "variable in a name": "environment: '${CANARY}'",
    "variable in a path of a URL": "health: [{name: a, url: 'ftp://h/${CANARY}'}]",
    "password as alias": f"database: {{url: *{CANARY.replace(':', '').replace('/', '')}}}",
    "password as tag": f"database: {{url: !{CANARY} x}}",
    "password as anchor": f"database: {{url: &{CANARY.replace(':', '').replace('/', '')} x}}",
    "password as handle": f"database: {{url: !{CANARY.split('/', maxsplit=1)[0]}!a x}}",
    "unknown key": f"database: {{pasword: '{CANARY}'}}",
    "URL as a key": f"'postgresql://u:{CANARY}@h/db': 1",
    "unset variable with text": f"database: {{url: 'postgresql://u:{CANARY}@${{NOPE}}/db'}}",
    "syntax beside it": f"database: {{url: 'postgresql://u:{CANARY}@h/db'",
    "number for a secret": "cache: {url: 70000000000}",
}


@pytest.mark.parametrize("loader", ["libyaml", "pure Python"])
@pytest.mark.parametrize("name", LEAKS)
def test_no_fault_shows_a_secret(
    tmp_path: Path, name: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loader == "pure Python":  # where PyYAML was built without libyaml; its messages quote more
        monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    for fault in faults_of(tmp_path, LEAKS[name], ENVIRON | {"CANARY": CANARY}):
        assert "hushhush" not in str(fault)
        assert "7000000" not in str(fault)
