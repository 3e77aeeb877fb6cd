"""TCP ports for throw-away servers: never a standard one, never one that may soon be taken.

Ports come from above the range that Linux hands out to outgoing connections (32768 to 60999),
so that a stopped server finds its port free when it starts again.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable

from phasegate.contract.errors import ServerStartFailed

FIRST_PORT = 61001
LAST_PORT = 65500
ATTEMPTS = 50


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens at this moment.

    Nothing reserves it: who starts a server on it must be ready to try another one, as
    `start_on_free_port` does.
    """
    # Not a secret, only a spread; independent of a seed that a test may have set.
    generator = random.SystemRandom()
    for _ in range(ATTEMPTS):
        port = generator.randint(FIRST_PORT, LAST_PORT)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            return port
    raise ServerStartFailed("server", f"no free port in {FIRST_PORT}-{LAST_PORT} of 127.0.0.1")


def start_on_free_port(launch: Callable[[int], None]) -> int:
    """Calls `launch(port)` with other ports until one was not taken meanwhile; returns it."""
    for _ in range(ATTEMPTS):
        port = free_port()
        try:
            launch(port)
        except ServerStartFailed as error:
            if "address already in use" not in str(error).lower():
                raise
        else:
            return port
    raise ServerStartFailed("server", f"{ATTEMPTS} ports in a row were taken while it started")
