"""Asks the Prometheus behind the preview, and tells every way in which that can fail.

The browser shows whatever comes from here, so that nothing raised here but `Unanswered`, whose text
holds no secret. Credentials come from their files at each request; no redirect is followed, since a
log-in page holds no series.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp

from phasegate.contract.http_credentials import UnusableSecret, make_credentials
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Prometheus

WITHIN_SECONDS = 30.0
MOST_BYTES = 64 * 2**20
SHOWN = 300

Pairs = Sequence[tuple[str, str]]


class Answer(NamedTuple):
    """What the API answered, as JSON: its own errors too, with their status."""

    status: int
    body: bytes


class Unanswered(Exception):
    """No answer of the API came; `kind` is a word for a machine, the text a sentence."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(redactor(text))


class Upstream:
    """One Prometheus-compatible API; to be used inside one event loop, and closed there."""

    def __init__(self, settings: Prometheus, within_seconds: float = WITHIN_SECONDS) -> None:
        self._settings = settings
        self._within_seconds = within_seconds
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Its base, without a slash at the end; it holds no password."""
        return self._settings.url.rstrip("/")

    async def close(self) -> None:
        """Ends its connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, path: str, pairs: Pairs, *, by_form: bool) -> Answer:
        """What `path` of the API answers; `by_form` where it takes POST, whose queries may be
        longer than a URL. Raises Unanswered."""
        try:
            return await self._ask(path, pairs, by_form=by_form)
        except TimeoutError:
            told = f"{self.url} gave no whole answer within {self._within_seconds:g} s"
            raise Unanswered("timeout", told) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            told = f"{self.url} could not be reached: {_reason(error)}"
            raise Unanswered("unreachable", told) from None

    async def _ask(self, path: str, pairs: Pairs, *, by_form: bool) -> Answer:
        session = self._open()
        headers = {name: text.reveal() for name, text in self._settings.headers.items()}
        headers |= await asyncio.to_thread(_credentials, self._settings)
        async with session.request(
            "POST" if by_form else "GET",
            f"{self.url}/api/v1/{path}",
            data=list(pairs) if by_form else None,
            params=None if by_form else list(pairs),
            headers=headers,
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                body += chunk
                if len(body) > MOST_BYTES:
                    told = f"{self.url} answered more than {MOST_BYTES:,} bytes; ask for less"
                    raise Unanswered("too_large", told)
            return self._read(response.status, bytes(body))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=_context(self._settings)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._within_seconds),
            )
        return self._session

    def _read(self, status: int, body: bytes) -> Answer:
        """An answer of the API is an object with a `status`; anything else is of another server."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if isinstance(found, dict) and found.get("status") in ("success", "error"):
            return Answer(status, body)
        hint = {
            401: "it wants credentials; configure prometheus.basic_auth or prometheus.bearer_file",
            403: "it refuses these credentials",
            404: "it has no such API; is this the base of a Prometheus?",
        }.get(status, "expected JSON of the Prometheus API")
        raise Unanswered("no_api", f"{self.url} answered with status {status}: {hint}")


def _context(settings: Prometheus) -> ssl.SSLContext | bool:
    if not settings.url.startswith("https:"):
        return True
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.cert is not None:
            # Without a password of our own OpenSSL would ask for one at the terminal.
            context.load_cert_chain(settings.cert, settings.key, password=lambda: "")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or "no PEM"
        told = f"prometheus.ca, cert or key cannot be used: {reason}"
        raise Unanswered("credentials", told) from None
    return context


def _credentials(settings: Prometheus) -> dict[str, str]:
    try:
        return make_credentials(settings)
    except UnusableSecret as error:
        raise Unanswered("credentials", f"prometheus.{error}") from None


def _reason(error: Exception) -> str:
    """Of the innermost cause that knows one, without the query of a URL."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host is not known"
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return f"its certificate is refused: {getattr(cause, 'verify_message', cause)}"
        case aiohttp.ClientConnectorError(os_error=cause):
            return _system_words(cause)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "it closed the connection before the end of its answer"
        case OSError():
            return _system_words(error)
    return type(error).__name__


def _system_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no reason given'}"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)[:SHOWN]
