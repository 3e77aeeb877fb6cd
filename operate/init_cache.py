"""What the cache's keys are called, from a sample that moves neither its hits nor its misses.

SCAN, RANDOMKEY, MEMORY USAGE and DBSIZE do not count as lookups; nothing else is sent. RANDOMKEY
draws from the whole key space, which the beginning of a SCAN does not.
"""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import redis

from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.secrets import redactor
from phasegate.contract.settings_connection import Cache
from phasegate.migrate.cache_keys import SCAN_COUNT, open_cache

SAMPLED_KEYS = 5_000
RANDOM_KEYS = 500
MEASURED_KEYS = 20
SAMPLE_SECONDS = 2.0
_SHOWN_PREFIXES = 12
_SPLIT = re.compile(r"([:/|])")
_IDENTIFYING = re.compile(r"[0-9]+|[0-9a-fA-F-]{16,}|(?=.*[0-9])[A-Za-z0-9_+=-]{16,}")
_PERMISSION = re.compile(r"perm|acl|authz|entitle|privilege|role", re.I)
_GLOB = re.compile(r"([*?\[\]\\^])")


@dataclass(frozen=True)
class Prefix:
    """`keys` of the sample, `share` of all of them, `bytes` of a key on average, 0 where that was
    not measured."""

    text: str
    keys: int
    share: float
    bytes: int = 0

    @property
    def pattern(self) -> str:
        """As SCAN matches it; of permissions no longer than the word that says so."""
        text, word = self.text, _PERMISSION.search(self.text)
        if word and (separator := _SPLIT.search(text, word.end())):
            text = text[: separator.end()]
        return _GLOB.sub(r"\\\1", text) + "*"

    @property
    def of_permissions(self) -> bool:
        """Whether its name says so."""
        return _PERMISSION.search(self.text) is not None


@dataclass(frozen=True)
class CacheFacts:
    """`keys` of the whole database, `sampled` of them looked at. `down` says why there is nothing
    to tell, empty where the cache answered."""

    keys: int = 0
    sampled: int = 0
    prefixes: tuple[Prefix, ...] = ()
    down: str = ""

    @property
    def permissions(self) -> Prefix | None:
        """The largest that is named like permissions."""
        named = (one for one in self.prefixes if one.of_permissions and "\ufffd" not in one.text)
        return next(named, None)


def fetch_cache_facts(cache: Cache) -> CacheFacts:
    """Sample the cache for at most about 2 s. Never raises for a cache that is not there."""
    try:
        with open_cache(cache) as client:
            return _sample(client)
    except SourceUnavailable as error:
        return CacheFacts(down=redactor(str(error)))


def _sample(client: redis.Redis) -> CacheFacts:
    total = int(client.dbsize())
    end = time.monotonic() + SAMPLE_SECONDS
    found: dict[bytes, None] = {}
    drawing = client.pipeline(transaction=False)
    for _ in range(min(total, RANDOM_KEYS)):
        drawing.randomkey()
    found.update(dict.fromkeys(map(_bytes, filter(None, drawing.execute()))))
    cursor = 0
    while total and len(found) < SAMPLED_KEYS and time.monotonic() < end:
        cursor, keys = client.scan(cursor, count=SCAN_COUNT)
        found.update(dict.fromkeys(map(_bytes, keys)))
        if cursor == 0:
            break
    groups = group_keys(found)
    prefixes = (
        replace(one, bytes=_measure(client, groups[one.text], end)) for one in rank_prefixes(groups)
    )
    return CacheFacts(total, len(found), tuple(prefixes))


def _bytes(key: bytes | str) -> bytes:
    """The client gives bytes; its types do not say so."""
    return key.encode() if isinstance(key, str) else key


def _measure(client: redis.Redis, keys: list[bytes], end: float) -> int:
    if time.monotonic() > end:
        return 0
    asking = client.pipeline(transaction=False)
    for key in keys[:MEASURED_KEYS]:
        asking.memory_usage(key)
    # A key that has expired meanwhile has none.
    sizes = [int(size) for size in asking.execute() if size is not None]
    return sum(sizes) // len(sizes) if sizes else 0


def group_keys(keys: Iterable[bytes]) -> dict[str, list[bytes]]:
    """By what of them is no identifier, up to a separator; the empty text for what has none."""
    found: dict[str, list[bytes]] = defaultdict(list)
    heads = {key: _heads(key) for key in keys}
    sizes = Counter(head for listed in heads.values() for head in listed)
    for key, listed in heads.items():
        # A head that nothing else shares is a name, no prefix.
        lone = [head for head in listed[:1] if "@" not in head]
        shared = [head for head in listed if sizes[head] > 1] or lone
        found[shared[-1] if shared else ""].append(key)
    return dict(found)


def _heads(key: bytes) -> list[str]:
    """Every beginning of the key up to a separator that holds no identifier, the shortest first.
    A number before the first word is a version, as Django writes one, and no identifier."""
    parts = _SPLIT.split(key.decode("utf-8", errors="replace"))
    found: list[str] = []
    head, named = "", False
    for part, separator in zip(parts[::2], parts[1::2], strict=False):
        if _IDENTIFYING.fullmatch(part) and (named or not part.isdigit()):
            break
        named = named or any(one.isalpha() for one in part)
        head += part + separator
        if named:
            found.append(head)
    return found


def rank_prefixes(groups: Mapping[str, list[bytes]]) -> tuple[Prefix, ...]:
    """The largest first; what is beyond the first dozen is not told, unless it is of
    permissions."""
    total = sum(map(len, groups.values()))
    ranked = sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))
    prefixes = [Prefix(text, len(keys), len(keys) / total) for text, keys in ranked]
    rest = [one for one in prefixes[_SHOWN_PREFIXES:] if one.of_permissions]
    return tuple(prefixes[:_SHOWN_PREFIXES] + rest[:1])
