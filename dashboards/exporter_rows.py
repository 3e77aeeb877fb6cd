"""The rows about the exporter itself, which end the first board."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.promql_series import RATE, above, increase, worst
from phasegate.dashboards.limits import runbook_of
from phasegate.dashboards.panels import (
    Column,
    Look,
    Part,
    Query,
    Words,
    stat,
    state_timeline,
    table,
    time_series,
)
from phasegate.dashboards.states import yes_or_no

NO_EXPORTER = "no data: is the exporter scraped?"


_DROPPED_WORDS = Words(
    "Series left out",
    "Does the cap on series hide something?",
    "Raise exporter.max_series, or detach partitions that are past use.",
    "nothing is left out, or no data",
    ("exporter", "seriescapped"),
)
_RELOAD_WORDS = Words(
    "Configuration",
    "Does the exporter run with the configuration that it was given?",
    "It goes on with the last good one; its log names file, line and key.",
    NO_EXPORTER,
    ("exporter", "configreloadfailed"),
)
_LIMITS_WORDS = Words(
    "Limits in force",
    "By which limits does each exporter judge? Rules and boards are built from the same.",
    "They differ from those of an alert: build the rules again from the exporter's configuration.",
    NO_EXPORTER,
    ("exporter", "thresholddrift"),
)
_WHICH_WORDS = Words(
    "What is measured, and by whom",
    "Which server, database and role does each target have?",
    "Another server than you expect: see database.identity in the configuration.",
    "no target is up",
    runbook_of("health"),
)


def _limits_and_targets() -> tuple[Part, ...]:
    return (
        table(
            "thresholds", _LIMITS_WORDS, (12, 10),
            [
                Column("criterion", "Criterion"), Column("severity", "Severity"),
                Column("Value", "Limit", unit="none"), Column("instance", "Instance"),
            ],
            Query(worst(metrics.CRITERION_THRESHOLD, "criterion", "severity", "instance")),
            sort=("Criterion", False),
        ),
        table(
            "identities", _WHICH_WORDS, (12, 10),
            [
                *(Column(label, label.replace("_", " ").capitalize())
                  for label in metrics.TARGET_INFO.labels),
            ],
            Query(worst(metrics.TARGET_INFO)),
        ),
    )  # fmt: skip


def exporter_rows() -> tuple[tuple[Part, ...], ...]:
    runbook = ("exporter", "collectorfailing")
    collectors = Words(
        "Collectors",
        "Which collector fails, and since when?",
        "The exporter's page names the error and its remedy.",
        NO_EXPORTER,
        runbook,
    )
    durations = Words(
        "Time that collectors take",
        "Does measuring get slow, and whose?",
        "A collector near its limit of time waits for a lock, or for a server that is busy.",
        NO_EXPORTER,
        runbook,
    )
    faults = Words(
        "Failed runs by reason",
        "Why do collectors fail?",
        "Each reason has its remedy on the exporter's page.",
        "no run failed since the exporter began, or no data",
        runbook,
    )
    return (
        (
            state_timeline(
                "collectors", collectors, (14, 12), yes_or_no("well", "fails"),
                Query(worst(metrics.COLLECTOR_SUCCESS, how="min"), "{{collector}}"),
            ),
            time_series(
                "durations", durations, (10, 12), Look(unit="s", low=0),
                Query(worst(metrics.COLLECTOR_DURATION), "{{collector}}"),
            ),
        ),
        (
            time_series(
                "faults", faults, (12, 7), Look(low=0),
                Query(
                    above(increase(metrics.COLLECTOR_ERRORS, RATE)), "{{collector}} {{reason}}"
                ),
                bars=True,
            ),
            table(
                "series_dropped", _DROPPED_WORDS, (6, 7),
                [Column("metric", "Metric"), Column("Value", "Left out", width=80)],
                Query(above(worst(metrics.SERIES_DROPPED))),
                sort=("Left out", True),
            ),
            stat(
                "config_reload", _RELOAD_WORDS, (6, 7), yes_or_no("taken", "refused"),
                Query(
                    worst(metrics.CONFIG_LAST_RELOAD_SUCCESSFUL, "instance", how="min"),
                    "{{instance}}",
                ),
                text="value_and_name",
            ),
        ),
        _limits_and_targets(),
    )  # fmt: skip
