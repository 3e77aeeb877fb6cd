"""The commented `phasegate.yaml` of a draft. Pure; what it was not sure of stands as a question."""

from __future__ import annotations

from collections.abc import Iterable

from phasegate.contract.names import ColumnName
from phasegate.migrate.findings import size
from phasegate.operate.init_draft import Draft
from phasegate.operate.init_frameworks import COMMANDS, find_frameworks
from phasegate.operate.init_render_parts import QUESTION, render_audit, render_cache
from phasegate.operate.init_tables import Candidate, describe_links, polymorphic_columns
from phasegate.operate.init_trial import MOST_TRIED, TriedTable
from phasegate.operate.init_yaml import block, column, comment, scalar

_MOST_LEFT_OUT = 200
_REST = """\
# What no database tells:
# health: [{name: api, url: "http://127.0.0.1:8080/health"}]
# application:
#   metrics_url: "http://127.0.0.1:8080/metrics"
#   requests: {metric: http_requests_total}
#   errors: {metric: http_requests_total, match: {status: "5.."}}
#   cache: {requests: cache_requests_total, hits: cache_hits_total}
# prometheus: {url: "http://127.0.0.1:9090"}
# issues: {signoff: {file: signoff.yaml, required: [support inbox read]}}
# migrate:
#   backup: {directory: ./backups}
#   hooks:
#     deploy_api: {command: [kubectl, apply, -f, api.yaml], timeout: 300s}
#     rollback_api: {command: [kubectl, rollout, undo, deployment/api], timeout: 300s}"""


def render_draft(draft: Draft) -> str:
    """The whole file. No connection string is in it, only the variables that hold them."""
    sections = [
        _head(draft),
        _environment(draft),
        _database(draft),
        render_cache(draft.cache),
        _exporter(),
        _tables(draft),
        _lookups(draft),
        render_audit(draft),
        _rest(draft),
    ]
    return "\n".join("\n".join(lines) + "\n" for lines in sections if lines)


def count_questions(text: str) -> int:
    """How many of them stand in the file."""
    return sum(QUESTION in line for line in text.split("\n"))


def _rest(draft: Draft) -> list[str]:
    """And the framework's own command, where there is one."""
    lines = _REST.split("\n")
    for one in find_frameworks(draft.facts):
        if one in COMMANDS:
            argv = ", ".join(map(scalar, COMMANDS[one]))
            lines.append(f"#     framework_migrate: {{command: [{argv}], timeout: 300s}}")
    return lines


def _head(draft: Draft) -> list[str]:
    facts = draft.facts
    version = f"{facts.version // 10_000}.{facts.version % 10_000}"
    lines = comment(
        f"Written by `phasegate init` from the database {facts.database} (PostgreSQL {version}), "
        f"as the role {facts.role}. Sizes and rows are the planner's estimates. Every key: "
        "docs/reference/configuration.md. What is not certain is marked by the word Question."
    )
    for one in draft.trial.server:
        lines += comment(f"{QUESTION}what of this first? `migrate plan` is refused while: {one}")
    if not facts.monitor:
        lines += comment(
            f"{QUESTION}with which roles will Phasegate connect? {facts.role} is no member of "
            "pg_monitor, so the exporter sees less; `phasegate init --grants` prints the roles."
        )
    if draft.trial.observer:
        lines += comment(
            f"{QUESTION}which role will migrate? {facts.role} owns none of the tables below, so "
            "`migrate plan` refuses them until it is run as a member of their owners."
        )
    return lines


def _environment(draft: Draft) -> list[str]:
    if draft.environment:
        return [f"environment: {scalar(draft.environment)}"]
    return [
        *comment(
            f"{QUESTION}what is this place called? The exporter states it, and the judge demands "
            "evidence of the same."
        ),
        "# environment: production",
    ]


def _database(draft: Draft) -> list[str]:
    lines = ["database:", '  url: "${DATABASE_URL}"']
    database = draft.facts.database
    if draft.facts.system_identifier:
        return [
            *lines,
            *comment("Evidence of any other server or database is not believed.", 2),
            "  identity:",
            f'    system_identifier: "{draft.facts.system_identifier}"',
            f"    database: {scalar(database)}",
        ]
    return [
        *lines,
        *comment(
            f"{QUESTION}which server is it? {draft.facts.role} may not call pg_control_system().",
            2,
        ),
        f'  # identity: {{system_identifier: "…", database: {scalar(database)}}}',
    ]


def _exporter() -> list[str]:
    return [
        "exporter:",
        *comment("Where `phasegate exporter` listens unless told otherwise.", 2),
        '  url: "http://127.0.0.1:9899"',
    ]


def _tables(draft: Draft) -> list[str]:
    lines = comment("Tables that gain a UUID beside their integer key, the weightiest first.")
    entries = [line for one in draft.proposed for line in _proposed(one)]
    lines += ["tables:", *entries] if entries else ["tables: []"]
    if not entries:
        lines += comment(f"{QUESTION}which tables? None was certain enough to be proposed.", 2)
    for one in draft.offered:
        lines += _offered(one)
    beyond = draft.plans.tables.candidates[MOST_TRIED:]
    if beyond:
        lines += comment(f"Not looked at any closer: {_listed(beyond)}.", 2)
    left_out = draft.plans.tables.left_out
    if left_out:
        lines += comment("Left out:", 2)
    for gone in left_out[:_MOST_LEFT_OUT]:
        lines += comment(f"{gone.name}: {gone.reason}", 2, "#   ")
    if len(left_out) > _MOST_LEFT_OUT:
        lines += comment(f"and {len(left_out) - _MOST_LEFT_OUT} more", 2, "#   ")
    shared = polymorphic_columns(draft.facts)
    if shared and draft.proposed:
        lines += comment(
            f"{QUESTION}whose ids do {', '.join(shared[:8])} hold? Each has a type beside it, so "
            "no foreign key tells; keys: references would leave them as they are.",
            2,
        )
    return lines


def _listed(candidates: Iterable[Candidate]) -> str:
    return ", ".join(str(one.table.name) for one in candidates)


def _entry(one: TriedTable, *, accepting: bool = False) -> str:
    candidate = one.candidate
    parts = [f"name: {scalar(str(candidate.table.name))}"]
    parts.append(f"uuid_column: {column(candidate.uuid.name)}")
    if accepting:
        listed = ", ".join(map(scalar, one.triggers))
        parts.append(f"accept_triggers: [{listed}]")
    return "- {" + ", ".join(parts) + "}"


def _about(one: TriedTable) -> str:
    table = one.candidate.table
    return f"{table.name}: about {table.rows:,} rows, {size(table.bytes)}; " + describe_links(
        one.candidate
    )


def _proposed(one: TriedTable) -> list[str]:
    uuid = one.candidate.uuid
    lines = comment(f"{_about(one)}.", 2)
    for note in uuid.notes:
        lines += comment(note, 2)
    for question in uuid.questions:
        lines += comment(QUESTION + question, 2)
    return [*lines, f"  {_entry(one)}"]


def _offered(one: TriedTable) -> list[str]:
    lines = comment(f"Not proposed: {_about(one)}.", 2)
    if one.refusals and one.triggers:
        listed = ", ".join(one.triggers)
        lines += comment(
            f"{QUESTION}may {listed} fire once for every row while the rows get their UUIDs "
            "(time stamps move, logs grow)? Then:",
            2,
        )
        return [*lines, f"  # {_entry(one, accepting=True)}"]
    for refusal in one.refusals:
        lines += comment(f"migrate would refuse it: {refusal}", 2, "#   ")
    if not one.refusals:
        why = one.candidate.optional
        lines += comment(f"{QUESTION}is its id shown to anyone ({why})? Then:", 2)
        lines.append(f"  # {_entry(one)}")
    return lines


def _lookups(draft: Draft) -> list[str]:
    found = draft.plans.permissions
    if found is None:
        return [
            *comment(
                f"{QUESTION}which query checks a permission? No tables of users, roles and "
                "permissions were found by their shape."
            ),
            "# lookups:",
            "#   - query_type: permission_check",
            "#     parameter: users.uuid",
            '#     sql: "SELECT … WHERE u.uuid = $1"',
        ]
    people = next(
        (one.candidate for one in draft.trial.tables if one.candidate.table.name == found.people),
        None,
    )
    uuid = "uuid" if people is None else people.uuid.name
    entry = [
        "lookups:",
        "  - query_type: permission_check",
        f"    parameter: {scalar(str(ColumnName(*found.people, uuid)))}",
    ]
    first, *rest = block(found.render_query(uuid), 6)
    entry += [f"    sql: {first}", *rest]
    lines = comment(
        f"The permissions of one of {found.people}, by way of {found.between_roles}, "
        f"{found.roles} and {found.between_permissions}."
    )
    if not found.ends:
        lines += comment(f"{QUESTION}does a role run out? No column of {found.between_roles} says.")
    if not all(link.declared for link in found.chain):
        lines += comment(f"{QUESTION}is it joined so? Not all of it has foreign keys.")
    if not any(one.candidate.table.name == found.people for one in draft.proposed):
        lines += comment(f"Once {found.people} is among the tables:")
        entry = ["# " + line for line in entry]
    return lines + entry
