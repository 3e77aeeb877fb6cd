"""TLS contexts that decide anew for each connection.

asyncio and aiohttp take one `ssl.SSLContext` for the life of a server or a connector. A renewed
certificate, a new list of authorities or another client policy would need a restart, and a client
could not see the certificate of the connection that it just made. Both call `wrap_bio` once for
each connection, so that is where these step in.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any


class ForwardingContext(ssl.SSLContext):
    """Gives each new connection to the context that `provide` returns at that moment."""

    provide: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.provide().wrap_bio(*args, **kwargs)


class RecordingContext(ForwardingContext):
    """Keeps the connection that was made last, for a look at the peer's certificate."""

    connection: ssl.SSLObject | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self.connection = super().wrap_bio(*args, **kwargs)
        return self.connection


def forwarding_context(provide: Callable[[], ssl.SSLContext]) -> ForwardingContext:
    """A context for a server whose real one may change."""
    context = ForwardingContext(ssl.PROTOCOL_TLS_SERVER)
    context.provide = provide
    return context


def recording_context(real: ssl.SSLContext) -> RecordingContext:
    """A context for one request of a client."""
    context = RecordingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.provide = lambda: real
    return context
