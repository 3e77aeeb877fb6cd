"""A backup under writes: its rows agree when it is restored, and a broken one proves nothing."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from phasegate.contract.errors import Interrupted, StepFailed
from phasegate.contract.migration import Event
from phasegate.contract.names import TableName
from phasegate.contract.secrets import Dsn
from phasegate.contract.settings import Settings
from phasegate.contract.settings_migrate import Backup as BackupSettings
from phasegate.contract.settings_migrate import Migrate
from phasegate.migrate.backup import count_lost, find_backup, list_backups, write_record
from phasegate.migrate.context import NothingStops
from phasegate.migrate.operations.backup import MakeBackup, ProveBackup
from phasegate.migrate.sessions import open_session
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, connect_parameters, open_migrating

T = TableName("public", "t")
SCHEMA = """
CREATE TABLE t (id integer PRIMARY KEY, name text, price money DEFAULT 12.5, f float8 DEFAULT 0.1);
INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 2000) n;
CREATE SCHEMA "S 1";
CREATE TABLE "S 1"."Sel ""ect" (LIKE public.t);
CREATE TABLE parted (id integer, at date) PARTITION BY RANGE (at);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO parted SELECT n, '2026-02-01' FROM generate_series(1, 100) n;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
"""


def make_settings(database: Database, folder: Path, scratch: str | None = None) -> Settings:
    backup = BackupSettings(directory=folder, scratch_url=Dsn(scratch) if scratch else None)
    settings = Settings(migrate=Migrate(backup=backup))
    connection = dataclasses.replace(settings.database, url=Dsn(database.conninfo()))
    return dataclasses.replace(settings, database=connection)


@pytest.fixture
def migrating(any_database: Database, tmp_path: Path) -> Iterator[Migrating]:
    any_database.execute(SCHEMA)
    folder = tmp_path / "backups"
    settings = make_settings(any_database, folder, any_database.server.conninfo())
    with open_migrating(any_database, folder, ("public.t",), settings) as found:
        yield found


def backups(migrating: Migrating) -> Path:
    return migrating.settings.migrate.backup.directory


def events(migrating: Migrating, event: Event) -> list[dict[str, Any]]:
    return [one.facts for one in migrating.journal.entries() if one.event is event]


def test_a_backup_under_writes_is_proved_by_a_restore(migrating: Migrating) -> None:
    over = threading.Event()

    def write() -> None:
        number = 10_000
        while not over.is_set():
            number += 1
            migrating.database.execute(
                f"INSERT INTO t VALUES ({number}); DELETE FROM t WHERE id = {number - 5}"
            )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        migrating.apply(MakeBackup((T,)))
    finally:
        over.set()
        writer.join()
    [made] = list_backups(backups(migrating), "identity")
    assert made.proof is None
    assert find_backup(backups(migrating), "identity") is None
    migrating.apply(ProveBackup())
    proved = find_backup(backups(migrating), "identity")
    assert proved is not None
    assert proved.sha256 == made.sha256
    names = [one.name.table for one in proved.tables if one.schema != "phasegate"]
    assert names == ['Sel "ect', "parted_1", "t"]
    [facts] = events(migrating, Event.BACKUP_PROVED)
    assert facts["proved"] is True
    assert facts["file"] == proved.file
    path = backups(migrating) / proved.file
    assert path.stat().st_mode & 0o777 == 0o600
    assert backups(migrating).stat().st_mode & 0o777 == 0o700
    [(left,)] = migrating.database.execute(
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'phasegate_proof%'"
    )
    assert left == 0


def test_a_throw_away_server_proves_it_too(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)")
    database.execute("CREATE ROLE throwaway_reader")
    try:
        database.execute("CREATE POLICY p ON t TO throwaway_reader USING (true)")
        with open_migrating(
            database, tmp_path, ("public.t",), make_settings(database, tmp_path)
        ) as migrating:
            migrating.apply(MakeBackup((T,)))
            migrating.apply(ProveBackup())
        proved = find_backup(tmp_path, "identity")
        assert proved is not None
        assert proved.proof is not None
        assert proved.proof.where == "a throw-away PostgreSQL 18"
    finally:
        database.execute("DROP TABLE t; DROP ROLE throwaway_reader")


@pytest.fixture
def simple(database: Database, tmp_path: Path) -> Iterator[Migrating]:
    database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, name text);"
        "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 5000) n"
    )
    folder = tmp_path / "backups"
    settings = make_settings(database, folder, database.server.conninfo())
    with open_migrating(database, folder, ("public.t",), settings) as found:
        yield found


def test_a_dump_cut_to_half_fails_by_its_name(simple: Migrating) -> None:
    simple.apply(MakeBackup((T,)))
    [made] = list_backups(backups(simple), "identity")
    path = backups(simple) / made.file
    path.write_bytes(path.read_bytes()[: made.size // 2])
    for operation in (ProveBackup(), MakeBackup((T,))):
        with pytest.raises(StepFailed, match=str(path)) as failure:
            simple.apply(operation)
        assert failure.value.exit_code == 1
    assert find_backup(backups(simple), "identity") is None
    assert events(simple, Event.BACKUP_PROVED) == []


def test_a_dump_that_restores_other_rows_is_not_proved(simple: Migrating) -> None:
    simple.apply(MakeBackup((T,)))
    [made] = list_backups(backups(simple), "identity")
    others = tuple(
        structs.replace(one, digest="1") if one.table == "t" else one for one in made.tables
    )
    write_record(backups(simple), structs.replace(made, tables=others))
    with pytest.raises(StepFailed, match=r"public\.t has other values"):
        simple.apply(ProveBackup())
    assert find_backup(backups(simple), "identity") is None


def test_what_the_scratch_server_lacks_is_said_and_proves_nothing(simple: Migrating) -> None:
    simple.apply(MakeBackup((T,)))
    [made] = list_backups(backups(simple), "identity")
    write_record(backups(simple), structs.replace(made, extensions=("pgcrypto", "postgis")))
    simple.apply(ProveBackup())
    assert "postgis: name a server that has them in migrate.backup.scratch_url" in simple.said[-1]
    assert events(simple, Event.BACKUP_PROVED) == []
    assert find_backup(backups(simple), "identity") is None


def test_an_abort_leaves_nothing_behind(simple: Migrating) -> None:
    class Stops(NothingStops):
        def check(self) -> None:
            if list(backups(simple).glob("test_*.part")):
                raise Interrupted("asked for")

    simple.database.execute(
        "INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(9000, 40000) n"
    )
    backups(simple).mkdir(exist_ok=True)
    (backups(simple) / "killed.dump.part").write_bytes(b"half")
    with pytest.raises(Interrupted):
        simple.apply(MakeBackup((T,)), control=Stops())
    assert list(backups(simple).iterdir()) == []


def test_a_full_disk_fails_the_step_and_leaves_no_part(simple: Migrating, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system of one's own may be mounted here")
    try:
        simple.settings = make_settings(simple.database, small)
        with pytest.raises(StepFailed, match="No space left on device"):
            simple.apply(MakeBackup((T,)))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_secret_is_in_no_argument_and_no_error(simple: Migrating) -> None:
    wrong = make_settings(simple.database, backups(simple))
    url = simple.database.conninfo(user="postgres", password="canary-7")
    connection = dataclasses.replace(wrong.database, url=Dsn(url))
    simple.settings = dataclasses.replace(wrong, database=connection)
    with pytest.raises(StepFailed, match="password authentication failed") as failure:
        simple.apply(MakeBackup((T,)))
    assert "canary-7" not in str(failure.value)


def test_what_was_written_since_is_counted(simple: Migrating) -> None:
    simple.apply(MakeBackup((T,)))
    [made] = list_backups(backups(simple), "identity")

    def lost() -> int | None:
        with open_session(connect_parameters(simple.database)) as connection:
            return count_lost(connection, made, NothingStops())

    assert lost() == 0
    simple.database.execute("INSERT INTO t SELECT n FROM generate_series(9001, 9007) n")
    simple.database.execute("UPDATE t SET name = '' WHERE id <= 5")
    simple.database.execute("CREATE TABLE more (id integer); INSERT INTO more VALUES (1)")
    assert await_value(lost, 13) == 13
    simple.database.execute("TRUNCATE t")
    assert await_value(lost, 5006) == 5006
    simple.database.execute("SELECT pg_stat_reset()")
    assert lost() is None


def await_value(read: Callable[[], int | None], expected: int) -> int | None:
    """Sessions report what they wrote when they end, a moment after their client has gone."""
    for _ in range(50):
        if read() == expected:
            break
        time.sleep(0.05)
    return read()
