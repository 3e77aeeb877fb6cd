"""Where a server of ours listens: one spelling for all of them, that of Prometheus."""

from __future__ import annotations

import ipaddress


def parse_listen_address(address: str) -> tuple[str | None, int]:
    """`host:port`, `[v6]:port` or `:port`, which is every interface (None). Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"found {address!r}, expected host:port, for example 127.0.0.1:9899")
    return host.strip("[]") or None, int(port)


def is_loopback(host: str | None) -> bool:
    """Whether only this machine can reach it. A name but `localhost` may be anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "0.0.0.0").is_loopback  # noqa: S104
    except ValueError:
        return False
