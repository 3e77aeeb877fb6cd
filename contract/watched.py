"""Limits that no criterion has: what alerts wake for and panels colour beside the verdicts.

No verdict depends on them, and no configuration changes them.
"""

from __future__ import annotations

from collections.abc import Mapping

DAY = 86_400.0
SILENCE_SECONDS = 120.0
"""Without an answered lookup; a probe comes every 200 ms."""
STUCK_SECONDS = 1_800.0
"""A phase that runs, and in which nothing was done."""
LOCK_WAIT_SECONDS = 30.0
KEY_USED: Mapping[str, float] = {"warning": 0.8, "critical": 0.95}
"""Of the range of an integer key."""
KEY_LEFT_SECONDS = 30 * DAY
CERTIFICATE_SECONDS: Mapping[str, float] = {"warning": 14 * DAY, "critical": 3 * DAY}
WRAPAROUND_AGE: Mapping[str, float] = {"warning": 1e9, "critical": 1.6e9}
"""Transactions since the oldest freeze; near 2^31 writes stop, and vacuum hurries from 2e8 on."""
