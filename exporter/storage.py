"""What survives a restart: counters, histograms and evidence, in one file that is never half.

Without `--storage.path` everything begins at zero and says so by a new start time. A file that
cannot be read is moved aside, not overwritten: it may hold the evidence of a day. One exporter
at a time: of two, each would overwrite what the other kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog

from phasegate.contract.errors import ConfigError, ConfigFault

log = structlog.get_logger()

VERSION = 2
FILE_NAME = "state.msgpack"
LOCK_NAME = "lock"
FLAG = "--storage.path"


class Storage:
    """One directory of one exporter, which holds it until `close` or its end, however that comes.

    Raises OSError where it cannot be written, ConfigError where another exporter holds it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / FILE_NAME
        with tempfile.TemporaryFile(dir=directory):
            pass
        self._lock: int | None = _hold(directory)

    def close(self) -> None:
        """Let another exporter have the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self) -> dict[str, Any]:
        """What the last `save` kept; empty at the first start and after damage.

        Raises ConfigError where something else stands in the file's place, or it is not readable.
        """
        hint = f"move it away to begin at zero, or name another folder with {FLAG}"
        try:
            if self._file.exists() and not self._file.is_file():
                raise _refusal(self._file, "no file", "the state of an exporter", hint)
            data = self._file.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as failure:
            found = f"a file that cannot be read ({failure.strerror})"
            raise _refusal(self._file, found, "the state of an exporter", hint) from failure
        try:
            state: dict[str, Any] = msgspec.msgpack.decode(data, type=dict[str, Any])
            error = "" if state.get("version") == VERSION else f"not a state of version {VERSION}"
        except msgspec.DecodeError as fault:
            error = str(fault)
        if error:
            aside = self._file.with_suffix(f".unreadable-{int(time.time())}")
            self._file.rename(aside)
            log.warning("storage_unreadable", error=error, kept_as=str(aside))
            return {}
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; the old one stays whole until the new one is on disk. OSError."""
        data = msgspec.msgpack.encode({**state, "version": VERSION})
        handle, name = tempfile.mkstemp(dir=self._file.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise


def _hold(directory: Path) -> int:
    """Lock the directory for this process alone; the descriptor whose end gives it free again."""
    handle = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except BlockingIOError as error:
        holder = os.read(handle, 400).decode(errors="replace") or "a process that just began"
        os.close(handle)
        expected = "a folder that no other exporter uses"
        hint = "end that one first, or name another folder"
        raise _refusal(directory, f"one in use by {holder}", expected, hint) from error
    except BaseException:
        os.close(handle)
        raise
    return handle


def _refusal(place: Path, found: str, expected: str, hint: str) -> ConfigError:
    return ConfigError((ConfigFault(str(place), 0, 0, FLAG, found, expected, hint),))
