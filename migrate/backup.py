"""A dump with a record of what was in it: every table's rows, counted in the dump's own snapshot.

The record is written last and by renaming, so that nothing that a crash left is ever taken for a
backup. Only a restore whose rows agree proves one: `prove_backup.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg

from phasegate.contract.errors import PhasegateError, StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import load_sql
from phasegate.migrate.context import Connection, Control
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.programs import Programs, run_program
from phasegate.migrate.row_facts import (
    RowFacts,
    count_rows,
    digest_rows,
    fetch_tables,
    prepare_session,
    sum_lost,
)

LOCK_WAIT_MILLISECONDS = 10_000
PART, RECORD = ".part", ".json"
RECORD_FORMAT = 1
_SQL = load_sql("backup")


class RestoreProof(msgspec.Struct, frozen=True, kw_only=True):
    """That a backup was restored, and all rows agreed: when (Unix seconds), in how many seconds,
    into what."""

    at: float
    seconds: float
    where: str


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """The record beside a dump. `at` is the snapshot's time in Unix seconds, `lsn` where the
    write-ahead log then was; `epoch` says since when the counters of writes count; `major` is
    pg_dump's; `size` is in bytes."""

    file: str
    identity: str
    database: str
    at: float
    lsn: str
    version: int
    encoding: str
    extensions: tuple[str, ...]
    icu: bool
    epoch: str
    tables: tuple[RowFacts, ...]
    major: int
    size: int
    sha256: str
    seconds: float
    proof: RestoreProof | None = None
    format: int = RECORD_FORMAT

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(one.rows for one in self.tables)

    @property
    def digest(self) -> str:
        """Over all counts and checksums."""
        return digest_rows(self.tables)


class _Taken(NamedTuple):
    """An exported snapshot, and what the server says in it."""

    snapshot: str
    version: int
    database: str
    encoding: str
    lsn: str
    at: float
    extensions: tuple[str, ...]
    icu: bool
    epoch: str


def make_backup(
    connection: Connection,
    conninfo: Mapping[str, str],
    folder: Path,
    programs: Programs,
    *,
    identity: str,
    named: Sequence[TableName] = (),
    control: Control,
    fail: Callable[[str], PhasegateError],
    checksums: bool = True,
) -> Backup:
    """Dump the database that both lead to, and count it meanwhile in the same snapshot.

    `connection` is a session of its own, in autocommit; without `checksums` rows are only counted.
    Raises what `fail` makes of a reason;
    then nothing is left but what was there.
    """
    began = time.monotonic()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_parts(folder)
    counted: list[tuple[RowFacts, ...]] = []

    def count() -> None:
        tables = fetch_tables(connection)
        counted.append(count_rows(connection, tables, named, control, checksums=checksums))

    with _snapshot(connection, fail) as taken:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(taken.at))
        target = _free_name(folder, f"{_file_name(taken.database)}_{stamp}")
        part = target.with_name(target.name + PART)
        arguments = [
            *("--format=custom", f"--snapshot={taken.snapshot}", f"--file={part}"),
            f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}",
        ]
        program = programs.folder / "pg_dump"
        try:
            run_program(program, arguments, conninfo, control=control, fail=fail, meanwhile=count)
            sha256, size = hash_file(part)
            sync_file(part)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    part.rename(target)
    fields = {name: value for name, value in taken._asdict().items() if name != "snapshot"}
    made = Backup(
        **fields,
        file=target.name,
        identity=identity,
        tables=counted[0],
        major=programs.major,
        size=size,
        sha256=sha256,
        seconds=time.monotonic() - began,
    )
    write_record(folder, made)
    return made


def write_record(folder: Path, backup: Backup) -> None:
    """Put it beside the dump, whole or not at all."""
    target = folder / (backup.file + RECORD)
    part = target.with_name(target.name + PART)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(backup), indent=1) + b"\n")
    sync_file(part)
    part.rename(target)
    sync_file(folder)


def list_backups(folder: Path, identity: str) -> list[Backup]:
    """Those of this server and database, newest first; an unreadable record is none.

    A promotion changes the timeline in an identity, and leaves the database the same.
    """
    found = []
    for path in folder.glob(f"*.dump{RECORD}"):
        try:
            backup = msgspec.json.decode(path.read_bytes(), type=Backup)
        except (OSError, msgspec.DecodeError):
            continue
        if backup.format == RECORD_FORMAT and lasting_identity(backup.identity) == lasting_identity(
            identity
        ):
            found.append(backup)
    return sorted(found, key=lambda one: one.at, reverse=True)


def find_backup(folder: Path, identity: str) -> Backup | None:
    """The newest one of this database that was proved; None where there is none."""
    return next((one for one in list_backups(folder, identity) if one.proof is not None), None)


def check_whole(folder: Path, backup: Backup, fail: Callable[[str], PhasegateError]) -> None:
    """Raise what `fail` makes of it where the dump is not what was written."""
    path = folder / backup.file
    if not path.exists():
        raise fail(f"{path} is gone, and its record is there: move {backup.file}{RECORD} away")
    size = path.stat().st_size
    if size != backup.size:
        found = f"found {size:,} bytes, expected {backup.size:,}"
    elif hash_file(path)[0] != backup.sha256:
        found = "its SHA-256 is another"
    else:
        return
    raise fail(
        f"{path} is not the dump that was written: {found}; "
        f"move it and {backup.file}{RECORD} away, and run phasegate migrate run --phase prepare"
    )


def count_lost(connection: Connection, backup: Backup, control: Control) -> int | None:
    """How many rows were written since the snapshot, which a restore would lose; our own loops'
    are none. None where it cannot be known: the server's counters began anew since. Counters of a
    session that just wrote come seconds late, on either side."""
    if _fetch_epoch(connection) != backup.epoch:
        return None
    prepare_session(connection)
    [[journalled]] = connection.execute(
        "SELECT to_regclass('phasegate.pieces') IS NOT NULL"
    ).fetchall()
    ours = 0
    if journalled:
        [[ours]] = connection.execute(_SQL["pieces"].encode(), (backup.at,)).fetchall()
    now = count_rows(connection, fetch_tables(connection), (), control, checksums=False)
    return sum_lost(backup.tables, now, ours)


def hash_file(path: Path) -> tuple[str, int]:
    """Its SHA-256 and its bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return digest.hexdigest(), file.tell()


def sync_file(path: Path) -> None:
    """Until it is on the disk; a folder too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """What a crash left half written."""
    for pattern in (f"*.dump{PART}", f"*.dump{RECORD}{PART}"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def _snapshot(connection: Connection, fail: Callable[[str], PhasegateError]) -> Iterator[_Taken]:
    """It lasts as long as the transaction."""
    prepare_session(connection)
    tables = fetch_tables(connection)
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            # A TRUNCATE after the snapshot would empty the table for the snapshot as well; and
            # the lock comes first, since the first query takes the snapshot.
            if tables:
                named = ", ".join(f"ONLY {qualify(one.name)}" for one in tables)
                connection.execute(f"LOCK TABLE {named} IN ACCESS SHARE MODE".encode())
            connection.execute("SET TRANSACTION READ ONLY")
            [[snapshot]] = connection.execute("SELECT pg_export_snapshot()").fetchall()
            [taken] = connection.execute(_SQL["server"].encode()).fetchall()
            version, database, encoding, lsn, at, extensions, icu = taken
            yield _Taken(
                snapshot,
                version,
                database,
                encoding,
                lsn,
                at,
                tuple(extensions),
                icu,
                _fetch_epoch(connection),
            )
    except psycopg.Error as error:
        raise fail(f"the rows cannot be counted: {error}") from error


def _fetch_epoch(connection: Connection) -> str:
    [[epoch]] = connection.execute(_SQL["epoch"].encode()).fetchall()
    return str(epoch)


def _free_name(folder: Path, stem: str) -> Path:
    """A name not taken; two in one second differ by a number."""
    names = [stem, *(f"{stem}-{number}" for number in range(2, 100))]
    return next(path for name in names if not (path := folder / f"{name}.dump").exists())


def _file_name(database: str) -> str:
    return re.sub(r"[^\w.-]", "_", database)


def lasting_identity(identity: str) -> tuple[str, str]:
    """What of it stays through a promotion: the server and the database."""
    system, _, rest = identity.partition("/")
    return system, rest.partition("/")[2]


def failing(step: str) -> Callable[[str], PhasegateError]:
    """StepFailed of that step."""
    return lambda reason: StepFailed(step, reason)
