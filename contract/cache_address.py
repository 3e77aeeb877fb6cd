"""Where a Redis or Valkey is, read from its URL: one server, a sentinel group or a cluster.

    redis://[user[:password]@]host[:port][/database]       rediss:// for TLS
    unix:///path/to.sock[?db=1]
    redis+sentinel://[user[:password]@]host:port[,host:port…]/service[/database]
    redis+cluster://[user[:password]@]host:port[,host:port…]

TLS files are query parameters: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from phasegate.contract.secrets import Secret

CacheKind = Literal["standalone", "unix", "sentinel", "cluster"]
_SCHEMES: dict[str, CacheKind] = {
    "unix": "unix",
    "redis": "standalone",
    "rediss": "standalone",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_PORTS = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}
_QUERY = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True)
class CacheAddress:
    """`hosts` are (host, port), empty for `unix`; `service` is set for a sentinel group only."""

    kind: CacheKind
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    path: str
    service: str
    database: int
    username: str | None
    password: Secret | None
    tls_files: dict[str, str]

    @property
    def identity(self) -> str:
        """The address as evidence states it: without user and password."""
        hosts = ",".join(f"[{h}]:{port}" if ":" in h else f"{h}:{port}" for h, port in self.hosts)
        scheme = "rediss" if self.tls else "redis"
        match self.kind:
            case "unix":
                return f"unix://{self.path}?db={self.database}"
            case "sentinel":
                return f"{scheme}+sentinel://{hosts}/{self.service}/{self.database}"
            case "cluster":
                return f"{scheme}+cluster://{hosts}"
        return f"{scheme}://{hosts}/{self.database}"


def parse_cache_url(url: str) -> CacheAddress:
    """Raises ValueError, whose text never holds a part of the URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("its host cannot be read") from None  # the cause quotes the URL
    kind = _SCHEMES.get(parts.scheme)
    if kind is None:
        raise ValueError("its scheme is not known")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(query) - _QUERY):
        names = ", ".join(name for name in unknown if re.fullmatch(r"[a-z_]{1,30}", name))
        raise ValueError(f"a parameter that is not known: {names or 'with odd characters'}")
    service, database = _below(kind, parts.path, query.pop("db", ""))
    return CacheAddress(
        kind=kind,
        tls=parts.scheme.startswith("rediss"),
        hosts=() if kind == "unix" else _hosts(hosts, kind),
        path=unquote(parts.path) if kind == "unix" else "",
        service=service,
        database=database,
        username=unquote(user) or None,
        password=Secret(unquote(password)) if colon and password else None,
        tls_files=query,
    )


def _hosts(text: str, kind: CacheKind) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        port = int(match[2] or _PORTS[kind]) if match else 0
        if not match or not 0 < port < 65_536:
            raise ValueError("a host or a port cannot be read")
        found.append((match[1].strip("[]"), port))
    if kind == "standalone" and len(found) > 1:
        raise ValueError("several hosts need +sentinel or +cluster in the scheme")
    return tuple(found)


def _below(kind: CacheKind, path: str, db: str) -> tuple[str, int]:
    """Service and database of the path, or of the parameter `db`."""
    steps = [] if kind == "unix" else [unquote(step) for step in path.split("/") if step]
    service = ""
    if kind == "sentinel":
        if not steps:
            raise ValueError("the path names the service: …/mymaster")
        service = steps.pop(0)
    if kind == "unix" and len(path) < 2:
        raise ValueError("the path of the socket is missing")
    number = db or (steps.pop(0) if steps else "0")
    if steps or not re.fullmatch(r"[0-9]{1,4}", number):
        raise ValueError("the database is a number, the last part of the path")
    if kind == "cluster" and number != "0":
        raise ValueError("a cluster has only database 0")
    return service, int(number)
