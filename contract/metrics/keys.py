"""Integer keys."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge

KEY_USED = gauge(
    "key_overflow",
    "phasegate_key_used_ratio",
    "schema table column",
    "ratio",
    "Share of the integer key's range that is used up, by its sequence or its highest value",
)
KEY_OVERFLOW = gauge(
    "key_overflow",
    "phasegate_key_overflow_seconds",
    "schema table column",
    "seconds",
    "Time until the integer key runs out at the rate of the last day; +Inf while it stands still",
)
KEY_INDEX_SCANS = counter(
    "key_scans",
    "phasegate_key_index_scans_total",
    "schema table key",
    "",
    "Scans of the indexes that the key leads, on all nodes; whoever made them",
)
KEY_OWN_SCANS = counter(
    "key_scans",
    "phasegate_key_own_scans_total",
    "schema table key",
    "",
    "Those of the scans that the exporter made itself; up to ten seconds ahead of them",
)
KEY_FOREIGN_KEY_SCANS = counter(
    "key_scans",
    "phasegate_key_foreign_key_scans_bound_total",
    "schema table key",
    "",
    "The most of those scans that checks of foreign keys can explain",
)
