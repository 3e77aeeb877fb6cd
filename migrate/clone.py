"""An empty copy of the tables that a plan touches, on a server that is thrown away.

Only what is touched is dumped, and what it is linked to: a dump of everything would queue behind
every lock in the database. The user's server is read, and never changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from phasegate.contract.errors import WorkFailed
from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.contract.secrets import redactor
from phasegate.migrate.catalog import PARTITIONED, TABLE, Catalog, load_sql
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Patience
from phasegate.migrate.sessions import Connection, open_session
from phasegate.servers.postgres import EMBEDDED_MAJOR, PostgresServer, find_postgres

LOCK_WAIT_MILLISECONDS = 2_000
PROGRAM_SECONDS = 120.0
FEW_PARTITIONS = 3
"""Of each partitioned table so many stand for the others; those that a statement names come too."""
_NAMES_A_PATTERN = 200
# What a dump of another release says of sessions, or of columns beside their definition, is not
# missed: 15.20 marks each column with an option that servers and dumps before it do not know.
_HARMLESS = re.compile(
    r'schema "[^"]*" already exists|unrecognized (configuration )?parameter "\w+(_timeout|_attver)"'
)
# How it says that --lock-wait-timeout is over; another program would wait for the same lock.
_TIMEOUT = re.compile(r"canceling statement due to \w+ timeout")
_SECRETS = frozenset({"password", "sslpassword"})
_SERVER_SETTINGS = {"fsync": False, "autovacuum": False, "max_locks_per_transaction": 1_024}


@dataclass(frozen=True)
class Clone:
    """A running copy. `lacks` says what could not be restored, one sentence each; `server` names
    the server, and says where it is of another major version than the user's."""

    conninfo: Mapping[str, str]
    server: str
    lacks: tuple[str, ...]

    def connect(self) -> Connection:
        """A session like the runner's, as superuser."""
        return open_session(self.conninfo, Patience.CONCURRENT)


@contextmanager
def open_clone(
    connection: Connection, conninfo: Mapping[str, str], catalog: Catalog, texts: Sequence[str]
) -> Iterator[Clone]:
    """A copy of the catalog's tables, empty; `texts` are the statements that are to run on it.

    `connection` is in autocommit and only read. Raises WorkFailed where the database cannot be
    dumped or no server comes up; what merely is not restored stands in `lacks`.
    """
    major = catalog.version // 10_000
    wanted = list(choose_tables(catalog, texts))
    parameters = {
        "schemas": [name.schema for name in wanted],
        "tables": [name.table for name in wanted],
    }
    rows = connection.execute(load_sql("clone")["surroundings"].encode(), parameters).fetchall()
    with tempfile.TemporaryDirectory(prefix="phasegate-clone-") as folder:
        script = Path(folder) / "schema.sql"
        dump_arguments = list(_dump_arguments(dict(rows)))
        binaries = _dump(major, conninfo, dump_arguments, script)
        found = find_postgres(major)
        chosen = EMBEDDED_MAJOR if found is None else major
        with PostgresServer(chosen, settings=_SERVER_SETTINGS) as server:
            lacks = _restore(server, binaries, script, catalog)
            told = f"an empty clone on PostgreSQL {chosen}"
            if chosen != major:
                told += f" (no server of {major} at hand)"
            yield Clone(_parameters(server), told, lacks)


def choose_tables(catalog: Catalog, texts: Sequence[str]) -> Iterator[TableName]:
    """The tables to copy: all but most of the partitions."""
    text = "\n".join(texts)
    few: dict[TableName, int] = {}
    for name, relation in catalog.relations.items():
        if relation.bound and qualify(name) not in text:
            [parent] = relation.parents
            few[parent] = few.get(parent, 0) + 1
            if few[parent] > FEW_PARTITIONS:
                continue
        yield name


def _dump_arguments(schemas: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """pg_dump's patterns: the schemas, without the tables that are no part of it."""
    for schema, others in schemas.items():
        yield f"--schema={_pattern(schema)}"
        for start in range(0, len(others), _NAMES_A_PATTERN):
            names = "|".join(_pattern(name) for name in others[start : start + _NAMES_A_PATTERN])
            yield f"--exclude-table={_pattern(schema)}.({names})"


def _pattern(name: str) -> str:
    """In quotes nothing of a pattern is special."""
    return '"' + name.replace('"', '""') + '"'


def _dump(major: int, conninfo: Mapping[str, str], arguments: Sequence[str], script: Path) -> Path:
    """The folder of the pg_dump that did it. Raises WorkFailed with what the last one said."""
    shown = {key: value for key, value in conninfo.items() if key not in _SECRETS}
    if "sslpassword" in conninfo:
        raise WorkFailed("pg_dump would show the passphrase of the client's key to everybody")
    reasons: list[str] = []
    for folder in find_dumpers(major):
        code, lines = _run(
            [
                *(str(folder / "pg_dump"), "--format=plain", f"--file={script}"),
                *("--schema-only", "--extension=*", "--no-owner", "--no-privileges"),
                *("--no-publications", "--no-subscriptions", "--no-tablespaces"),
                *("--no-security-labels", f"--lock-wait-timeout={LOCK_WAIT_MILLISECONDS}"),
                *arguments,
                f"--dbname={make_conninfo(**shown)}",
            ],
            conninfo.get("password"),
        )
        if code == 0:
            return folder
        told = [line for line in lines if "error:" in line] or lines or [f"it ended with {code}"]
        reasons.append(told[0].removeprefix("pg_dump: ").removeprefix("error: "))
        if _TIMEOUT.search(reasons[0]):
            reasons[0] = "a table is locked by somebody; plan again later"
            break
    # The one that fits best says best what is wrong.
    reason = reasons[0] if reasons else f"there is none of version {major} or newer"
    raise WorkFailed(f"pg_dump: {reason}")


def find_dumpers(major: int) -> list[Path]:
    """Folders with a pg_dump that can read that major version, the nearest first."""
    majors = dict.fromkeys([major, *range(major + 1, major + 8), EMBEDDED_MAJOR])
    found = [find_postgres(one) for one in majors if one >= major]
    on_path = shutil.which("pg_dump")
    # By its directory entry: Debian's is a script that looks for the server's version itself.
    folders = [*found, Path(on_path).parent if on_path else None]
    return list(
        dict.fromkeys(
            one
            for one in folders
            if one is not None and (one / "pg_dump").exists() and (one / "psql").exists()
        )
    )


def _restore(
    server: PostgresServer, binaries: Path, script: Path, catalog: Catalog
) -> tuple[str, ...]:
    """What could not be restored. Roles are made by name, for policies and grants name them."""
    queries = load_sql("journal")
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        for role in sorted(_roles(catalog) - {"postgres"}):
            session.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    # Statement by statement: what one lacks does not take the others along.
    _, said = _run(
        [*(str(binaries / "psql"), "-X", "-q", "-f", str(script)), f"--dbname={_bare(server)}"],
        server.password,
    )
    with psycopg.connect(server.conninfo(), autocommit=True) as session:
        there = session.execute(
            "SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,)
        ).fetchone()
        # The runner makes its schema before the first step.
        if there is None:
            session.execute(queries["create_schema"].encode())
            session.execute(queries["create"].encode())
        for name, relation in catalog.relations.items():
            if relation.kind in (TABLE, PARTITIONED) and not relation.owner.startswith("pg_"):
                owned = f"ALTER TABLE IF EXISTS {qualify(name)} OWNER TO {quote(relation.owner)}"
                session.execute(owned.encode())
    lines = [line.partition("ERROR:")[2].strip() for line in said if "ERROR:" in line]
    return tuple(dict.fromkeys(line for line in lines if not _HARMLESS.search(line)))


def _roles(catalog: Catalog) -> set[str]:
    found = {catalog.role}
    for relation in catalog.relations.values():
        found.add(relation.owner)
        found |= {grantee for grantee, _, _ in relation.grants}
        for column in relation.columns:
            found |= {grantee for grantee, _ in column.grants}
            found |= {grantee for grantee, _, _ in column.sequence_grants}
    return {name for name in found if name and not name.startswith("pg_")}


def _run(command: Sequence[str], password: str | None) -> tuple[int, list[str]]:
    """A program of PostgreSQL: how it ended, and what it said of errors, without secrets."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    environment |= {"LC_ALL": "C"} | ({} if password is None else {"PGPASSWORD": password})
    try:
        done = subprocess.run(  # noqa: S603  # a program of the server, found by us
            command, capture_output=True, env=environment, timeout=PROGRAM_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return -1, [f"no end within {PROGRAM_SECONDS:.0f} s"]
    except OSError as error:
        return -1, [str(error)]
    lines = redactor(done.stderr.decode("utf-8", "replace")).splitlines()
    return done.returncode, [line.strip() for line in lines if line.strip()]


def _parameters(server: PostgresServer) -> dict[str, str]:
    return {key: str(value) for key, value in conninfo_to_dict(server.conninfo()).items()}


def _bare(server: PostgresServer) -> str:
    """Without its password, for an argument list that everybody can read."""
    return make_conninfo(
        **{key: value for key, value in _parameters(server).items() if key != "password"}
    )
