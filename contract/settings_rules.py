"""Values that are each fine and together wrong: every contradiction a file can hold, by section.

A rule gets what could be read of its section, by key: a key with a fault of its own is absent, an
item of a list or a map with a fault is `INVALID`. So all contradictions are told in the same run
as all other faults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from phasegate.contract.quantities import format_value
from phasegate.contract.sections import Contradiction, Rule
from phasegate.contract.shapes import INVALID

Values = Mapping[str, Any]
_SEVERITIES = ("warning", "critical")
_TARGETS = ("database", "cache")
_ANOTHER_NAME = "another name; database and cache are targets of their own"


def _items(values: Values, name: str) -> Iterator[tuple[int, Any]]:
    for index, item in enumerate(values.get(name, ())):
        if item is not INVALID:
            yield index, item


def _given(values: Values, *names: str) -> list[str]:
    return [name for name in names if values.get(name) is not None]


def _at_most_one(*names: str) -> Rule:
    def rule(values: Values) -> Iterator[Contradiction]:
        given = _given(values, *names)
        if len(given) > 1:
            yield Contradiction((given[-1],), " and ".join(given), "one of them")

    return rule


def _exactly_one(*names: str) -> Rule:
    def rule(values: Values) -> Iterator[Contradiction]:
        # An absent key had a fault of its own, which may be the one that is missing.
        if not _given(values, *names) and all(name in values for name in names):
            yield Contradiction((names[0],), "nothing", f"{' or '.join(names)}")
        yield from _at_most_one(*names)(values)

    return rule


def _password_needs_server(values: Values) -> Iterator[Contradiction]:
    ways = _given(values, "password_file", "password_command")
    if ways and all(values.get(name, "") is None for name in ("url", "url_file")):
        yield Contradiction((ways[0],), f"{ways[0]} alone", "url or url_file beside it")


def _certificate_with_key(values: Values) -> Iterator[Contradiction]:
    for one, other in (("cert", "key"), ("key", "cert")):
        if values.get(one) is not None and values.get(other, "") is None:
            yield Contradiction((one,), f"{one} alone", f"{other} beside it")


def _errors_of_requests(values: Values) -> Iterator[Contradiction]:
    if values.get("errors") is not None and values.get("requests", "") is None:
        yield Contradiction(("errors",), "errors alone", "requests beside them")


def of_limits(criterion: str) -> tuple[Rule, ...]:
    """Warning comes before critical, also where the contract's default stands for one of them."""

    def rule(values: Values) -> Iterator[Contradiction]:
        # Here, for the contract's criteria are read from settings, which are made by these rules.
        from phasegate.contract.criteria import CRITERIA, Direction  # noqa: PLC0415

        entry, given = CRITERIA[criterion], _given(values, *_SEVERITIES)
        if not given or any(severity not in values for severity in _SEVERITIES):
            return
        limits: dict[str, Any] = {"warning": entry.warning, "critical": entry.critical}
        limits |= {severity: values[severity] for severity in given}
        rising = entry.direction is Direction.ABOVE
        first, last = _SEVERITIES if rising else reversed(_SEVERITIES)
        if limits[first] <= limits[last]:
            return
        name = given[0]
        other = last if name == first else first
        side = "lower" if name == first else "higher"
        default = "" if other in given else format_value(limits[other], entry.unit)
        yield Contradiction(
            (name,),
            f"a {name} limit beyond the {other} one",
            f"{side} than {other}",
            default and f"{other} is {default} by default",
        )

    return (rule,)


def _shorter(name: str, limit: str, reason: str) -> Rule:
    def rule(values: Values) -> Iterator[Contradiction]:
        if name in values and limit in values and values[name] > values[limit]:
            yield Contradiction((name,), f"{name} above {limit}", f"at most {limit}", reason)

    return rule


def _placeholder(values: Values) -> Iterator[Contradiction]:
    if "sql" in values and "$1" not in values["sql"]:
        yield Contradiction(("sql",), "SQL without $1", "SQL with the parameter $1")


def _watch(values: Values) -> Iterator[Contradiction]:
    seen: dict[Any, int] = {}
    for index, watch in _items(values, "watch"):
        path = ("watch", index, "table")
        if watch.table == values.get("table"):
            yield Contradiction(path, "the audit table itself", "a table that it audits")
        if watch.table in seen:
            yield Contradiction(path, f"{watch.table} a second time", "each table once")
        seen[watch.table] = index


def _canary(values: Values) -> Iterator[Contradiction]:
    canary = values.get("canary", {})
    if canary and values.get("writer", "trigger") != "trigger":
        found = f"a canary where the {values['writer']} writes the audit rows"
        hint = "criteria.audit_coverage.decoding watches what the application writes"
        yield Contradiction(("canary",), found, "writer: trigger beside it", hint)
    for column, value in canary.items():
        if value is None:
            yield Contradiction(("canary", column), "nothing", "the value of one row's key")


def _unique(section: str, *names: str) -> Rule:
    def rule(values: Values) -> Iterator[Contradiction]:
        seen = set()
        for index, item in _items(values, section):
            identity = tuple(getattr(item, name) for name in names)
            if identity in seen:
                shown = " ".join(str(part) for part in identity)
                path = (section, index, names[0])
                yield Contradiction(path, f"{shown} a second time", "each once")
            seen.add(identity)

    return rule


def _parameters(values: Values) -> Iterator[Contradiction]:
    """Each parameter leads to one table, and no two timings to the same labels."""
    if any(item is INVALID for item in values.get("tables", (INVALID,))):
        return
    names = [table.name for _, table in _items(values, "tables")]
    seen = {(ours, name) for ours in ("uuid_lookup", "id_lookup") for name in names}
    for index, lookup in _items(values, "lookups"):
        column = lookup.parameter
        tables = [name for name in names if name.table == column.table]
        if not column.schema and len(tables) != 1:
            found = "several tables of this name" if tables else "no table of this name in tables"
            yield Contradiction(("lookups", index, "parameter"), found, "schema.table.column")
            continue
        table = (column.schema, column.table) if column.schema else tables[0]
        if (lookup.query_type, table) in seen:
            yield Contradiction(
                ("lookups", index, "query_type"),
                f"{lookup.query_type} of this table a second time",
                "each query_type of a table once",
            )
        seen.add((lookup.query_type, table))


def _probe_timeout(values: Values) -> Iterator[Contradiction]:
    if "exporter" not in values or "criteria" not in values:
        return
    limits = values["criteria"].uuid_lookup_latency
    if any(
        values["exporter"].probe_timeout <= limit
        for limit in (limits.warning, limits.critical)
        if limit
    ):
        yield Contradiction(
            ("exporter", "probe_timeout"),
            "a probe that is cancelled before it can be told slow",
            "more than the limits of uuid_lookup_latency",
        )


NO_DATABASE = Contradiction(
    ("database", "url"),
    "no database",
    "database.url or url_file in phasegate.yaml, or the environment variable DATABASE_URL",
    "the file is named by --config (--config.file for the exporter) or PHASEGATE_CONFIG",
)


def _audited(values: Values) -> Iterator[Contradiction]:
    audit = values.get("audit")
    for index, table in _items(values, "tables"):
        if audit is not None and table.name == audit.table:
            yield Contradiction(
                ("tables", index, "name"), "the audit table", "a table that gains a UUID key"
            )


def _replica_names(values: Values) -> Iterator[Contradiction]:
    for name in values.get("replicas", {}):
        if name in _TARGETS:
            yield Contradiction(("replicas", name), f"a replica named {name}", _ANOTHER_NAME)


def _check_names(values: Values) -> Iterator[Contradiction]:
    for index, check in _items(values, "health"):
        if check.name in _TARGETS:
            path = ("health", index, "name")
            yield Contradiction(path, f"a check named {check.name}", _ANOTHER_NAME)


_ACCESS = (_at_most_one("url", "url_file"), _at_most_one("password_file", "password_command"))
of_replica: tuple[Rule, ...] = (
    _exactly_one("url", "url_file"),
    _at_most_one("password_file", "password_command"),
)
of_database: tuple[Rule, ...] = (*_ACCESS, _password_needs_server, _replica_names)
of_cache: tuple[Rule, ...] = (*_ACCESS, _password_needs_server)
of_basic_auth: tuple[Rule, ...] = (_exactly_one("password", "password_file"),)
of_http: tuple[Rule, ...] = (_at_most_one("basic_auth", "bearer_file"), _certificate_with_key)
of_application: tuple[Rule, ...] = (*of_http, _errors_of_requests)
of_exporter: tuple[Rule, ...] = (
    *of_http,
    _shorter("probe_interval", "evidence_block", "a block holds many probes"),
    _shorter("evidence_block", "evidence_retention", "a block is kept after its end"),
    _shorter("cache_scan_budget", "cache_scan_interval", "a scan ends before the next begins"),
)
of_lookup: tuple[Rule, ...] = (_placeholder,)
of_audit: tuple[Rule, ...] = (_watch,)
of_watch: tuple[Rule, ...] = (_canary,)
of_hook: tuple[Rule, ...] = (_exactly_one("command", "url"),)
of_settings: tuple[Rule, ...] = (
    _unique("tables", "name"),
    _unique("health", "name"),
    _parameters,
    _audited,
    _check_names,
    _probe_timeout,
)
