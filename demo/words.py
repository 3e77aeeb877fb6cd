"""What the figures say: short for the live view, in sentences for the summary, and what is missing.

Pure: windows in, text out.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from math import isfinite
from typing import NamedTuple

from phasegate.demo.figures import Lookup, Ratio, Scrape, Window

USERS = "public.users"
UUID = Lookup("uuid_lookup", USERS)
INTEGER = Lookup("id_lookup", USERS)
PERMISSION = Lookup("permission_check", USERS)
LOOKUPS = {"UUID lookup P95": UUID, "id lookup P95": INTEGER, "permission check P95": PERMISSION}
SCOPES = ("application", "server")
DURATION = "db_query_duration_seconds"
SIZE = "pg_table_size_bytes"
# Before the migration one table; after it what it was, up to a month's end a week or more ahead,
# and what is left of the three months after this one.
PARTITIONS_AFTER = 3


class Tally(NamedTuple):
    """What the users of the application met; times in seconds."""

    requests: int
    errors: int
    slowest: float = 0.0
    slowest_query: float = 0.0


def describe(window: Window) -> dict[str, str]:
    """One short text for each measure, in the order in which they are shown."""
    said = {name: _latency(window, lookup) for name, lookup in LOOKUPS.items()}
    for scope in SCOPES:
        said[f"cache hit rate, {scope}"] = _hit_rate(window.hit_rate(scope))
    said["audit rows"] = _audit_rows(window)
    said["audit log"] = _audit_log(window)
    said["targets"] = _targets(window.last)
    return said


def describe_partitions(scrape: Scrape) -> dict[str, str]:
    """Every part of the audit log with its size."""
    return {part.table: _bytes(part.size_bytes) for part in scrape.partitions}


def find_unmeasured(before: Window, after: Window, promised: Container[str]) -> list[str]:
    """What must have been measured and was not, each with what was found instead.

    `promised` are the names of the series that the exporter is bound to expose; only they must be.
    """
    missing = [
        *((f"before: {what}", series) for what, series in _unmeasured(before)),
        *((f"after: {what}", series) for what, series in _unmeasured(after)),
    ]
    if UUID not in before.last.absent:
        missing.append(("before: why there is no UUID lookup", "phasegate_probe_absent"))
    for name, lookup in LOOKUPS.items():
        if lookup is not INTEGER and not after.probes(lookup):
            missing.append((f"after: {name} ({_latency(after, lookup)})", DURATION))
    found = len([part for part in after.last.partitions if part.parent])
    if found < PARTITIONS_AFTER:
        what = f"after: {PARTITIONS_AFTER} partitions of the audit log (found {found})"
        missing.append((what, SIZE))
    return [what for what, series in missing if series in promised]


def explain(before: Window, after: Window, users: Mapping[str, Tally]) -> list[str]:
    """The summary's sentences."""
    return [
        f"UUID lookups were {_absence(before)} before; {_judge_latency(after)}",
        f"By integer the same rows took {_latency(before, INTEGER)} before and "
        f"{_latency(after, INTEGER)} after, each under the load of that moment.",
        _judge_hit_rate(after),
        _judge_audit(before, after),
        *describe_users(users),
    ]


def describe_users(users: Mapping[str, Tally]) -> list[str]:
    """A sentence for each stream of users."""
    return [_judge_users(name, tally) for name, tally in users.items()]


def _unmeasured(window: Window) -> Iterator[tuple[str, str]]:
    """What a window lacks, with the series that would have told it."""
    last = window.last
    for target in ("database", "cache"):
        if not last.up.get(target):
            yield f"target {target} up", "phasegate_up"
    for check, up in last.health.items() or (("the application", False),):
        if not up:
            yield f"health of {check}", "phasegate_health_up"
    if not window.probes(INTEGER):
        yield f"id lookup P95 ({_latency(window, INTEGER)})", DURATION
    for scope in SCOPES:
        rate = window.hit_rate(scope)
        if rate is None or not rate.whole:
            yield f"cache hit rate, {scope} ({_hit_rate(rate)})", "cache_requests_total"
    if not window.audit_rows:
        yield f"audit rows ({_audit_rows(window)})", "audit_logs_created_total"
    if not last.partitions:
        yield "size of the audit log", SIZE


def _latency(window: Window, lookup: Lookup) -> str:
    count = window.probes(lookup)
    if count:
        return f"{window.quantile(lookup, 0.95) * 1000:.2f} ms of {count:.0f} probes"
    reason = window.last.absent.get(lookup)
    return f"absent: {reason.replace('_', ' ')}" if reason else "nothing yet"


def _absence(window: Window) -> str:
    reason = window.last.absent.get(UUID)
    return f"absent ({reason.replace('_', ' ')})" if reason else "not reported"


def _hit_rate(rate: Ratio | None) -> str:
    if rate is None:
        return "not exposed"
    if not isfinite(rate.share):
        return "no requests yet"
    return f"{rate.share * 100:.1f} % of {rate.whole:.0f}"


def _audit_rows(window: Window) -> str:
    rows = window.audit_rows
    if rows is None:
        return "not counted"
    return f"+{rows:.0f}" + (f", {rows / window.seconds:.1f}/s" if window.seconds else "")


def _audit_log(window: Window) -> str:
    parts = window.last.partitions
    if not parts:
        return "no size yet"
    partitioned = [part for part in parts if part.parent]
    what = f"{len(partitioned)} partitions" if partitioned else "one table"
    return f"{what}, {_bytes(window.audit_bytes)}"


def _targets(scrape: Scrape) -> str:
    states = {**scrape.up, **scrape.health}
    down = sorted(name for name, up in states.items() if not up)
    if not states:
        return "none"
    return f"DOWN: {', '.join(down)}" if down else f"up: {', '.join(sorted(states))}"


def _bytes(size: float) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def _judge_latency(after: Window) -> str:
    text = f"now their P95 is {_latency(after, UUID)}"
    limit = after.last.warnings.get("uuid_lookup_latency")
    over = None if limit is None else after.over(UUID, limit)
    if limit is None or over is None:
        return f"{text}."
    return f"{text}; {over.part:.0f} took longer than the limit of {limit * 1000:g} ms."


def _judge_hit_rate(after: Window) -> str:
    text = ", ".join(f"{scope} {_hit_rate(after.hit_rate(scope))}" for scope in SCOPES)
    limit = after.last.warnings.get("cache_hit_rate")
    said = "" if limit is None else f" The guide wants more than {limit * 100:g} %."
    return f"Version 2 began with a cache that was warmed, and hit since: {text}.{said}"


def _judge_audit(before: Window, after: Window) -> str:
    return (
        f"The audit log gained {_audit_rows(before)} while only the application wrote it, and "
        f"{_audit_rows(after)} with triggers on users; it was {_audit_log(before)}, and is now "
        f"{_audit_log(after)}."
    )


def _judge_users(name: str, tally: Tally) -> str:
    outcome = "none failed" if not tally.errors else f"{tally.errors} FAILED"
    return (
        f"Users of {name} sent {tally.requests:,} requests, {outcome}; the slowest took "
        f"{tally.slowest * 1000:.0f} ms, the application's slowest query "
        f"{tally.slowest_query * 1000:.0f} ms."
    )
