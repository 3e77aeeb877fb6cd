"""One request by the standard library: the judge starts cold, and a client takes half its time.

No redirect is followed (a log-in page is no evidence) and no proxy of the environment is asked.
Credentials come from their files at each request and stand in no message.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.parse import urlsplit

from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.http_credentials import UnusableSecret, make_credentials
from phasegate.contract.settings_http import HttpAccess
from phasegate.validators.time_limit import time_limit

_GZIP = 16 + zlib.MAX_WBITS
_CHUNK = 1 << 16


class Answer(NamedTuple):
    """What came, whole and unpacked. `content_type` is without parameters; the names of `headers`
    are in small letters, and what came twice under one name is joined by commas."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = {}


def fetch(
    url: str,
    access: HttpAccess,
    source: str,
    *,
    within_seconds: float,
    limit: int,
    headers: Mapping[str, str] = {},
    method: str = "",
    body: bytes | None = None,
) -> Answer:
    """Asks `url` in at most `within_seconds` once connected, reading at most `limit` bytes.

    By GET, or POST where there is a `body`, unless `method` says otherwise. `headers` of the
    caller's own come before those of `access`. Raises SourceTimeout, SourceUnavailable where
    nothing answers, SourceError where what answers cannot be read; `source` names it in their
    texts, which show no query of the URL.
    """
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        credentials = make_credentials(access)
    except UnusableSecret as error:
        raise SourceUnavailable(source, str(error)) from None
    sent = _sendable(
        {"Accept-Encoding": "gzip", "Connection": "close"} | credentials | dict(headers),
        source,
    )
    verb = method or ("GET" if body is None else "POST")
    connection = _open(url, access, source, within_seconds)
    late = SourceTimeout(source, f"no whole answer within {within_seconds:g} s from {_shown(url)}")
    try:
        connection.connect()
        with time_limit(connection.sock.fileno(), within_seconds) as cut:
            try:
                connection.request(verb, path, body=body, headers=sent)
                return _answer(connection.getresponse(), source, limit)
            except (OSError, HTTPException, zlib.error, SourceError):
                # What was cut looks like an answer that ends in the middle.
                if cut.is_set():
                    raise late from None
                raise
    except TimeoutError:
        raise late from None
    except (OSError, HTTPException, zlib.error) as error:
        raise _told(error, url, source) from None
    finally:
        connection.close()


def _open(url: str, access: HttpAccess, source: str, timeout: float) -> HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        return HTTPConnection(host, parts.port or 80, timeout=timeout)
    import ssl  # noqa: PLC0415
    from http.client import HTTPSConnection  # noqa: PLC0415

    try:
        context = ssl.create_default_context(cafile=access.ca)
        if access.cert is not None:
            # Without a password of our own OpenSSL would ask for one at the terminal.
            context.load_cert_chain(access.cert, access.key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "no PEM"
        raise SourceUnavailable(source, f"ca, cert or key cannot be used: {reason}") from None
    return HTTPSConnection(host, parts.port or 443, timeout=timeout, context=context)


def _answer(response: HTTPResponse, source: str, limit: int) -> Answer:
    packed = response.headers.get("Content-Encoding", "identity").lower()
    if packed not in ("identity", "gzip"):
        raise SourceError(
            source, f"answered in the encoding {packed[:40]!r}, expected gzip or none"
        )
    unpack = zlib.decompressobj(_GZIP) if packed == "gzip" else None
    body = bytearray()
    while chunk := response.read(_CHUNK):
        while chunk:
            body += unpack.decompress(chunk, limit + 1 - len(body)) if unpack else chunk
            if len(body) > limit:
                raise SourceError(source, f"answered more than {limit:,} bytes")
            chunk = unpack.unconsumed_tail if unpack else b""
    # A read by parts does not notice that fewer came than were announced.
    if response.length or (unpack is not None and not unpack.eof):
        raise SourceError(source, "its answer ends in the middle")
    kind = response.headers.get_content_type()
    headers: dict[str, str] = {}
    for written, value in response.getheaders():
        name = written.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(response.status, kind, bytes(body), headers)


def _shown(url: str) -> str:
    """Without its query, which may hold a token; a URL of the configuration holds no password."""
    return url.partition("?")[0]


def _sendable(headers: Mapping[str, str], source: str) -> dict[str, bytes]:
    """The headers as bytes: left to the client, a value that is none would stand in its error."""
    for name, value in headers.items():
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
            raise SourceError(source, f"header {name} does not hold one line of text")
    return {name: value.encode() for name, value in headers.items()}


def _told(error: Exception, url: str, source: str) -> SourceError:
    """The error as a sentence."""
    url = _shown(url)
    if isinstance(error, HTTPException | zlib.error):
        what = "its answer ends in the middle" if _is_cut(error) else "its answer is not HTTP"
        return SourceError(source, f"{what} ({url})")
    if isinstance(error, socket.gaierror):
        return SourceUnavailable(source, f"the name of the host of {url} is not known")
    reason = (
        getattr(error, "verify_message", None) or error.strerror
        if isinstance(error, OSError)
        else None
    )
    return SourceUnavailable(source, f"{url} cannot be reached: {reason or type(error).__name__}")


def _is_cut(error: Exception) -> bool:
    return type(error).__name__ in ("IncompleteRead", "RemoteDisconnected", "error")
