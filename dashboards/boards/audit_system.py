"""The audit log: does it hold every change, does it grow, do its partitions last."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.promql_series import (
    above,
    age,
    finite,
    fold,
    increase,
    largest,
    rate,
    series,
    worst,
)
from phasegate.contract.settings import Settings
from phasegate.dashboards.limits import (
    rising,
    runbook_of,
    say_limit,
    say_remedy,
    steps_of,
)
from phasegate.dashboards.panels import (
    Look,
    Part,
    Query,
    Words,
    bar_gauge,
    stat,
    time_series,
)
from phasegate.dashboards.sketch import Section, Sketch
from phasegate.dashboards.states import no_or_yes

GROWTH, SIZE, RUNWAY, COVERAGE = (
    *("audit_growth", "audit_partition_size", "audit_partition_runway", "audit_coverage"),
)
NO_AUDIT = "no data: is an audit log configured, and its collector well?"
NO_PARTITIONS = "no data: is the audit log partitioned?"
TABLE = "{{schema}}.{{table}}"
MISSING = ("audit", "auditpartitionmissing")
GAP = ("audit", "auditpartitiongap")
LARGEST = 12
"""Partitions whose sizes are shown."""


def sketch(settings: Settings) -> Sketch:
    """The board `audit`."""
    return Sketch(
        board="audit",
        description="Whether every change leaves its row, how fast the log grows, and how long "
        "its partitions last.",
        variables=("table",),
        sections=(
            Section("", "", (_now(settings), _growth(settings), _next(settings))),
            Section("row_rows", "Rows", _rows()),
            Section("row_partitions", "Partitions", _partitions()),
        ),
        since="now-24h",
    )


_COVERAGE_WORDS = Words(
    "Gaps in the audit triggers",
    "Does every change of a watched table leave its row?",
    say_remedy(COVERAGE),
    "no table is watched, or no data",
    runbook_of(COVERAGE),
)
_GAPS_WORDS = Words(
    "Holes between partitions",
    "Will a row find no partition, though later ones stand ready?",
    "Make the missing partitions before time reaches the hole: phasegate migrate partitions.",
    NO_PARTITIONS,
    GAP,
)
_DEFAULT_PARTITION_WORDS = Words(
    "Default partition",
    "Did a row find no partition of its own, and fall into the default one?",
    "Move its rows out before their partition is made: it cannot be, while they lie there.",
    "there is no default partition, or no data",
    ("audit", "auditdefaultpartitionused"),
)


def _now(settings: Settings) -> tuple[Part, ...]:
    count = Look(steps=rising({"critical": 1}), decimals=0)
    return (
        stat(
            "coverage",
            _COVERAGE_WORDS,
            (6, 4),
            Look(steps=steps_of(settings, COVERAGE), decimals=0),
            Query(worst(metrics.AUDIT_COVERAGE_GAPS), TABLE),
            text="value_and_name",
        ),
        stat(
            "runway_now",
            Words(
                f"Partitions last for ({say_limit(settings, RUNWAY)})",
                "How long can rows be written before a partition is missing?",
                "Make the partitions ahead: phasegate migrate partitions.",
                "without end, or not partitioned, or no data",
                runbook_of(RUNWAY),
            ),
            (6, 4),
            Look(unit="s", steps=steps_of(settings, RUNWAY), decimals=0),
            Query(fold("min", finite(series(metrics.PARTITION_RUNWAY)), ())),
        ),
        stat(
            "gaps",
            _GAPS_WORDS,
            (6, 4),
            count,
            Query(worst(metrics.PARTITION_GAPS), TABLE),
            text="value_and_name",
        ),
        stat(
            "default_partition",
            _DEFAULT_PARTITION_WORDS,
            (6, 4),
            no_or_yes("empty", "holds rows"),
            Query(worst(metrics.DEFAULT_PARTITION_USED), TABLE),
            text="value_and_name",
        ),
    )


def _growth(settings: Settings) -> tuple[Part, ...]:
    return (
        time_series(
            "growth",
            Words(
                f"Rows in an hour ({say_limit(settings, GROWTH)})",
                "Does the audit log grow out of hand, and since when?",
                say_remedy(GROWTH),
                "no hour of rows yet: is an audit log configured?",
                runbook_of(GROWTH),
            ),
            (12, 8),
            Look(steps=steps_of(settings, GROWTH), low=0, unit="short"),
            Query(increase(metrics.AUDIT_CREATED, "[1h]"), TABLE),
        ),
        time_series(
            "largest_partition",
            Words(
                f"Largest partition ({say_limit(settings, SIZE)})",
                "Is a partition too large, without its indexes?",
                say_remedy(SIZE),
                NO_PARTITIONS,
                runbook_of(SIZE),
            ),
            (12, 8),
            Look(unit="bytes", steps=steps_of(settings, SIZE), low=0),
            # Of thousands of partitions, over a day, the sizes themselves are too many samples.
            Query(worst(metrics.CRITERION_VALUE, criterion=SIZE), "largest"),
        ),
    )


def _next(settings: Settings) -> tuple[Part, ...]:
    return (
        time_series(
            "runway",
            Words(
                "Partitions last for",
                "Since when does nobody make partitions ahead? It falls until somebody does.",
                "Make the partitions ahead: phasegate migrate partitions; see why the job that "
                "should did not.",
                "without end, or not partitioned, or no data",
                runbook_of(RUNWAY),
            ),
            (12, 5),
            Look(unit="s", steps=steps_of(settings, RUNWAY), low=0),
            Query(finite(worst(metrics.PARTITION_RUNWAY, how="min")), TABLE),
        ),
        time_series(
            "by_category",
            Words(
                "Events of the last hour by category",
                "Which events make the log grow?",
                "One category alone: look at who causes it. A backfill is one that ends.",
                "no event in the last hour, or no data",
                runbook_of(GROWTH),
            ),
            (12, 5),
            Look(low=0, unit="short"),
            Query(worst(metrics.AUDIT_EVENTS), "{{category}}"),
        ),
    )


def _rows() -> tuple[tuple[Part, ...], ...]:
    pace = Words(
        "Rows a second",
        "When did rows come, and when did they stop?",
        "No rows while the application writes: see the gaps in the triggers.",
        NO_AUDIT,
        runbook_of(GROWTH),
    )
    latest = Words(
        "Since the latest event",
        "Did a category fall silent?",
        "See whether the application still does what it logs; then the triggers.",
        "no event in the last hour, or no data",
        runbook_of(COVERAGE),
    )
    unproved = Words(
        "Rows not yet proved",
        "How many rows do statistics report that no count has confirmed?",
        "They are proved by the next count; many for long: the count does not end.",
        NO_AUDIT,
        ("exporter", "collectorfailing"),
    )
    reconciled = Words(
        "Since the last proof",
        "How old is the last count that settled every changed partition?",
        "See the exporter's log for why counting takes so long.",
        NO_AUDIT,
        ("exporter", "collectorfailing"),
    )
    return (
        (
            time_series(
                "pace", pace, (12, 7), Look(low=0, unit="ops"),
                Query(rate(metrics.AUDIT_CREATED), TABLE),
            ),
            bar_gauge(
                "latest", latest, (12, 7), Look(unit="s", low=0),
                Query(age(metrics.AUDIT_LAST_EVENT), "{{category}}"),
            ),
        ),
        (
            time_series(
                "unproved", unproved, (12, 6), Look(low=0, unit="short"),
                Query(worst(metrics.AUDIT_UNPROVED), TABLE),
            ),
            time_series(
                "reconciled", reconciled, (12, 6), Look(low=0, unit="s"),
                Query(worst(metrics.AUDIT_RECONCILE_AGE), TABLE),
            ),
        ),
    )  # fmt: skip


_SIZES_WORDS = Words(
    "Largest partitions",
    "Which partitions take the room?",
    "Detach what is past its retention: phasegate migrate partitions --dry-run lists it.",
    NO_PARTITIONS,
    runbook_of(SIZE),
)
_AHEAD_WORDS = Words(
    "Partitions ahead",
    "How many partitions stand ready, without a gap?",
    "Make the partitions ahead: phasegate migrate partitions.",
    NO_PARTITIONS,
    MISSING,
)
_SKIPPED_WORDS = Words(
    "Partitions without a size",
    "Is a partition not measured, and why?",
    "A lock for long keeps the exporter out: find its holder.",
    "every partition has its size, or no data",
    ("exporter", "seriescapped"),
)
_OLD_WORDS = Words(
    "Age of the oldest size",
    "Are these sizes of now?",
    "See the exporter's log for why the collector of partitions is slow.",
    NO_PARTITIONS,
    ("exporter", "collectorfailing"),
)


def _partitions() -> tuple[tuple[Part, ...], ...]:
    faults = (
        (
            "overlaps", metrics.PARTITION_OVERLAPS, "Overlaps",
            "Do bounds of neighbours overlap?",
            "The server admits none: see whether the bounds were read while they changed.",
        ),
        (
            "detach_pending", metrics.PARTITIONS_DETACH_PENDING, "Detaches left behind",
            "Did a DETACH CONCURRENTLY break off?",
            "ALTER TABLE … DETACH PARTITION … FINALIZE.",
        ),
        (
            "missing_index", metrics.PARTITIONS_MISSING_INDEX, "Indexes missing",
            "Does a partition lack an index of the log?",
            "Build it CONCURRENTLY on the partition, and attach it.",
        ),
    )  # fmt: skip
    sizes_of_all = fold("max", series(metrics.TABLE_SIZE), metrics.TABLE_SIZE.labels)
    return (
        (
            bar_gauge(
                "sizes", _SIZES_WORDS, (12, 9), Look(unit="bytes", low=0),
                Query(largest(LARGEST, sizes_of_all), TABLE),
            ),
            time_series(
                "ahead", _AHEAD_WORDS, (12, 9), Look(low=0),
                Query(worst(metrics.PARTITIONS_AHEAD, how="min"), TABLE),
            ),
        ),
        (
            *(
                stat(
                    name, Words(title, question, action, NO_PARTITIONS, GAP), (4, 5),
                    Look(steps=rising({"warning": 1}), decimals=0),
                    Query(fold("max", worst(metric), ())),
                )
                for name, metric, title, question, action in faults
            ),
            stat(
                "skipped", _SKIPPED_WORDS, (6, 5), Look(steps=rising({"warning": 1}), decimals=0),
                Query(above(worst(metrics.PARTITIONS_SKIPPED)), "{{reason}}"),
                text="value_and_name",
            ),
            stat(
                "size_age", _OLD_WORDS, (6, 5), Look(unit="s", decimals=0),
                Query(worst(metrics.PARTITION_MAX_AGE)),
            ),
        ),
    )  # fmt: skip
