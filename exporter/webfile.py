"""The web file in force: read again when it or a certificate changes, never worse than before.

The toolkit reads its file at every request, and so would obey a file that is being written: half
of it may lack the users. Here a change counts once the file has rested for a second, and what
cannot be used leaves the last good configuration in force, with the fault for the page to show.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from phasegate.contract.errors import ConfigError, ConfigFault
from phasegate.exporter.tls_context import forwarding_context
from phasegate.exporter.webconfig import WebConfig, load_web_config
from phasegate.exporter.webtls import ssl_context

log = structlog.get_logger()

REST_SECONDS = 1.0

_Signature = tuple[tuple[int, int, int] | None, ...]


class WebFile:
    """One web file. `fault` says why the newest state of it is not in force; empty when it is."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Reads it. Raises ConfigError where it, or a certificate that it names, is unusable."""
        self._path = path
        self._clock = clock
        self._retry_at = 0.0
        self.fault = ""
        self._config, self._context, self._seen = self._read()

    def current(self) -> WebConfig:
        """The configuration in force. Looks at the files first: a few `stat` calls."""
        if _signature(self._path, self._config) == self._seen:
            if self.fault:
                self._accept()  # put back as it was
        elif self._clock() >= self._retry_at and self._rests():
            try:
                self.reload()
            except ConfigError:
                self._retry_at = self._clock() + REST_SECONDS
                self._renew_certificates()
        return self._config

    def reload(self) -> None:
        """Take the file as it is now. Raises ConfigError and keeps the last good one."""
        try:
            config, context, seen = self._read()
            if (context is None) is not (self._context is None):
                raise _needs_restart(self._path, "off" if context is None else "on")
        except ConfigError as error:
            if str(error) != self.fault:
                log.warning("web_config_refused", error=str(error))
            self.fault = str(error)
            raise
        self._config, self._context, self._seen = config, context, seen
        self._accept()

    def ssl_context(self) -> ssl.SSLContext | None:
        """The context for the listening socket; each new connection gets what is in force then."""
        return forwarding_context(self._current_context) if self._context else None

    def _current_context(self) -> ssl.SSLContext:
        self.current()
        assert self._context is not None
        return self._context

    def _read(self) -> tuple[WebConfig, ssl.SSLContext | None, _Signature]:
        # Before the reading, so that a change during it is seen as one afterwards.
        file_seen = _signature_of(self._path)
        config = load_web_config(self._path)
        seen = (file_seen, *_signature(self._path, config)[1:])
        return config, ssl_context(config), seen

    def _accept(self) -> None:
        self.fault = ""
        log.info("web_config_taken", file=str(self._path))

    def _renew_certificates(self) -> None:
        """A broken file must not keep a renewed certificate out."""
        with suppress(ConfigError):
            self._context = ssl_context(self._config)

    def _rests(self) -> bool:
        try:
            changed = self._path.stat().st_ctime
        except OSError:
            return True
        return not 0 <= self._clock() - changed < REST_SECONDS


def _needs_restart(path: Path, state: str) -> ConfigError:
    found = f"a change that turns TLS {state}"
    return ConfigError(
        (ConfigFault(str(path), 0, 0, "tls_server_config", found, "a restart for such a change"),)
    )


def _signature(path: Path, config: WebConfig) -> _Signature:
    """What changes whenever one of the files is written, replaced or given other rights."""
    tls = config.tls_server_config
    return tuple(_signature_of(file) for file in (path, *(tls.files if tls else ())))


def _signature_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns
