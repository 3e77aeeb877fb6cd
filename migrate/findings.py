"""What must hold before a migration begins, decided from what was found. Pure.

A finding without a value was not measured: that is no fault, and no leave to go on either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GIBIBYTE = 1024**3
LEAST_CACHE_BYTES = 2 * GIBIBYTE
"""The guide's."""
SPARE_TIMES = 2
"""The guide's: twice what is there now."""
LONGEST_TRANSACTION_SECONDS = 300.0
LONGEST_LAG_SECONDS = 10.0
OLDEST_BACKUP_SECONDS = 24 * 3600.0
OLDEST_VERSION = 140_000
"""Ranges of pages can be read by themselves from here on, which every loop over rows does."""
CORRUPTING = range(140_000, 140_004)
"""CREATE INDEX CONCURRENTLY of 14.0 to 14.3 may leave rows out."""


@dataclass(frozen=True)
class Finding:
    """One check: 1 holds, 0 does not, None was not measured; what was found and is needed, and
    what would remedy it. `warning` is told and fails nothing."""

    name: str
    value: float | None
    found: str
    needed: str
    remedy: str = ""
    warning: str = ""

    def facts(self) -> dict[str, Any]:
        """As the journal holds it."""
        told = {"value": self.value, "found": self.found, "needed": self.needed}
        told |= {"remedy": "" if self.value == 1.0 else self.remedy}
        return told | ({"warning": self.warning} if self.warning else {})


def evaluate_disk(tables: int, wal: int, free: int | None, where: str, what: str = "") -> Finding:
    """Twice the tables with their indexes, and the write-ahead log. `free` is None where the
    server's disk cannot be seen from here; `what` tells how it is known."""
    wanted = SPARE_TIMES * tables + wal
    needed = (
        f"{size(wanted)} free: {SPARE_TIMES} times {size(tables)} of tables and indexes, and "
        f"{size(wal)} of write-ahead log"
    )
    if free is None:
        remedy = f"state migrate.preflight.free_disk, by what df says of {where}"
        return Finding("disk", None, "the server's disk is not seen from here", needed, remedy)
    remedy = f"needs {size(wanted)}, has {size(free)}: enlarge the file system of {where}"
    return Finding(
        "disk", float(free >= wanted), f"{size(free)} free on {where}{what}", needed, remedy
    )


def evaluate_cache_memory(limit: int | None, policy: str) -> Finding:
    """`limit` is maxmemory, or the host's memory where that is none."""
    needed = f"at least {size(LEAST_CACHE_BYTES)}"
    if limit is None:
        return Finding("cache_memory", None, "not known", needed, "see that the cache answers INFO")
    warning = ""
    if policy == "noeviction":
        warning = "maxmemory-policy is noeviction: a full cache refuses writes; allkeys-lru evicts"
    remedy = f"CONFIG SET maxmemory {LEAST_CACHE_BYTES}, and in its configuration file"
    value = float(limit >= LEAST_CACHE_BYTES)
    return Finding("cache_memory", value, size(limit), needed, remedy, warning)


def evaluate_persistence(append_only: bool, save: str | None) -> Finding:
    """`save` is the configured points of snapshots, empty for none; None where not known."""
    needed = "an append-only file or snapshots"
    if append_only:
        return Finding("cache_persistence", 1.0, "append-only file", needed)
    if save is None:
        remedy = "let our user run CONFIG GET save"
        return Finding("cache_persistence", None, "not known", needed, remedy)
    if save.strip():
        return Finding("cache_persistence", 1.0, f"snapshots: save {save}", needed)
    found = "neither: --save '' --appendonly no; a restart begins empty"
    return Finding("cache_persistence", 0.0, found, needed, "CONFIG SET appendonly yes")


def evaluate_cpu(share: float | None, limit: float, what: str = "") -> Finding:
    """`share` of its cores that the server's machine is busy with, None where that is not seen;
    `what` tells how that is known."""
    needed = f"a load below {limit:.0%} of its cores"
    if share is None:
        found = "the server's load is not seen from here"
        remedy = "run phasegate where the server runs, or state migrate.preflight.cpu_load"
        return Finding("cpu", None, found, needed, remedy)
    found = f"{share:.0%} of its cores{what}"
    return Finding("cpu", float(share < limit), found, needed, "migrate at a quieter hour")


def evaluate_version(version: int) -> Finding:
    """14.4 or newer: none without ranges of pages, none whose concurrent indexes may lack rows."""
    found = f"PostgreSQL {version // 10_000}.{version % 10_000}"
    good = version >= OLDEST_VERSION and version not in CORRUPTING
    return Finding("version", float(good), found, "14.4 or newer", "update the server first")


def evaluate_transactions(age: float, prepared: int) -> Finding:
    """CREATE INDEX CONCURRENTLY waits for the oldest one, and for prepared ones without end."""
    good = age <= LONGEST_TRANSACTION_SECONDS and prepared == 0
    return Finding(
        "transactions",
        float(good),
        f"the oldest is {age:.0f} s old, {prepared} are prepared",
        f"none older than {LONGEST_TRANSACTION_SECONDS:.0f} s, none prepared",
        "end them: pg_stat_activity and pg_prepared_xacts name them",
    )


def evaluate_replication(wal_level: str, lag: float, inactive: Sequence[str]) -> Finding:
    """Standbys that keep up, and no slot that keeps the log without a reader."""
    good = lag <= LONGEST_LAG_SECONDS and not inactive
    idle = f", inactive slots: {', '.join(inactive)}" if inactive else ""
    return Finding(
        "replication",
        float(good),
        f"wal_level {wal_level}, longest lag {lag:.0f} s{idle}",
        f"lag of at most {LONGEST_LAG_SECONDS:.0f} s, no inactive slot",
        "let the standbys catch up; drop slots that nobody reads: they keep the log on the disk",
    )


def evaluate_privileges(
    foreign: Sequence[str], closed: Sequence[str], makes_schema: bool
) -> Finding:
    """Tables of others, schemas where nothing can be made, and whether ours can be."""
    faults = [f"{name} is not ours" for name in foreign]
    faults += [f"no CREATE in schema {name}" for name in closed]
    faults += [] if makes_schema else ["schema phasegate can not be made"]
    return Finding(
        "privileges",
        float(not faults),
        "; ".join(faults) or "all",
        "the tables' owner's rights, CREATE in their schemas and in the database",
        "run what `phasegate init --grants` prints, and connect as phasegate_migrator",
    )


def evaluate_backup_age(age: float | None) -> Finding:
    """Seconds since the newest proved backup; None for no backup, which is a fault and known."""
    found = "no proved backup" if age is None else f"proved, {age / 3600:.1f} h old"
    good = age is not None and age <= OLDEST_BACKUP_SECONDS
    needed = f"a proved one, at most {OLDEST_BACKUP_SECONDS / 3600:.0f} h old"
    return Finding(
        "backup_age", float(good), found, needed, "phasegate migrate run --phase prepare makes one"
    )


def evaluate_duration(mode: str, rehearsed: float | None) -> Finding:
    """Only a maintenance window must be long enough: known from a rehearsal, in seconds."""
    needed = "a rehearsal, where a maintenance window is used"
    if rehearsed is not None:
        return Finding("duration", 1.0, f"rehearsed in {rehearsed:.0f} s", needed)
    if mode == "online":
        return Finding("duration", 1.0, "online: no window has to be kept", needed)
    return Finding("duration", None, "never rehearsed", needed, "phasegate migrate rehearse")


def evaluate_framework(unfinished: Sequence[str]) -> Finding:
    """Migrations that the application's framework began and did not end."""
    found = ", ".join(unfinished) or "none is half done"
    return Finding(
        "framework",
        float(not unfinished),
        found,
        "no migration of the framework half done",
        "resolve them with the framework's own command",
    )


def render_findings(findings: Sequence[Finding]) -> list[str]:
    """A line a check, and more where something is to be done."""
    words = {1.0: "ok", 0.0: "FAILED", None: "unknown"}
    lines = []
    for one in findings:
        lines.append(f"{one.name:<18} {words[one.value]:<8} {one.found}")
        if one.value != 1.0:
            lines.append(f"{'':<18} needed   {one.needed}")
            lines.append(f"{'':<18} remedy   {one.remedy}")
        if one.warning:
            lines.append(f"{'':<18} warning  {one.warning}")
    return lines


def size(number: int) -> str:
    """Bytes for people."""
    amount, unit = float(number), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
