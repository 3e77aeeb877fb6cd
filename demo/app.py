"""The application whose database is moved: small, real, in two versions.

    python -m phasegate.demo.app --version 1 --port 8123     (DATABASE_URL, REDIS_URL)

It answers permission checks through the cache, changes users, and writes its own login and
permission events to the audit log, as a team's service does: what the exporter measures is not
staged for it. Its `/metrics` carries the guide's names.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import click
import psycopg
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from redis import RedisError

from phasegate.demo.permission_cache import PermissionCache
from phasegate.demo.store import VERSIONS, Pool, Store

HEALTH_SECONDS = 1.0
MOST_KEYS = 10_000
CHECK_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Application:
    """The handlers, with what they share."""

    def __init__(self, database_url: str, redis_url: str, key_prefix: str, version: int) -> None:
        self.registry = CollectorRegistry()
        self.version = version
        self.pool = Pool(database_url, f"mono-api/{version}")
        self.store = Store(self.pool, version)
        self.cache = PermissionCache(redis_url, f"{key_prefix}{version}:", self.registry)
        slowest = Gauge(
            "db_slowest_query_seconds", "The slowest query since the start", registry=self.registry
        )
        slowest.set_function(lambda: self.pool.slowest)
        self.requests = Counter(
            "http_requests_total",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.checks = Histogram(
            "permission_check_duration_seconds",
            "Time of a permission check, by where the answer came from",
            ("source",),
            buckets=CHECK_BUCKETS,
            registry=self.registry,
        )

    async def get_health(self, _request: web.Request) -> web.Response:
        """200 only while PostgreSQL and the cache both answer."""
        failed = []
        for name, ping in (("database", self.store.ping), ("cache", self.cache.ping)):
            try:
                async with asyncio.timeout(HEALTH_SECONDS):
                    await ping()
            except (psycopg.Error, RedisError, OSError, TimeoutError):
                failed.append(name)
        body = {"status": "degraded" if failed else "ok", "version": self.version, "failed": failed}
        return web.json_response(body, status=503 if failed else 200)

    async def get_metrics(self, _request: web.Request) -> web.Response:
        headers = {"Content-Type": CONTENT_TYPE_LATEST}
        return web.Response(body=generate_latest(self.registry), headers=headers)

    async def list_users(self, request: web.Request) -> web.Response:
        """Keys of the oldest users, at most `?limit=`."""
        try:
            limit = min(int(request.query.get("limit", "100")), MOST_KEYS)
        except ValueError:
            raise web.HTTPBadRequest(text="limit must be a number") from None
        return web.json_response(await self.store.fetch_keys(limit))

    async def get_permissions(self, request: web.Request) -> web.Response:
        """What a user may do; with `?require=NAME` 403, audited, where that is not among it."""
        key = self._key(request.match_info["key"])
        started = time.perf_counter()
        names = await self.cache.fetch(str(key))
        source = "cache"
        if names is None:
            source = "database"
            names = await self.store.fetch_permissions(key)
            await self.cache.write(str(key), names)
        self.checks.labels(source).observe(time.perf_counter() - started)
        required = request.query.get("require")
        if required is not None and required not in names:
            await self.store.log_event("permission", "denied", f"user:{key}", required=required)
            raise web.HTTPForbidden(text="not permitted")
        return web.json_response({"user": str(key), "permissions": names, "source": source})

    async def post_user(self, request: web.Request) -> web.Response:
        email, name = await _texts(request, "email", "name")
        try:
            key = await self.store.insert_user(email, name)
        except psycopg.errors.UniqueViolation:
            raise web.HTTPConflict(text="this address is taken") from None
        return web.json_response({"user": key}, status=201)

    async def patch_user(self, request: web.Request) -> web.Response:
        key = self._key(request.match_info["key"])
        (name,) = await _texts(request, "name")
        if not await self.store.rename_user(key, name):
            raise web.HTTPNotFound(text="no such user")
        return web.json_response({"user": str(key)})

    async def post_login(self, request: web.Request) -> web.Response:
        """Audited either way; 401 for an unknown user."""
        (text,) = await _texts(request, "user")
        key = self._key(text)
        if not await self.store.log_in(key):
            await self.store.log_event("auth", "login_failed", f"user:{key}")
            raise web.HTTPUnauthorized(text="who are you")
        return web.json_response({"user": str(key)})

    def _key(self, text: str) -> int | UUID:
        try:
            return self.store.parse_key(text)
        except ValueError:
            raise web.HTTPBadRequest(text="this version knows no such key") from None

    async def open(self, _app: web.Application) -> None:
        await self.pool.open()

    async def close(self, _app: web.Application) -> None:
        await self.pool.close()
        await self.cache.close()

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count every answer; a database that does not answer is a 503."""
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        except (psycopg.Error, OSError, TimeoutError):
            status = 503
            return web.Response(status=status, text="the database does not answer")
        finally:
            self.requests.labels(request.method, route, str(status)).inc()


async def _texts(request: web.Request, *keys: str) -> tuple[str, ...]:
    """The named texts of a JSON object; 400 where one is missing or is no text."""
    try:
        body = await request.json()
        texts = tuple(body[key] for key in keys)
    except (ValueError, KeyError, TypeError):
        texts = (None,)
    if not all(isinstance(text, str) and text for text in texts):
        raise web.HTTPBadRequest(text=f"expected a JSON object with the texts {', '.join(keys)}")
    return texts


def build_app(
    database_url: str, redis_url: str, key_prefix: str = "perm:", version: int = 1
) -> web.Application:
    """The whole application; its connections open with it and close with it."""
    application = Application(database_url, redis_url, key_prefix, version)
    app = web.Application(middlewares=[application.count])
    app.on_startup.append(application.open)
    app.on_cleanup.append(application.close)
    app.add_routes(
        [
            web.get("/health", application.get_health),
            web.get("/metrics", application.get_metrics),
            web.get("/users", application.list_users),
            web.post("/users", application.post_user),
            web.patch("/users/{key}", application.patch_user),
            web.get("/users/{key}/permissions", application.get_permissions),
            web.post("/login", application.post_login),
        ]
    )
    return app


@click.command()
@click.option("--version", type=click.Choice([str(v) for v in VERSIONS]), default="1")
@click.option("--port", type=int, required=True, help="Listens on 127.0.0.1 only.")
@click.option("--key-prefix", default="perm:", show_default=True)
@click.option("--database-url", envvar="DATABASE_URL", required=True)
@click.option("--redis-url", envvar="REDIS_URL", required=True)
def main(version: str, port: int, key_prefix: str, database_url: str, redis_url: str) -> None:
    """Serve until SIGTERM."""
    app = build_app(database_url, redis_url, key_prefix, int(version))
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, shutdown_timeout=2)


if __name__ == "__main__":
    main()
