"""What survives a restart: counters, histograms and evidence, in one file that is never half.

Without `--storage.path` everything begins at zero and says so by a new start time. A file that
cannot be read is moved aside, not overwritten: it may hold the evidence of a day.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog

log = structlog.get_logger()

VERSION = 1
FILE_NAME = "state.msgpack"


class Storage:
    """One directory of one exporter; raises OSError at the start where it cannot be written."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / FILE_NAME
        with tempfile.TemporaryFile(dir=directory):
            pass

    def load(self) -> dict[str, Any]:
        """What the last `save` kept; empty at the first start and after damage."""
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return {}
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
