"""Cache."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge

CACHE_REQUESTS = counter(
    "cache",
    "cache_requests_total",
    "cache scope",
    "",
    "Lookups in the cache, as its server or the application counts them",
)
CACHE_HITS = counter(
    "cache",
    "cache_hits_total",
    "cache scope",
    "",
    "Lookups that found their key, as the cache's server or the application counts them",
)
CACHE_EVICTED = counter(
    "cache",
    "phasegate_cache_evicted_keys_total",
    "cache",
    "",
    "Keys that the server threw out for want of memory",
)
CACHE_INFO = gauge(
    "cache",
    "phasegate_cache_info",
    "version server role",
    "",
    "Always 1; what the cache's server is",
)
CACHE_CLIENTS = gauge(
    "cache", "phasegate_cache_connected_clients", "", "", "Connections of clients to the cache"
)
CACHE_MEMORY = gauge(
    "cache", "phasegate_cache_memory_bytes", "", "bytes", "Memory that the cache's server uses"
)
CACHE_MEMORY_LIMIT = gauge(
    "cache",
    "phasegate_cache_memory_limit_bytes",
    "",
    "bytes",
    "Limit of the server's memory, 0 for none",
)
CACHE_PERSISTENCE = gauge(
    "cache",
    "phasegate_cache_persistence",
    "state",
    "",
    "1 where the append-only file is on, and where the last snapshot succeeded",
)
CACHE_KEYS = gauge(
    "cache_keys", "phasegate_cache_keys", "prefix", "", "Keys of the permission cache, by SCAN"
)
CACHE_KEYS_BYTES = gauge(
    "cache_keys",
    "phasegate_cache_keys_estimated_bytes",
    "prefix",
    "bytes",
    "Memory of those keys, from a sample of at most 1,000",
)
CACHE_KEYS_BYTES_ERROR = gauge(
    "cache_keys",
    "phasegate_cache_keys_estimated_error_bytes",
    "prefix",
    "bytes",
    "Standard error of that estimate, 0 where every key was asked",
)
