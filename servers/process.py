"""One supervised process, seen from its owner: start it, signal it, wait for its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers.home import Home
from phasegate.servers.supervisor import signal_descendants

SUPERVISOR = Path(__file__).with_name("supervisor.py").resolve()
# Nothing of the owner's environment: PGDATA, PGPASSWORD and the like would reach the server.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}
POLL_SECONDS = 0.005
LAST_LINES = 20


class SupervisedProcess:
    """A running command in a server's home. Its output is appended to the home's log."""

    def __init__(
        self, home: Home, command: Sequence[str | Path], extra: Mapping[str, str] | None = None
    ) -> None:
        self._home = home
        self._log_start = home.log.stat().st_size
        account = home.account
        with home.log.open("ab") as log:
            self._supervisor = subprocess.Popen(  # noqa: S603  # our own script
                [
                    *(sys.executable, "-I", "-S", SUPERVISOR, home.directory),
                    *(str(account.uid), str(account.gid), *map(str, command)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=home.directory,
                env={**ENVIRONMENT, **(extra or {})},
                # Ctrl-C in a terminal is the owner's business; it then stops its servers in order.
                start_new_session=True,
            )
        assert self._supervisor.stdout is not None
        line = self._supervisor.stdout.readline()
        if not line:
            self.wait(5)
            raise ServerStartFailed(home.server, f"no supervisor\n{self.last_lines()}")
        self.pid = int(line)

    def await_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Returns once `ready()` holds.

        Where the process ends before, or `seconds` run out, it is killed and ServerStartFailed
        raised with the last lines of the log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise ServerStartFailed(self._home.server, self.last_lines())
            time.sleep(POLL_SECONDS)

    @property
    def running(self) -> bool:
        """True until the process and everything below it has ended."""
        return self._supervisor.poll() is None

    def last_lines(self) -> str:
        """The end of what this very process printed, not an earlier one in the same home."""
        with self._home.log.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:])

    def send(self, number: signal.Signals) -> None:
        """Signals the process alone; nothing where it has ended."""
        if self.running:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def send_all(self, number: signal.Signals) -> None:
        """Signals the process, then everything below it."""
        signal_descendants(self._supervisor.pid, number)

    def wait(self, seconds: float) -> int | None:
        """The exit code (128 + signal), or None where it still runs after `seconds`."""
        try:
            code = self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def end(self, number: signal.Signals, seconds: float) -> None:
        """Ends it by `number`, or by SIGKILL where that takes longer than `seconds`."""
        self.send_all(signal.SIGCONT)
        self.send(number)
        if self.wait(seconds) is None:
            self.kill()

    def kill(self) -> None:
        """Kills the process and everything below it at once; returns when all have ended."""
        self.send_all(signal.SIGKILL)
        if self.wait(10) is None:
            raise ServerStartFailed(
                self._home.server, f"process {self.pid} does not end by SIGKILL"
            )
