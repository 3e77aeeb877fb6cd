"""What the exporter says of itself."""

from __future__ import annotations

from phasegate.contract.metrics._make import counter, gauge

BUILD_INFO = gauge(
    "exporter", "phasegate_build_info", "version python", "", "Always 1; the build that answers"
)
PROCESS_START = gauge(
    "exporter",
    "process_start_time_seconds",
    "",
    "seconds",
    "Unix time at which the exporter's process began; its counters may begin anew then",
)
MEASURED_SETTINGS_INFO = gauge(
    "exporter",
    "phasegate_measured_settings_info",
    "criterion schema table settings_hash",
    "",
    "Always 1; hash of the settings by which is counted for a criterion",
)
COLLECTOR_SUCCESS = gauge(
    "exporter",
    "phasegate_collector_success",
    "collector",
    "",
    "1 when the collector's last run succeeded, else 0",
)
COLLECTOR_DURATION = gauge(
    "exporter",
    "phasegate_collector_duration_seconds",
    "collector",
    "seconds",
    "Time that the collector's last run took",
)
COLLECTOR_LAST_SUCCESS = gauge(
    "exporter",
    "phasegate_collector_last_success_timestamp_seconds",
    "collector",
    "seconds",
    "Unix time of the collector's last success",
)
COLLECTOR_ERRORS = counter(
    "exporter",
    "phasegate_collector_errors_total",
    "collector reason",
    "",
    "Failed runs of the collector, by reason",
)
SERIES_DROPPED = gauge(
    "exporter",
    "phasegate_series_dropped",
    "metric",
    "",
    "Series of this metric left out of this scrape by the cap on cardinality",
)

CONFIG_LAST_RELOAD_SUCCESSFUL = gauge(
    "exporter",
    "phasegate_config_last_reload_successful",
    "",
    "",
    "1 when the last reload was taken, 0 when it was refused and the last good one stayed",
)
CONFIG_LAST_RELOAD_SUCCESS = gauge(
    "exporter",
    "phasegate_config_last_reload_success_timestamp_seconds",
    "",
    "seconds",
    "Unix time at which the settings in force were loaded",
)

CRITERION_THRESHOLD = gauge(
    "exporter",
    "phasegate_criterion_threshold",
    "criterion severity",
    "",
    "The limit in force, in the unit of the criterion",
)
CRITERION_STATE = gauge(
    "exporter",
    "phasegate_criterion_state",
    "criterion state",
    "",
    "1 for the verdict on what the exporter holds of the last 10 minutes, 0 for the others; judged "
    "once in each block of evidence, and no gate",
)
CRITERION_VALUE = gauge(
    "exporter",
    "phasegate_criterion_value",
    "criterion",
    "",
    "What that verdict measured: the worst value, in the unit of the criterion; of what is decided "
    "by counts the largest share of bad tries (lookups over the limit or failed, misses)",
)
CRITERION_MEASURED = gauge(
    "exporter",
    "phasegate_criterion_measured_timestamp_seconds",
    "criterion",
    "seconds",
    "Unix time at which the oldest was measured of the values, or last counts, of that verdict",
)
