"""Identity: who answers."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

UP = gauge(
    "identity",
    "phasegate_up",
    "target",
    "",
    "1 when the target answered during this scrape, else 0",
)
TARGET_INFO = gauge(
    "identity",
    "phasegate_target_info",
    "target environment system_identifier timeline database role",
    "",
    "Always 1; which server and database the target is, and in which role",
)
SOURCE_EPOCH = gauge(
    "identity",
    "phasegate_source_epoch",
    "target",
    "",
    "A number that changes whenever the target's own counters restart",
)
