"""The permission cache filled before the application asks, and never with what is no longer true.

The application deletes a key after it has committed a revocation. A warm-up that read before the
commit and writes after the deletion would bring the grant back. So a value is written for a few
seconds only, read again in the database, and kept only where both still agree: a deletion before
our write means a commit before our second read, and a deletion after it takes our value along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import redis

from phasegate.contract.errors import StepFailed
from phasegate.contract.secrets import redactor
from phasegate.contract.settings_connection import Cache, Warm
from phasegate.migrate.context import Connection, Control

STEP = "warm-permission-cache"
PIECE = 500
PENDING_MILLISECONDS = 5_000
"""How long an unproved value can last, where we die between the write and the second read."""
SAMPLE = 1_000
COLD_BELOW = 0.5
_GLOB = "*?[\\"
# Only what is still ours: the same value, and no longer to live than we gave it.
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""


class Warmed(NamedTuple):
    """Keys: `kept` were written and proved, `present` were there, `dropped` had changed meanwhile
    or were taken by the application, of `total`."""

    kept: int
    present: int
    dropped: int
    total: int


@dataclass(frozen=True)
class Warmer:
    """Fills `client` with what the queries of `warm` say over `connection`, in autocommit."""

    cache: Cache
    warm: Warm
    connection: Connection
    client: redis.Redis
    control: Control
    report: Callable[[str, float, float, str], None] = lambda *_: None

    def fill(self) -> Warmed:
        """Every key that is not there. Raises StepFailed for a query that does not fit."""
        ids = self._ids()
        kept = present = dropped = done = total = 0
        for piece in _pieces(ids):
            self.control.check()
            rows = self._rows(piece)
            wrote = self._write(rows)
            proved = self._prove(piece, wrote)
            kept, dropped = kept + proved, dropped + len(wrote) - proved
            present, total = present + len(rows) - len(wrote), total + len(rows)
            done += len(piece)
            self.report(self.cache.key_pattern, done, len(ids), "keys")
            self.control.sleep(len(rows) / self.warm.rate)
        return Warmed(kept, present, dropped, total)

    def is_cold(self) -> bool:
        """Whether fewer than half of a sample of the keys are there; no keys are not cold."""
        ids = self._ids()
        sample = ids[:: max(1, len(ids) // SAMPLE)][:SAMPLE]
        keys = list(self._rows(sample)) if sample else []
        there = int(self.client.exists(*keys)) if keys else 0
        return bool(keys) and there < COLD_BELOW * len(keys)

    def _ids(self) -> list[Any]:
        return [row[0] for row in self._ask(self.warm.ids, None)]

    def _rows(self, ids: Sequence[Any]) -> dict[str, str]:
        found = self._ask(self.warm.sql, [list(ids)])
        # What stands before the first wildcard is what a roll-back clears by.
        pattern = self.cache.key_pattern
        prefix = pattern[: min(pattern.find(c) if c in pattern else len(pattern) for c in _GLOB)]
        for row in found:
            if len(row) != 2 or not all(isinstance(text, str) for text in row):
                raise StepFailed(STEP, "cache.warm.sql: expected two columns, texts, never NULL")
            if not row[0].startswith(prefix):
                raise StepFailed(STEP, f"cache.warm.sql: found a key not of {pattern}")
        return dict(found)

    def _ask(self, query: str, parameters: list[Any] | None) -> list[Any]:
        with psycopg.RawCursor(self.connection) as cursor:
            try:
                return cursor.execute(query.encode(), parameters).fetchall()
            except psycopg.Error as error:
                told = redactor(str(error.diag.message_primary or error))
                raise StepFailed(STEP, f"a query of cache.warm: {told}") from None

    def _write(self, rows: dict[str, str]) -> dict[str, str]:
        with self.client.pipeline(transaction=False) as pipeline:
            for key, value in rows.items():
                pipeline.set(key, value, nx=True, px=PENDING_MILLISECONDS)
            answers = pipeline.execute()
        return {key: rows[key] for key, ours in zip(rows, answers, strict=True) if ours}

    def _prove(self, piece: Sequence[Any], wrote: dict[str, str]) -> int:
        """How many of them are still so in the database, and are kept."""
        if not wrote:
            return 0
        now = self._rows(piece)
        life = str(int(self.warm.ttl * 1000))
        with self.client.pipeline(transaction=False) as pipeline:
            for key, value in wrote.items():
                same = now.get(key) == value
                pipeline.eval(
                    _KEEP, 1, key, value, str(PENDING_MILLISECONDS), life if same else "0"
                )
            answers = pipeline.execute()
        pairs = zip(wrote.items(), answers, strict=True)
        return sum(1 for (key, value), kept in pairs if kept and now.get(key) == value)


def _pieces(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(ids), PIECE):
        yield ids[start : start + PIECE]
