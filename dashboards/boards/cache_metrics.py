"""The permission cache: does it hit, is it full, was it emptied."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.promql import make_counts
from phasegate.contract.promql_series import (
    OURS,
    RATE,
    above,
    fold,
    hit_rate,
    increase,
    minus,
    rate,
    times,
    worst,
)
from phasegate.contract.settings import Settings
from phasegate.dashboards import colours
from phasegate.dashboards.limits import (
    rising,
    runbook_of,
    say_limit,
    say_remedy,
    steps,
    steps_of,
)
from phasegate.dashboards.panels import (
    Column,
    Look,
    Part,
    Query,
    Words,
    gauge,
    say_values,
    stat,
    table,
    time_series,
)
from phasegate.dashboards.sketch import Section, Sketch
from phasegate.dashboards.states import yes_or_no

HIT_RATE = "cache_hit_rate"
NO_CACHE = "no data: is a cache configured, and its collector well?"
NO_LOOKUPS = "no lookups in this time: is there traffic?"
COLD = ("cache", "cachecold")
EVICTING = ("cache", "cacheevicting")


def sketch(settings: Settings) -> Sketch:
    """The board `cache`."""
    return Sketch(
        board="cache",
        description="Hits and misses of the permission cache, its memory and its keys.",
        sections=(
            Section("", "", (_now(settings), _rates(settings), _size())),
            Section("row_server", "The cache's server", _server()),
        ),
    )


def _now(settings: Settings) -> tuple[Part, ...]:
    limit = say_limit(settings, HIT_RATE)
    return (
        gauge(
            "hit_rate_now",
            Words(
                f"Hit rate ({limit})",
                "Does the cache hit often enough now?",
                say_remedy(HIT_RATE),
                NO_LOOKUPS,
                runbook_of(HIT_RATE),
            ),
            (6, 5),
            Look(unit="percentunit", steps=steps_of(settings, HIT_RATE), low=0, high=1, decimals=1),
            Query(fold("min", _hit_rate(settings), ())),
        ),
        stat(
            "up",
            Words(
                "Server",
                "Does the cache answer?",
                "Restore it; the exporter's log tells why it does not answer.",
                NO_CACHE,
                runbook_of("health"),
            ),
            (6, 5),
            yes_or_no("up", "down"),
            Query(fold("min", worst(metrics.UP, how="min", target="cache"), ())),
        ),
        stat(
            "used_now",
            Words(
                "Memory used of its limit",
                "Is the cache full, so that it begins to evict?",
                "Raise maxmemory, or shorten the keys' time to live; see whose keys grow.",
                "no limit is set, or no data",
                EVICTING,
            ),
            (6, 5),
            Look(unit="percentunit", steps=rising({"warning": 0.9}), decimals=0),
            Query(times(worst(metrics.CACHE_MEMORY), worst(metrics.CACHE_MEMORY_LIMIT))),
        ),
        stat(
            "evicted_now",
            Words(
                "Keys evicted in the last hour",
                "Did the cache throw keys out for want of memory?",
                "Raise maxmemory, or shorten the keys' time to live; see whose keys grow.",
                NO_CACHE,
                EVICTING,
            ),
            (6, 5),
            Look(steps=rising({"warning": 1}), decimals=0),
            Query(fold("max", increase(metrics.CACHE_EVICTED, "[1h]"), ())),
        ),
    )


def _rates(settings: Settings) -> tuple[Part, ...]:
    requests = rate(metrics.CACHE_REQUESTS, "scope")
    return (
        time_series(
            "hit_rate",
            Words(
                f"Hit rate ({say_limit(settings, HIT_RATE)})",
                "Since when does the cache hit less often? By the application's count where there "
                "is one, else by the server's: as the verdict counts.",
                say_remedy(HIT_RATE),
                NO_LOOKUPS,
                runbook_of(HIT_RATE),
            ),
            (12, 7),
            Look(unit="percentunit", steps=steps_of(settings, HIT_RATE), high=1),
            Query(fold("min", _hit_rate(settings), ("cache",)), "{{cache}}"),
        ),
        time_series(
            "lookups",
            Words(
                "Lookups and misses",
                "Are there more misses, or only fewer lookups?",
                "Misses alone rise: keys expire or were removed. Both fall: look at the "
                "application.",
                NO_LOOKUPS,
                runbook_of(HIT_RATE),
            ),
            (12, 7),
            Look(unit="ops", low=0),
            Query(requests, "lookups, {{scope}}"),
            Query(minus(requests, rate(metrics.CACHE_HITS, "scope")), "misses, {{scope}}"),
        ),
    )


def _size() -> tuple[Part, ...]:
    return (
        time_series(
            "keys",
            Words(
                "Keys",
                "Was the cache emptied, or does it fill?",
                "Fill it before the database feels it: phasegate migrate warm-cache --if-cold.",
                "not counted yet: keys are counted by SCAN on a slow schedule",
                COLD,
            ),
            (8, 5),
            Look(low=0, unit="short"),
            Query(worst(metrics.CACHE_KEYS), "{{prefix}}"),
        ),
        time_series(
            "memory",
            Words(
                "Memory",
                "How near is the memory to its limit?",
                "Raise maxmemory, or shorten the keys' time to live.",
                NO_CACHE,
                EVICTING,
            ),
            (8, 5),
            Look(unit="bytes", low=0),
            Query(worst(metrics.CACHE_MEMORY), "used"),
            Query(above(worst(metrics.CACHE_MEMORY_LIMIT)), "limit"),
        ),
        time_series(
            "evicted",
            Words(
                "Keys evicted",
                "Since when does the cache throw keys out for want of memory?",
                "Raise maxmemory, or shorten the keys' time to live; see whose keys grow.",
                NO_CACHE,
                EVICTING,
            ),
            (8, 5),
            Look(unit="ops", low=0),
            Query(rate(metrics.CACHE_EVICTED), "evicted"),
            bars=True,
        ),
    )


def _server() -> tuple[tuple[Part, ...], ...]:
    estimate = Words(
        "Memory of the keys",
        "Which keys take the memory? From a sample, with its standard error.",
        "Keys that grow without an end have no time to live.",
        "not estimated yet: keys are scanned on a slow schedule",
        EVICTING,
    )
    clients = Words(
        "Clients",
        "Do the connections of the cache run out, or are they gone?",
        "See the application's pool, and maxclients of the server.",
        NO_CACHE,
        runbook_of("health"),
    )
    kept = Words(
        "Persistence",
        "Would a restart keep the keys?",
        "See the server's log for why the snapshot failed; without both, a restart is a cold "
        "cache.",
        NO_CACHE,
        COLD,
    )
    which = Words(
        "Which server",
        "What is this server, and in which role?",
        "A replica that is asked for keys serves what it has: point the application at the "
        "primary.",
        NO_CACHE,
        runbook_of("health"),
    )
    return (
        (
            time_series(
                "key_bytes", estimate, (12, 7), Look(unit="bytes", low=0),
                Query(worst(metrics.CACHE_KEYS_BYTES), "{{prefix}}"),
                Query(worst(metrics.CACHE_KEYS_BYTES_ERROR), "{{prefix}} ± standard error"),
            ),
            time_series(
                "clients", clients, (12, 7), Look(low=0),
                Query(worst(metrics.CACHE_CLIENTS), "clients"),
            ),
        ),
        (
            stat(
                "persistence", kept, (12, 5),
                Look(
                    steps=steps(colours.WARNING, (1, colours.OK)),
                    mappings=say_values({0: ("no", colours.WARNING), 1: ("yes", colours.OK)}),
                ),
                Query(worst(metrics.CACHE_PERSISTENCE, how="min"), "{{state}}"),
                text="value_and_name",
            ),
            table(
                "server", which, (12, 5),
                [Column("server", "Server"), Column("version", "Version"), Column("role", "Role")],
                Query(worst(metrics.CACHE_INFO)),
            ),
        ),
    )  # fmt: skip


def _hit_rate(settings: Settings) -> str:
    return hit_rate(*make_counts(settings, HIT_RATE, RATE, OURS))
