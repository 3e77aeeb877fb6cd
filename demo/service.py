"""One address in front of whichever version of the API is deployed, as a Kubernetes Service is.

Connections go to the version that was deployed when they were opened; at a deployment the idle
ones are closed, so that who keeps a connection finds the new version at the next request.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 65_536


class Service:
    """An asynchronous context manager. `port` is its own, `upstream` that of the version."""

    def __init__(self, upstream: int) -> None:
        self.port = 0
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()

    @property
    def url(self) -> str:
        """Its base."""
        return f"http://127.0.0.1:{self.port}"

    def deploy(self, upstream: int) -> None:
        """Lead to another version from now on."""
        self._upstream = upstream
        self._cut()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            above, below = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            self._open.discard(writer)
            writer.close()
            return
        await asyncio.gather(_pipe(reader, below), _pipe(above, writer))
        self._open.discard(writer)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()
