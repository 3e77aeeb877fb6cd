"""Two sections of the written `phasegate.yaml`: the cache and the audit log."""

from __future__ import annotations

from phasegate.contract.migration import SCHEMA
from phasegate.migrate.findings import size
from phasegate.operate.init_audit import TIME, AuditChoice
from phasegate.operate.init_cache import CacheFacts, Prefix
from phasegate.operate.init_draft import Draft
from phasegate.operate.init_trial import TriedAudit
from phasegate.operate.init_yaml import column, comment, scalar

QUESTION = "Question: "
_DEFAULT_PATTERN = "perm:*"


def render_cache(cache: CacheFacts | None) -> list[str]:
    """What was seen of its keys, and the pattern of those of permissions."""
    if cache is None:
        return [
            *comment(f"{QUESTION}is there a cache? No --redis-url and no REDIS_URL was given."),
            '# cache: {url: "${REDIS_URL}", key_pattern: "perm:*"}',
        ]
    lines = ["cache:", '  url: "${REDIS_URL}"']
    if cache.down:
        return [
            *lines,
            *comment(f"It could not be read: {cache.down}.", 2),
            *comment(f"{QUESTION}what are the keys of permissions called?", 2),
            f'  key_pattern: "{_DEFAULT_PATTERN}"',
        ]
    if cache.keys:
        told = f"{cache.keys:,} keys, of which {cache.sampled:,} were looked at by name:"
        lines += comment(told, 2)
    for prefix in cache.prefixes:
        lines += comment(_describe(prefix), 2, "#   ")
    found = cache.permissions
    if found is None:
        what = "none of these looks like one" if cache.prefixes else "it holds none now"
        lines += comment(f"{QUESTION}what are the keys of permissions called? {what}.", 2)
    pattern = _DEFAULT_PATTERN if found is None else found.pattern
    return [*lines, f"  key_pattern: {scalar(pattern)}"]


def _describe(prefix: Prefix) -> str:
    name = f"{prefix.text}…" if prefix.text else "(without a common beginning)"
    each = f", about {size(prefix.bytes)} each" if prefix.bytes else ""
    return f"{name}  {prefix.share:.1%}{each}"


def render_audit(draft: Draft) -> list[str]:
    """The log that was found, or how one would be made."""
    found = draft.trial.audit
    if found is None:
        return [
            *comment(f"{QUESTION}where is the audit log? Nothing looks like one."),
            *comment("Where there is none, `migrate` makes one, partitioned, from:"),
            "# audit: {table: public.audit_logs, category_column: category, partition: month}",
        ]
    choice = found.choice
    table = draft.facts.get(choice.table)
    rows = 0 if table is None else table.rows
    how = "partitioned already" if choice.partitioned else "one table, which migrate partitions"
    lines = comment(f"The audit log: about {rows:,} rows, {how}.")
    if choice.others:
        listed = ", ".join(map(str, choice.others))
        lines += comment(f"{QUESTION}is it {choice.table}, or {listed}?")
    if choice.time_type != TIME and not choice.partitioned:
        lines += comment(
            f"Its {choice.time_column} is {choice.time_type}; to cut it by moments it must be "
            "timestamptz."
        )
    entry = _entry(found)
    if found.refusals:
        lines += comment("Left out, since migrate would refuse it:")
        for refusal in found.refusals:
            lines += comment(refusal, 0, "#   ")
        return [*lines, *("# " + line for line in entry)]
    return lines + entry


def _entry(found: TriedAudit) -> list[str]:
    choice = found.choice
    lines = [
        "audit:",
        f"  table: {scalar(str(choice.table))}",
        f"  time_column: {column(choice.time_column)}",
    ]
    if choice.category_column:
        lines.append(f"  category_column: {column(choice.category_column)}")
    else:
        lines += comment(f"{QUESTION}which column tells events apart? category_column: …", 2)
    if choice.odd_length:
        lines += comment(
            f"{QUESTION}day, week or month from now on? Most partitions are of "
            f"{choice.odd_length}.",
            2,
        )
    lines.append(f"  partition: {choice.length}")
    lines += comment(f"{QUESTION}how long are rows kept? retention: 24 months", 2)
    return lines + _watch(found, choice)


def _watch(found: TriedAudit, choice: AuditChoice) -> list[str]:
    if not choice.writers:
        return [
            *comment(
                f"{QUESTION}whose changes must it hold? No trigger writes into it; writer: trigger "
                "lets migrate make them, writer: application says that the code does.",
                2,
            ),
            "  # watch: [{table: public.users, writer: trigger}]",
        ]
    lines = [
        line
        for one in choice.writers
        for line in comment(f"{one.trigger} of {one.table} writes into it.", 2)
    ]
    entry = []
    if choice.function is not None:
        entry += ["  function:", f"    name: {scalar(str(choice.function))}"]
    entry.append("  watch:")
    entry += [f"    - {{table: {scalar(str(one))}, writer: trigger}}" for one in choice.watched]
    if found.watch_refusals:
        lines += comment("Left out, since migrate would refuse it:", 2)
        for refusal in found.watch_refusals:
            lines += comment(refusal, 2, "#   ")
        return [*lines, *("  # " + line[2:] for line in entry)]
    if any(one.function.schema != SCHEMA for one in choice.writers):
        same = "that call the same function, " if choice.function is not None else ""
        lines += comment(
            f"{QUESTION}may migrate add triggers of its own {same}enabled always and for TRUNCATE "
            "too? Drop the old ones with it, or each change is written twice.",
            2,
        )
    return lines + entry
