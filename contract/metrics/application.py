"""The application's own requests and errors."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge

APPLICATION_REQUESTS = counter(
    "application",
    "phasegate_application_requests_total",
    "",
    "",
    "Requests that the application counted since the exporter first read its page; joined across "
    "the application's restarts",
)
APPLICATION_ERRORS = counter(
    "application",
    "phasegate_application_errors_total",
    "",
    "",
    "Those of the requests that failed, as the application counts them; an error that was read "
    "ahead of its request comes with it",
)
ERROR_BASELINE = gauge(
    "baseline",
    "phasegate_error_baseline_ratio",
    "",
    "ratio",
    "Share of the requests that failed before the change, by the captured baseline.json that lies "
    "beside the exporter's configuration; absent where there is none that a judge would believe",
)
