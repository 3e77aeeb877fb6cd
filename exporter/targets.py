"""A target: one server that is measured, what is known of it, and the connections it may cost."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass, field

from phasegate.exporter.backends import Backends, Conninfo


@dataclass(frozen=True)
class Identity:
    """Which server and database answered, in which role, and in which life of its counters.

    `target` is compared with what the judge expects: a promoted clone runs on another timeline and
    is another target. `epoch` changes whenever the source's own counters restart. The version is
    `server_version_num`, e.g. 180003.
    """

    system_identifier: str
    timeline: int
    database: str
    role: str
    epoch: str
    version: int = 0
    version_text: str = ""
    in_recovery: bool = False
    track_counts: bool = True

    @property
    def target(self) -> str:
        """The identity as one string, as evidence carries it."""
        return f"{self.system_identifier}/{self.timeline}/{self.database}"

    @property
    def epoch_number(self) -> int:
        """The epoch as a number that a gauge can show."""
        return zlib.crc32(self.epoch.encode())


@dataclass
class Target:
    """A server by name. `identity` is the last one read, None before the first answer.

    `up` is what the last run found. Databases have `pool` (three connections) and `slow` (one, for
    exact counts); replicas share one for both; a cache has neither. `keys_counted` is set once the
    scans of its keys have a base line: a probe that began before would be subtracted from nothing.
    """

    name: str
    kind: str
    conninfo: Conninfo | None = None
    pool: Backends | None = None
    slow: Backends | None = None
    up: bool = False
    identity: Identity | None = field(default=None)
    keys_counted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def fast(self) -> Backends:
        """The pool, for collectors that are built only for databases."""
        if self.pool is None:
            raise TypeError(f"target {self.name} has no database connections")
        return self.pool
