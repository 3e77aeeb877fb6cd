"""The copy that a rehearsal works on: the target's dump, restored where it may be thrown away.

The target is only read, and not even a temporary table is made there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from phasegate.contract.connection import database_conninfo
from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.migration import SCHEMA
from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Settings
from phasegate.migrate.backup import Backup, failing, make_backup
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Control
from phasegate.migrate.journal import exists
from phasegate.migrate.model import Patience, Say
from phasegate.migrate.opening import fetch_identity
from phasegate.migrate.programs import Programs, require_programs
from phasegate.migrate.prove_backup import check_extensions, restore_dump, scratch_database
from phasegate.migrate.sessions import open_session

FLAG = "--database-url"
WORK, COPY = "rehearsal", "phasegate_rehearsal"
_SQL = load_sql("rehearsal")


@dataclass(frozen=True)
class Copy:
    """`conninfo` leads to it; `where` and `server` say on what it is. `predicts`: whether somebody
    named the server, so that its seconds say something."""

    conninfo: Mapping[str, str]
    where: str
    server: str
    predicts: bool
    identity: str
    database: str
    dump_seconds: float
    restore_seconds: float
    notes: tuple[str, ...]


@contextmanager
def open_copy(
    settings: Settings, scratch: Secret | None, control: Control, say: Say
) -> Iterator[Copy]:
    """Dump the target and restore it, on the server `scratch` or a throw-away one.

    Raises SourceUnavailable for either server, StepFailed where it cannot be dumped or restored,
    Inconclusive where no server can hold it, and what `control` raises.
    """
    folder = settings.migrate.backup.directory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    left = [str(path) for path in sorted(folder.glob(f"{WORK}-*/"))]
    if scratch is not None:
        left += _knock(scratch)
    for one in left:
        say(f"left by a rehearsal that was killed, or is at work: {one}; remove it if none is")
    # Beside the backups, where there is place for a dump; its name is no backup's.
    with TemporaryDirectory(prefix=f"{WORK}-", dir=folder) as private:
        say("dump the database")
        target = _dump_target(settings, Path(private), control)
        dump = target.dump
        with scratch_database(dump, scratch, named=FLAG, prefix=COPY, settings=target.like) as (
            copy,
            where,
        ):
            began = time.monotonic()
            with open_session(copy) as connection:
                check_extensions(connection, dump, where, FLAG)
                server = f"PostgreSQL {connection.info.parameter_status('server_version')}"
                notes = tuple(_compare(target, connection))
            say(f"restore it into {where}")
            path = Path(private) / dump.file
            programs = target.programs
            restore_dump(path, programs, copy, control=control, fail=failing(WORK), faithful=False)
            path.unlink()
            with open_session(copy, Patience.CONCURRENT) as connection:
                _make_like_new(connection)
            yield Copy(
                conninfo=copy,
                where=where if scratch is None else f"the server of {FLAG}",
                server=server,
                predicts=scratch is not None,
                identity=dump.identity,
                database=dump.database,
                dump_seconds=dump.seconds,
                restore_seconds=time.monotonic() - began,
                notes=notes,
            )


@dataclass(frozen=True)
class _Target:
    """What was read of it: its dump, and the programs that made that; its running server, None
    without the right to know; the settings of one like it."""

    dump: Backup
    programs: Programs
    place: tuple[Any, ...] | None
    like: Mapping[str, Any]
    begun: bool


def _dump_target(settings: Settings, folder: Path, control: Control) -> _Target:
    conninfo = database_conninfo(settings.database)
    with open_session(conninfo, Patience.SCAN) as connection:
        programs = require_programs(connection.info.server_version // 10_000, WORK)
        rows = connection.execute(_SQL["settings"].encode()).fetchall()
        return _Target(
            dump=make_backup(
                connection, conninfo, folder, programs, identity=fetch_identity(connection),
                control=control, fail=failing(WORK), checksums=False,
            ),
            programs=programs,
            place=_fetch_place(connection),
            like={"max_locks_per_transaction": 1_024, **dict(rows)},
            begun=exists(connection),
        )  # fmt: skip


def _compare(target: _Target, connection: Connection) -> Iterator[str]:
    """What of the copy's server a reader of the figures has to know."""
    if target.begun:
        yield "the migration of the target has begun: what is rehearsed is what is left of it"
    if target.place is not None and _fetch_place(connection) == target.place:
        yield (
            "the copy is on the target's own server: the rehearsal and its load take from it what "
            "the application needs"
        )
    major, copied = connection.info.server_version // 10_000, target.dump.version // 10_000
    if major != copied:
        yield f"the target is PostgreSQL {copied}, the copy PostgreSQL {major}"


def _knock(scratch: Secret) -> list[str]:
    """A dump may take hours: whether the server for it is there is seen before. What copies are
    on it."""
    given = conninfo_to_dict(scratch.reveal())
    try:
        with open_session({key: str(value) for key, value in given.items() if value}) as session:
            rows = session.execute(_SQL["copies"].encode(), (f"{COPY}_",)).fetchall()
            return [f"database {name} on the server of {FLAG}" for (name,) in rows]
    except SourceUnavailable as error:
        raise SourceUnavailable(FLAG, str(error).partition(": ")[2]) from None


def _make_like_new(connection: Connection) -> None:
    """Without what it inherited of ours, and as a table is that has been in use: with statistics,
    and with what a first reader would write already written."""
    connection.execute("SET lock_timeout = 0")
    connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
    connection.execute("VACUUM (ANALYZE)")
    # The first change of a page after a checkpoint is logged whole.
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute("CHECKPOINT")


def _fetch_place(connection: Connection) -> tuple[Any, ...] | None:
    try:
        return connection.execute(_SQL["place"].encode()).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
