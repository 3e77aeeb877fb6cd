"""Who may ask our HTTP server: rate limit, client names and basic authentication.

bcrypt costs tens of milliseconds by design. It runs in a thread, one at a time, so that a flood of
wrong passwords neither stops the event loop nor takes both cores; what was verified once is
remembered as a keyed digest, so that a scraper pays once. Only successes are remembered: strangers
cannot push them out. `/-/healthy` and `/-/ready` ask for no password and are not limited, since
a kubelet has none and must not restart us in a flood.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import bcrypt
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from phasegate.contract.secrets import Secret
from phasegate.exporter.webconfig import REQUIRE_AND_VERIFY, RateLimit, WebConfig

OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})
_REMEMBERED = 100
_BCRYPT_BYTES = 72  # bcrypt never looks further; some of its libraries refuse to be given more
_CHALLENGE = 'Basic realm="phasegate", charset="UTF-8"'


def protect(application: web.Application, current: Callable[[], WebConfig]) -> None:
    """Put everything that the web file asks for before and on the answers of `application`.

    `current` is asked at each request, so a reload needs nothing more.
    """
    application.middlewares.insert(0, auth_middleware(current))

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(current().http_server_config.headers)

    application.on_response_prepare.append(add_headers)


def auth_middleware(current: Callable[[], WebConfig]) -> Middleware:
    """The middleware that answers 403, 429 or 401 to those who may not go on."""
    passwords = Passwords()
    bucket = Bucket()

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        config = current()
        if not client_allowed(config, _peer_certificate(request)):
            refusal = web.Response(status=403, text="client certificate not allowed\n")
            refusal.force_close()
            return refusal
        if _is_open(request):
            return await handler(request)
        wait = bucket.take(config.rate_limit)
        if wait > 0:
            retry = {"Retry-After": str(math.ceil(wait))}
            return web.Response(status=429, text="too many requests\n", headers=retry)
        users = config.basic_auth_users
        if users and not await passwords.verify(users, request.headers.get("Authorization", "")):
            challenge = {"WWW-Authenticate": _CHALLENGE}
            return web.Response(status=401, text="unauthorized\n", headers=challenge)
        return await handler(request)

    return admit


def _is_open(request: web.Request) -> bool:
    # The route that will answer decides, not the spelling of the path.
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical in OPEN_PATHS


def _peer_certificate(request: web.Request) -> Mapping[str, Any]:
    transport = request.transport
    return (transport.get_extra_info("peercert") if transport else None) or {}


def client_allowed(config: WebConfig, certificate: Mapping[str, Any]) -> bool:
    """Whether a client with this certificate (as `getpeercert` gives it; {} for none) may go on.

    The handshake has verified it; what is left are the names, and connections that were made
    before a reload began to ask for a certificate.
    """
    tls = config.tls_server_config
    if tls is None:
        return True
    if tls.client_auth_type == REQUIRE_AND_VERIFY and not certificate:
        return False
    if tls.client_allowed_sans is None:
        return True
    names = {_canonical(str(value)) for _kind, value in certificate.get("subjectAltName", ())}
    return not names.isdisjoint(_canonical(name) for name in tls.client_allowed_sans)


def _canonical(name: str) -> str:
    """OpenSSL spells IPv6 addresses at full length, people do not."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


class Bucket:
    """The rate limit's tokens."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._filled = 0.0

    def take(self, limit: RateLimit | None) -> float:
        """Takes one token and returns 0, or returns the seconds until there is one."""
        if limit is None or not limit.interval:
            return 0.0
        now = self._clock()
        if limit != self._limit:
            self._limit, self._tokens = limit, float(limit.burst)
        else:
            gained = (now - self._filled) / limit.interval
            self._tokens = min(float(limit.burst), self._tokens + gained)
        self._filled = now
        if self._tokens < 1:
            return (1 - self._tokens) * limit.interval
        self._tokens -= 1
        return 0.0


class Passwords:
    """Verifies basic authentication against bcrypt hashes."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def verify(self, users: Mapping[str, Secret], header: str) -> bool:
        """Whether the `Authorization` header names a user with the right password."""
        credentials = parse_basic(header)
        if credentials is None:
            return False
        user, password = credentials
        known = user in users
        # A stranger is checked against somebody's hash, always the same one for the same name:
        # the time that it takes then tells nothing about who exists.
        name = user if known else self._somebody(users, user)
        hashed = users[name].reveal().encode()
        digest = hmac.digest(self._key, b"\0".join((user.encode(), hashed, password)), "sha256")
        if known and digest in self._verified:
            self._verified.move_to_end(digest)
            return True
        async with self._one_at_a_time:
            right = await asyncio.to_thread(bcrypt.checkpw, password[:_BCRYPT_BYTES], hashed)
        if right and known:
            self._verified[digest] = None
            if len(self._verified) > _REMEMBERED:
                self._verified.popitem(last=False)
        return right and known

    def _somebody(self, users: Mapping[str, Secret], stranger: str) -> str:
        number = int.from_bytes(hmac.digest(self._key, stranger.encode(), "sha256"))
        return list(users)[number % len(users)]


def parse_basic(header: str) -> tuple[str, bytes] | None:
    """User and password of an `Authorization: Basic` header, None for anything else."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode("utf-8"), password) if colon else None
    except (binascii.Error, ValueError):
        return None
