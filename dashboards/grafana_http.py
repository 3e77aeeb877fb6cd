"""Grafana's HTTP API as far as a push needs it: JSON in, JSON out, or an error that says why.

What may pass by itself (no connection, a time-out, 429, 5xx) is tried again a few times. No
redirect is followed: the token would go with it, and a log-in page is no answer. The token is sent
as a header and stands in no text.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp

from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.http_credentials import UnusableSecret, read_secret_line
from phasegate.contract.secrets import Secret, redactor

SOURCE = "grafana"
PAUSES_SECONDS = (0.5, 1.0, 2.0)
_MOST_BYTES = 16 * 2**20
_MOST_SHOWN = 300
_PERMISSIONS = (
    "its service account needs the role Editor, or the permissions folders:read, folders:create, "
    "dashboards:read, dashboards:create and dashboards:write"
)


class Reply(NamedTuple):
    """An answer in JSON. `status` is 2xx, or a 4xx that is about what was asked for."""

    status: int
    body: Any

    @property
    def message(self) -> str:
        """What Grafana says in words, on one line; empty where it says nothing."""
        found = self.body.get("message") if isinstance(self.body, dict) else None
        return shown(found) if isinstance(found, str) else ""


class _PassingFault(Exception):
    """What may be gone at the next try."""

    def __init__(self, kind: type[SourceError], text: str) -> None:
        self.kind = kind
        super().__init__(text)


def shown(text: str) -> str:
    """A text of the other side on one line, without secrets and what a screen obeys."""
    line = " ".join(redactor(text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:_MOST_SHOWN]


def read_token(path: Path) -> Secret:
    """The one line of a file. Raises SourceUnavailable where there is none."""
    try:
        return Secret(read_secret_line(path, "token file"))
    except UnusableSecret as error:
        raise SourceUnavailable(SOURCE, str(error)) from None


class Grafana:
    """One Grafana at `url`, which may have a path; an asynchronous context.

    Each request has `within_seconds`, and one try more than there are `pauses`.
    """

    def __init__(
        self,
        url: str,
        token: Secret,
        ca: Path | None = None,
        *,
        within_seconds: float = 30.0,
        pauses: Sequence[float],
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._ca = ca
        self._within_seconds = within_seconds
        self._pauses = pauses

    async def __aenter__(self) -> Self:
        context = self._context() if self.url.startswith("https:") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._within_seconds),
            headers={
                "Accept": "application/json",
                "Authorization": f"Bearer {self._token.reveal()}",
                "User-Agent": "phasegate",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Asks for `path`, which begins with `/api/`; a `body` is sent as JSON.

        Raises SourceTimeout, SourceUnavailable where nothing answers or the token is not enough,
        SourceError where what answers is no Grafana.
        """
        for pause in self._pauses:
            try:
                return await self._ask(method, path, body)
            except _PassingFault:
                await asyncio.sleep(pause)
        try:
            return await self._ask(method, path, body)
        except _PassingFault as fault:
            tries = len(self._pauses) + 1
            raise fault.kind(SOURCE, f"{fault}, at each of {tries} tries") from None

    async def _ask(self, method: str, path: str, body: Any) -> Reply:
        url = f"{self.url}{path}"
        try:
            async with self._session.request(
                method, url, json=body, allow_redirects=False
            ) as response:
                content = await _read(response.content)
        except TimeoutError:
            text = f"no whole answer within {self._within_seconds:g} s from {url}"
            raise _PassingFault(SourceTimeout, text) from None
        except aiohttp.ClientConnectorCertificateError as error:
            cause = error.certificate_error
            reason = getattr(cause, "verify_message", None) or type(cause).__name__
            raise SourceUnavailable(
                SOURCE, f"the certificate of {self.url} was refused: {reason}; see --ca"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            text = f"{self.url} cannot be reached: {_reason(error)}"
            raise _PassingFault(SourceUnavailable, text) from None
        return self._judged(response, path, content)

    def _judged(self, response: aiohttp.ClientResponse, path: str, content: bytes) -> Reply:
        """What came as a reply, or as the error that it means."""
        status = response.status
        answered = f"{self.url} answered {status} to {path.partition('?')[0]}"
        if status == 429 or status >= 500:
            raise _PassingFault(SourceUnavailable, answered)
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("Location", ""))
            host = target.hostname or ""
            place = shown(f"{target.scheme}://{host}{target.path}" if host else target.path)
            raise SourceError(
                SOURCE, f"{answered}, a redirect to {place or 'nowhere'}: a log-in page, or "
                "Grafana has another URL; give that as --url"
            )  # fmt: skip
        try:
            is_json = response.content_type == "application/json"
            reply = Reply(status, json.loads(content) if is_json else None)
        except (ValueError, RecursionError):
            is_json = False
        if not is_json:
            raise SourceError(
                SOURCE, f"{answered} by {shown(response.content_type)} that is no JSON: a log-in "
                "page, a proxy, or a URL that lacks Grafana's path"
            )  # fmt: skip
        if status in (401, 403):
            said = f" ({reply.message})" if reply.message else ""
            need = _PERMISSIONS if status == 403 else "it is unknown, expired or of another Grafana"
            raise SourceUnavailable(SOURCE, f"{answered}{said}: the token is not enough; {need}")
        return reply

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._ca)
        except OSError as error:  # ssl.SSLError is one
            reason = getattr(error, "reason", None) or error.strerror or "no PEM"
            raise SourceUnavailable(SOURCE, f"--ca {self._ca} cannot be used: {reason}") from None


async def _read(stream: aiohttp.StreamReader) -> bytes:
    content = bytearray()
    while chunk := await stream.readany():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise SourceError(SOURCE, f"answered more than {_MOST_BYTES:,} bytes")
    return bytes(content)


def _reason(error: Exception) -> str:
    """Without the request, whose headers aiohttp's own text may show."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host is not known"
        case aiohttp.ClientConnectorError(os_error=cause):
            return getattr(cause, "reason", None) or cause.strerror or type(cause).__name__
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "it closed the connection before the end of its answer"
        case aiohttp.ClientResponseError():
            return "its answer is not HTTP"
    return getattr(error, "strerror", None) or type(error).__name__
