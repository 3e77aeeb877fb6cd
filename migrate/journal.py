"""The journal: in the database, in the transaction of the work; and beside it in a file.

A restore rewinds what stands in the database, so a copy goes into `journal.jsonl` of the folder of
backups. Neither decides what is left to do: that the catalog and the data say.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

import phasegate
from phasegate.contract.errors import Interrupted, JournalMismatch
from phasegate.contract.migration import JOURNAL_VERSION, SCHEMA, Entry, Event
from phasegate.contract.secrets import redactor
from phasegate.migrate.catalog import load_sql

FILE_NAME = "journal.jsonl"
_SQL = load_sql("journal")

Connection = psycopg.Connection[Any]


class Journal:
    """What one run writes. `run` is its id; `connection`, in autocommit, is the journal's own."""

    def __init__(self, connection: Connection, folder: Path, identity: str, by: str = "") -> None:
        self.run = str(uuid.uuid4())
        self.file = folder / FILE_NAME
        self._connection = connection
        self.identity = identity
        self.by = by or _who()
        self._host = socket.gethostname()

    def open(self) -> None:
        """Make the tables where they are not there; JournalMismatch for one of a newer release."""
        if not exists(self._connection):
            with self._connection.transaction():
                # IF NOT EXISTS would need the right to create schemas even where it is there.
                found = self._connection.execute(
                    "SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)
                ).fetchone()
                if found is None:
                    self._connection.execute(_SQL["create_schema"].encode())
                self._connection.execute(_SQL["create"].encode())
        check_format(self._connection)

    def make(self, event: Event, **fields: Any) -> Entry:
        """An entry of now; `fields` are those of Entry."""
        facts = msgspec.to_builtins(fields.pop("facts", {}))
        return Entry(
            id=str(uuid.uuid4()),
            at=time.time(),
            run=self.run,
            event=event,
            by=self.by,
            host=self._host,
            version=phasegate.__version__,
            identity=self.identity,
            facts=json.loads(redactor(json.dumps(facts))),
            **fields,
        )

    def insert(self, connection: Connection, entry: Entry) -> None:
        """Put it into the database, in the transaction that `connection` is in; `append` follows
        once that is committed."""
        values = msgspec.structs.asdict(entry) | {
            "facts": Jsonb(entry.facts),
            "format": JOURNAL_VERSION,
        }
        connection.execute(_SQL["insert"].encode(), values)

    def append(self, entry: Entry) -> None:
        """Put it into the file, whole and synced; Interrupted where that cannot be."""
        line = msgspec.json.encode(entry) + b"\n"
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unwritten(self.file, str(error)) from error
        if written < len(line):
            raise _unwritten(self.file, "the disk is full")

    def write(self, event: Event, **fields: Any) -> Entry:
        """Both, for what is no part of a transaction."""
        entry = self.make(event, **fields)
        self.insert(self._connection, entry)
        self.append(entry)
        return entry

    def entries(self) -> list[Entry]:
        """All of the database's, oldest first."""
        return fetch_entries(self._connection)


def save_progress(
    connection: Connection,
    *,
    step: str,
    name: str,
    done: float,
    total: float,
    unit: str,
    rate: float,
    note: str,
) -> None:
    """What is being done now; shown by `status` and served by the exporter."""
    values = (step, name, unit, done, total, rate, note)
    connection.execute(_SQL["progress"].encode(), values)


def exists(connection: Connection) -> bool:
    """Whether the database has a journal."""
    [[found]] = connection.execute(_SQL["exists"].encode()).fetchall()
    return bool(found)


def check_format(connection: Connection) -> None:
    """JournalMismatch where a newer release wrote it."""
    [[newest]] = connection.execute(_SQL["newest_format"].encode()).fetchall()
    if newest is not None and newest > JOURNAL_VERSION:
        raise JournalMismatch(
            f"the journal in schema {SCHEMA} has format {newest}, written by a newer release; this "
            f"one knows {JOURNAL_VERSION}: go on with that release"
        )


def fetch_entries(connection: Connection) -> list[Entry]:
    """The database's entries, oldest first; empty where there is no journal."""
    if not exists(connection):
        return []
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["entries"].encode()).fetchall()
    return [msgspec.convert(row, Entry) for row in rows]


def read_file(path: Path) -> list[Entry]:
    """The file's entries; a last line that a crash cut is left out. Raises JournalMismatch."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    found: list[Entry] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                found.append(msgspec.json.decode(line, type=Entry))
        except msgspec.DecodeError as error:
            if any(rest.strip() for rest in lines[number:]):
                raise JournalMismatch(f"{path}:{number}: is no entry: {error}") from None
    return found


def _unwritten(path: Path, why: str) -> Interrupted:
    return Interrupted(
        f"the journal beside the backups cannot be written: {path}: {why}; the database has the "
        "entry, and the next run copies it"
    )


def mend_file(path: Path) -> None:
    """Cut off a last line that a crash or a full disk left without its end: the next one would go
    on in it. What it told stands in the database."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        written = file.read()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            file.truncate(whole)


def missing_entries(known: Iterable[Entry], of: Iterable[Entry]) -> list[Entry]:
    """Those of `of` that `known` lacks."""
    ids = {entry.id for entry in known}
    return [entry for entry in of if entry.id not in ids]


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
