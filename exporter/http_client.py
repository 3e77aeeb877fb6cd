"""One HTTP request to an application, told as facts: what came, or why nothing did.

Used where an answer is measured and not trusted: health checks and the application's metrics. Each
request has a connection of its own, since a kept one would hide a server that accepts no more. No
redirect is followed (a log-in page is not health), no proxy of the environment is asked, a body
is read up to a limit. Credentials come from their files at each request and stand in no detail.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from phasegate.contract.http_credentials import UnusableSecret, make_credentials
from phasegate.contract.settings_http import HttpAccess
from phasegate.exporter.tls_context import RecordingContext, recording_context

# OpenSSL's names for these (x509_vfy.h); Python's `ssl` shows only the numbers.
_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED = 9, 10
_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH = 62, 64
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_CERTIFICATE_REASONS = {
    _CERT_NOT_YET_VALID: "certificate_not_yet_valid",
    _CERT_HAS_EXPIRED: "certificate_expired",
    _HOSTNAME_MISMATCH: "certificate_hostname",
    _IP_ADDRESS_MISMATCH: "certificate_hostname",
}


@dataclass(frozen=True)
class Answer:
    """What came. `truncated`: the body went on beyond the limit. Times are Unix seconds."""

    status: int
    content_type: str
    body: bytes
    truncated: bool
    certificate_expires: float | None = None


@dataclass(frozen=True)
class Failure:
    """Why nothing came. `reason` is a short word fit for a label, `detail` a sentence."""

    reason: str
    detail: str
    certificate_expires: float | None = None


@dataclass(frozen=True)
class _Credentials:
    """What one request shows of itself, and whom it trusts."""

    headers: Mapping[str, str] = field(default_factory=dict)
    context: ssl.SSLContext | None = None


class _Unusable(Exception):
    """A file of the client's own side cannot be used."""


async def fetch(
    url: str, access: HttpAccess, *, within_seconds: float, limit: int, accept: str = "*/*"
) -> Answer | Failure:
    """GET `url` in at most `within_seconds`, reading at most `limit` bytes of the body."""
    try:
        async with asyncio.timeout(within_seconds):
            return await _fetch(url, access, limit, accept)
    except TimeoutError:
        return Failure("timeout", f"no whole answer within {within_seconds:g} s")


async def _fetch(url: str, access: HttpAccess, limit: int, accept: str) -> Answer | Failure:
    try:
        credentials = await asyncio.to_thread(_credentials, access, url.startswith("https:"))
    except _Unusable as error:
        return Failure("credentials", str(error))
    recording = recording_context(credentials.context) if credentials.context else None
    try:
        answer = await _get(url, credentials, recording, limit, accept)
    except (aiohttp.ClientError, ValueError, OSError) as error:
        failure = failure_of(error)
        if failure.reason == "certificate_expired" and credentials.context:
            expires = await _expiry_of_expired(url, access)
            return replace(failure, certificate_expires=expires)
        return failure
    return replace(answer, certificate_expires=_expiry(recording))


async def _get(
    url: str,
    credentials: _Credentials,
    recording: RecordingContext | None,
    limit: int,
    accept: str,
) -> Answer:
    connector = aiohttp.TCPConnector(ssl=recording or True, force_close=True)
    headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "phasegate"}
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # `fetch` keeps the time
        ) as session,
        session.get(
            url, headers={**headers, **credentials.headers}, allow_redirects=False
        ) as response,
    ):
        body = bytearray()
        while len(body) <= limit and (chunk := await response.content.read(limit + 1 - len(body))):
            body += chunk
        truncated = len(body) > limit
        if truncated:
            response.close()
        return Answer(response.status, response.content_type, bytes(body[:limit]), truncated)


def failure_of(error: Exception) -> Failure:
    """The reason for an exception of aiohttp, without the URL, which may hold a token."""
    match error:
        case aiohttp.ClientConnectorCertificateError(
            certificate_error=ssl.SSLCertVerificationError() as cause
        ):
            reason = _CERTIFICATE_REASONS.get(cause.verify_code, "certificate_untrusted")
            return Failure(reason, f"the certificate was refused: {cause.verify_message}")
        case aiohttp.ClientConnectorDNSError():
            return Failure("name_unknown", "the name of the host is not known")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return Failure("disconnected", "the server closed the connection before the end")
        case aiohttp.ClientResponseError(message=message):
            return Failure("protocol", f"not HTTP: {message}"[:200])
        case _ if isinstance(found := _system_error(error), ssl.SSLError):
            return Failure("tls", f"TLS failed: {found.reason or 'no reason given'}")
        case _ if isinstance(found, ConnectionRefusedError):
            return Failure("refused", "the connection was refused")
        case _ if isinstance(found, ConnectionResetError | BrokenPipeError):
            return Failure("disconnected", "the connection was reset")
        case _ if found is not None:
            return Failure("unreachable", found.strerror or type(found).__name__)
    return Failure("protocol", type(error).__name__)


def _system_error(error: Exception) -> OSError | None:
    """The innermost OSError: aiohttp's own exceptions are some too, without a reason or errno."""
    found: OSError | None = None
    inner: BaseException | None = error
    chain: list[BaseException] = []
    while inner is not None and inner not in chain:
        chain.append(inner)
        found = inner if isinstance(inner, OSError) else found
        inner = getattr(inner, "os_error", None) or inner.__cause__ or inner.__context__
    return found


def _credentials(access: HttpAccess, secure: bool) -> _Credentials:
    """Reads files, so it belongs in a thread."""
    try:
        headers = make_credentials(access)
    except UnusableSecret as error:
        raise _Unusable(str(error)) from None
    return _Credentials(headers, _client_context(access) if secure else None)


def _client_context(access: HttpAccess, flags: int = 0) -> ssl.SSLContext:
    """The context for these files as they are now; loading the system's authorities is slow."""
    files = (access.ca, access.cert, access.key)
    try:
        states = tuple(
            (path, path.stat().st_ino, path.stat().st_ctime_ns) for path in files if path
        )
        return _load_context(*files, flags, states)
    except ssl.SSLError as error:
        raise _Unusable(f"ca, cert or key cannot be used: {error.reason or 'no PEM'}") from error
    except OSError as error:
        raise _Unusable(f"ca, cert or key: {error.filename or ''} {error.strerror}") from error


@lru_cache(maxsize=64)
def _load_context(
    ca: Path | None, cert: Path | None, key: Path | None, flags: int, _states: tuple[Any, ...]
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= flags
    if cert is not None:
        # Without a password of our own OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    return context


def _expiry(recording: RecordingContext | None) -> float | None:
    if recording is None or recording.connection is None:
        return None
    certificate = recording.connection.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


async def _expiry_of_expired(url: str, access: HttpAccess) -> float | None:
    """A second handshake that minds everything but the time, only to read the certificate."""
    context = await asyncio.to_thread(_client_context, access, _NO_CHECK_TIME)
    recording = recording_context(context)
    parts = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(
            parts.hostname, parts.port or 443, ssl=recording, server_hostname=parts.hostname
        )
    except OSError:
        return None
    writer.transport.abort()
    return _expiry(recording)
