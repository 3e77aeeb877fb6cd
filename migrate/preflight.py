"""Looks at servers and machines before a migration begins; `findings.py` decides what it means.

What cannot be seen, for want of a right or because it is on another machine, stays unknown: one
check that cannot be made takes no other with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import psycopg
from redis.exceptions import ResponseError

from phasegate.contract.errors import LockNotAcquired, SourceError
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_connection import Cache
from phasegate.contract.settings_migrate import Demands
from phasegate.migrate.backup import find_backup
from phasegate.migrate.cache_keys import open_cache
from phasegate.migrate.catalog import fetch_catalog, load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.findings import (
    Finding,
    evaluate_backup_age,
    evaluate_cache_memory,
    evaluate_cpu,
    evaluate_disk,
    evaluate_duration,
    evaluate_framework,
    evaluate_persistence,
    evaluate_privileges,
    evaluate_replication,
    evaluate_transactions,
    evaluate_version,
)
from phasegate.migrate.frameworks import find_unfinished
from phasegate.migrate.rehearsal import find_predicting, window_seconds

_PORT_LINE = 3  # of postmaster.pid
_SQL = load_sql("preflight")


def fetch_findings(
    connection: Connection, settings: Settings, names: Sequence[TableName], identity: str
) -> tuple[Finding, ...]:
    """Every check of contract.gates.PREFLIGHT_CHECKS, in order of names."""
    parameters = {
        "schemas": [name.schema for name in names],
        "tables": [name.table for name in names],
    }
    version = connection.info.server_version
    local = _is_local(connection)
    checks: dict[str, Callable[[], Finding]] = {
        "backup_age": lambda: _backup_age(settings, identity),
        "cpu": lambda: _cpu(settings.migrate.preflight, local=local),
        "disk": lambda: _disk(connection, parameters, settings.migrate.preflight.free_disk),
        "duration": lambda: _duration(connection, settings, names, identity),
        "framework": lambda: evaluate_framework(find_unfinished(connection)),
        "privileges": lambda: evaluate_privileges(*_row(connection, "privileges", parameters)),
        "replication": lambda: evaluate_replication(*_row(connection, "replication")),
        "transactions": lambda: evaluate_transactions(*_row(connection, "transactions")),
        "version": lambda: evaluate_version(version),
    }
    found = [_tried(name, check) for name, check in checks.items()]
    found += fetch_cache_findings(settings.cache)
    return tuple(sorted(found, key=lambda one: one.name))


def fetch_cache_findings(cache: Cache | None) -> list[Finding]:
    """Memory and persistence; without a configured cache there is nothing that could fail."""
    names = ("cache_memory", "cache_persistence")
    if cache is None:
        return [Finding(name, 1.0, "no cache is configured", "nothing") for name in names]
    try:
        info, config = _ask_cache(cache)
    except SourceError as error:
        return [_unknown(name, error) for name in names]
    limit = int(info.get("maxmemory") or 0) or int(info.get("total_system_memory") or 0)
    append_only = str(info.get("aof_enabled", "0")) == "1"
    return [
        evaluate_cache_memory(limit or None, str(info.get("maxmemory_policy", ""))),
        evaluate_persistence(append_only, config.get("save")),
    ]


def _ask_cache(cache: Cache) -> tuple[dict[str, Any], dict[str, str]]:
    with open_cache(cache) as client:
        info = client.info("everything")
        try:
            config = cast(dict[str, str], client.config_get("save"))
        except ResponseError:  # CONFIG is often renamed or forbidden
            config = {}
    return info, {_text(name): _text(value) for name, value in config.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _tried(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (psycopg.Error, OSError, LockNotAcquired) as error:
        return _unknown(name, error)


def _unknown(name: str, error: Exception) -> Finding:
    return Finding(name, None, f"not measured: {str(error).strip()}", "an answer", "see the reason")


def _row(connection: Connection, query: str, parameters: Any = None) -> tuple[Any, ...]:
    [row] = connection.execute(_SQL[query].encode(), parameters).fetchall()
    return cast(tuple[Any, ...], row)


def _cpu(demands: Demands, *, local: bool) -> Finding:
    if local:
        share = os.getloadavg()[0] / (os.cpu_count() or 1)
        return evaluate_cpu(share, demands.cpu_limit)
    return evaluate_cpu(demands.cpu_load, demands.cpu_limit, ", as stated")


def _disk(connection: Connection, parameters: Any, stated: int | None) -> Finding:
    directory, _, _, wal = _row(connection, "place")
    [tables] = _row(connection, "sizes", parameters)
    where = directory or "its data directory"
    if directory and _is_local(connection):
        seen = os.statvfs(directory)
        return evaluate_disk(int(tables), wal, seen.f_bavail * seen.f_frsize, where)
    return evaluate_disk(int(tables), wal, stated, where, ", as stated")


def _is_local(connection: Connection) -> bool:
    """Whether the server runs on this very machine. A forwarded port comes from here as well, and
    a folder of that name may be another server's: so the folder must tell the same port."""
    directory, near, port, _ = _row(connection, "place")
    if not (directory and near):
        return False
    try:
        lines = (Path(directory) / "postmaster.pid").read_text("utf-8").splitlines()
        return int(lines[_PORT_LINE]) == int(port)
    except PermissionError:
        # The folder is there and closed to us, as a server's is.
        return True
    except (OSError, ValueError, IndexError):
        return False


def _duration(
    connection: Connection, settings: Settings, names: Sequence[TableName], identity: str
) -> Finding:
    # The phases name the preflight as one of their operations.
    from phasegate.migrate.phases import make_steps  # noqa: PLC0415

    rehearsal = find_predicting(settings.migrate.backup.directory, identity)
    steps = make_steps(settings, fetch_catalog(connection, names)) if rehearsal else ()
    return evaluate_duration(settings.migrate.mode, window_seconds(rehearsal, steps))


def _backup_age(settings: Settings, identity: str) -> Finding:
    backup = find_backup(settings.migrate.backup.directory, identity)
    return evaluate_backup_age(None if backup is None else max(0.0, time.time() - backup.at))
