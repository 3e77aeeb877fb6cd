"""Health."""

from __future__ import annotations

from phasegate.contract.metrics._make import gauge

HEALTH_UP = gauge(
    "health", "phasegate_health_up", "check", "", "1 when the check found health, else 0"
)
HEALTH_DURATION = gauge(
    "health",
    "phasegate_health_duration_seconds",
    "check",
    "seconds",
    "Time until the check's answer was there, or was given up",
)
HEALTH_CERTIFICATE_EXPIRY = gauge(
    "health",
    "phasegate_health_certificate_expiry_timestamp_seconds",
    "check",
    "seconds",
    "Unix time at which the certificate that the check was shown ends",
)
