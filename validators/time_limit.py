"""A limit for the whole of what blocks on a socket, whose own time-out counts each read anew."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def time_limit(descriptor: int, seconds: float) -> Iterator[threading.Event]:
    """Cuts the connection of that descriptor after `seconds`; the event tells that it did.

    By a copy of the descriptor, since who owns it may close it, or give it away, meanwhile.
    """
    cut = threading.Event()
    with socket.socket(fileno=os.dup(descriptor)) as line:

        def end() -> None:
            cut.set()
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield cut
        finally:
            timer.cancel()
