"""The demo's own processes: application, traffic, exporter, each as a user would start it.

They run under the same supervision as the servers, so that none outlives the demo, not even one
that is killed; unlike the servers they keep the account and the environment of whoever runs them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from phasegate.contract.secrets import passwords_in, redact
from phasegate.servers.home import Account, Home
from phasegate.servers.process import SupervisedProcess

STOP_SECONDS = 5.0
LOG_LINES = 12


class Child:
    """`python -m MODULE ARGUMENTS…` in a folder of its own; a context manager that ends it.

    `files` are written into the folder first, `{folder}` in an argument stands for it.
    `variables` are added to the environment: secrets go there, never into an argument.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        variables: Mapping[str, str],
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._home = Home(name)
        self._home.account = Account(-1, -1)
        for file, content in (files or {}).items():
            self.write_file(file, content)
        self._secrets = {word for value in variables.values() for word in passwords_in(value)}
        # Settings of the user's own Phasegate are not the demo's.
        own = {key: value for key, value in os.environ.items() if not key.startswith("PHASEGATE_")}
        command = [
            argument.replace("{folder}", str(self._home.directory)) for argument in arguments
        ]
        try:
            self._process = SupervisedProcess(
                self._home, [sys.executable, "-m", *command], {**own, **variables}
            )
        except BaseException:
            self._home.remove()
            raise

    def __enter__(self) -> Self:
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
        """The process itself, not its supervisor."""
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def exit_code(self) -> int | None:
        """128 + signal where one ended it; None while it runs."""
        return self._process.wait(0)

    @property
    def folder(self) -> Path:
        """The process's own."""
        return self._home.directory

    def read_file(self, name: str) -> str:
        """A file of the process's folder; empty where there is none."""
        path = self._home.directory / name
        return path.read_text("utf-8") if path.exists() else ""

    @property
    def log(self) -> Path:
        """Everything that the process printed."""
        return self._home.log

    def write_file(self, name: str, content: str) -> None:
        """(Over)write a file in the process's folder."""
        self._home.write_private(name, content)

    def log_tail(self) -> str:
        """The last lines that it printed, without passwords."""
        return redact(self._home.log_tail(LOG_LINES), self._secrets)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to it and all below where that is not enough; keeps the log."""
        self._process.end(signal.SIGTERM, STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL to it and all below; keeps the log."""
        self._process.kill()

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self.running:
            self.stop()
        self._home.remove()
