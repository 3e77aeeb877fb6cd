"""Database performance: is the database fast enough, who waits, and does the schema hold."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.promql import JUDGED_LOOKUP, Written, make_counts
from phasegate.contract.promql_series import (
    RATE,
    age,
    finite,
    fold,
    heat,
    increase,
    lookup_p95,
    match_board,
    quantile,
    rate,
    times,
    worst,
)
from phasegate.contract.rules import ALLOWED_OVER
from phasegate.contract.settings import Settings
from phasegate.contract.watched import (
    KEY_LEFT_SECONDS,
    KEY_USED,
    LOCK_WAIT_SECONDS,
    SILENCE_SECONDS,
    WRAPAROUND_AGE,
)
from phasegate.dashboards.limits import (
    falling,
    rising,
    runbook_of,
    say_limit,
    say_remedy,
    steps_of,
    steps_of_share,
)
from phasegate.dashboards.panels import (
    Column,
    Look,
    Part,
    Query,
    Words,
    bar_gauge,
    heatmap,
    stat,
    table,
    time_series,
)
from phasegate.dashboards.sketch import Section, Sketch
from phasegate.dashboards.states import yes_or_no

NO_PROBES = "no probes: is the exporter scraped, and a table configured?"
NO_STATE = "no data: does the collector of the database succeed?"
NO_SCHEMA = "no data: does the collector of the schema succeed?"
TABLE = "{{schema}}.{{table}}"
TABLES = ("schema", "table")
_PROBE_COLUMNS = {
    "target": "Server",
    "query_type": "Lookup",
    "schema": "Schema",
    "table": "Table",
}
SESSION_STATES = ("active", "idle", "idle in transaction")
KINDS = ("uuid_lookup", "id_lookup", "permission_check")
LATENCY = "uuid_lookup_latency"


def sketch(settings: Settings) -> Sketch:
    """The board `database`."""
    return Sketch(
        board="database",
        description="Round trips of the exporter's own lookups, waits for locks, and the state of "
        "keys and schema, with the limits by which the gates judge.",
        variables=("table",),
        sections=(
            Section("", "", (_now(settings), _lookups(settings), _harm())),
            Section("row_lookups", "Lookups in detail", _detail()),
            Section("row_server", "The server", _server()),
            Section("row_schema", "Keys and schema", _schema(settings)),
        ),
    )


def _now(settings: Settings) -> tuple[Part, ...]:
    limit = say_limit(settings, LATENCY)
    return (
        stat(
            "p95_now",
            Words(
                f"UUID lookup p95 ({limit})",
                "Are lookups by UUID fast enough now, those that got no answer included?",
                say_remedy(LATENCY),
                NO_PROBES,
                runbook_of(LATENCY),
            ),
            (6, 4),
            Look(unit="s", steps=steps_of(settings, LATENCY), decimals=1),
            Query(fold("max", lookup_p95(), ())),
        ),
        stat(
            "answering",
            Words(
                "Servers",
                "Does each server answer the exporter?",
                "Restore the one that is down; the exporter's log tells why it does not answer.",
                "no data: is the exporter scraped?",
                runbook_of("health"),
            ),
            (6, 4),
            yes_or_no("up", "down"),
            Query(worst(metrics.UP, how="min", target=Written('!="cache"')), "{{target}}"),
            text="value_and_name",
        ),
        stat(
            "waiters_now",
            Words(
                "Sessions waiting for a lock",
                "Does anybody wait for a lock on a watched table now?",
                "Find who holds it (pg_blocking_pids); pause the migration where it is it.",
                NO_STATE,
                ("database-operations", "lockqueue"),
            ),
            (6, 4),
            Look(steps=rising({"warning": 1})),
            Query(fold("sum", worst(metrics.LOCK_WAITERS), ())),
        ),
        stat(
            "last_answer",
            Words(
                "Last answer",
                "Are these figures of now?",
                "See the exporter's log and page for why its lookups get no answer.",
                NO_PROBES,
                ("exporter", "measurementsstopped"),
            ),
            (6, 4),
            Look(unit="s", decimals=0, steps=rising({"warning": SILENCE_SECONDS})),
            Query(age(metrics.PROBE_LAST_SUCCESS, "target"), "{{target}}"),
        ),
    )


def _lookups(settings: Settings) -> tuple[Part, ...]:
    counted = Words(
        "UUID lookups over the limit",
        f"Which share of the lookups was over the limit ({say_limit(settings, LATENCY)}), or got "
        f"no answer? At most {100 * ALLOWED_OVER:g} % may be: this is what the verdict counts.",
        say_remedy(LATENCY),
        NO_PROBES,
        runbook_of(LATENCY),
    )
    bad, tried = make_counts(settings, LATENCY, RATE, match_board(metrics.QUERY_DURATION))
    return (
        time_series(
            "lookup_p95",
            Words(
                f"UUID lookup p95 ({say_limit(settings, LATENCY)})",
                "Since when are lookups by UUID slow, and of which table?",
                say_remedy(LATENCY),
                NO_PROBES,
                runbook_of(LATENCY),
            ),
            (12, 8),
            Look(unit="s", steps=steps_of(settings, LATENCY), low=0),
            Query(fold("max", lookup_p95(), TABLES), TABLE, exemplar=True),
        ),
        time_series(
            "slow_share",
            counted,
            (12, 8),
            Look(unit="percentunit", steps=steps_of_share(settings, LATENCY), low=0),
            Query(fold("max", times(bad, tried), TABLES), TABLE),
        ),
    )


def _harm() -> tuple[Part, ...]:
    return (
        time_series(
            "probe_failures",
            Words(
                "Lookups without an answer",
                "Do lookups fail, and with which class of SQLSTATE (57 cancelled, 08 no "
                "connection)?",
                "See the server's log at that time; 08 is the network or the server, 57 a limit "
                "of time.",
                "none failed since the exporter began, or no data",
                ("exporter", "measurementsstopped"),
            ),
            (12, 5),
            Look(unit="ops", low=0),
            Query(
                rate(metrics.PROBE_FAILURES, "target", "query_type", "class", how="sum"),
                "{{target}} {{query_type}} {{class}}",
            ),
            bars=True,
        ),
        time_series(
            "lock_waits",
            Words(
                "Longest wait for a lock",
                "How long does a session wait for a lock on a watched table, and since when?",
                "Find who holds it (pg_blocking_pids); phasegate migrate pause where it is the "
                "migration.",
                NO_STATE,
                ("database-operations", "lockqueue"),
            ),
            (12, 5),
            Look(unit="s", low=0, steps=rising({"critical": LOCK_WAIT_SECONDS})),
            Query(worst(metrics.LOCK_LONGEST_WAIT), TABLE),
        ),
    )


def _say_lookups(title: str, question: str, action: str, empty: str = NO_PROBES) -> Words:
    return Words(title, question, action, empty, runbook_of(LATENCY))


_BY_KIND_WORDS = _say_lookups(
    "p95 by kind of lookup",
    "Which kind of lookup is slow: by UUID, by the old key, or a query of ours?",
    "Compare with the plan of the slow one; a lookup by UUID alone points to its index.",
)
_SPREAD_WORDS = _say_lookups(
    "Distribution of lookups",
    "Is every lookup slow, or are a few very slow?",
    "A second band is a second plan or a lock; one band that rises is load.",
)
_REPLICAS_WORDS = _say_lookups(
    "p95 on replicas",
    "Are the replicas as fast as the primary?",
    "See the load and the replay lag of the one that is slow.",
    "no lookups on replicas: none configured?",
)
_PACE_WORDS = _say_lookups(
    "Lookups made",
    "Does the exporter measure as often as it should?",
    "Slots are skipped while the server is busy, and count as slow; see who keeps it busy.",
)
_SKIPPED_WORDS = _say_lookups(
    "Lookups left out",
    "How many slots of the schedule went by without a lookup, and why?",
    "`server_busy` is the server's doing, all else the exporter's; its log tells more.",
    "none left out since the exporter began, or no data",
)
_PLANS_WORDS = _say_lookups(
    "Changes of plans in the last hour",
    "Did a lookup get another plan, from which a new latency would follow?",
    "ANALYZE the table, and see whether the index that is missing is still valid.",
    "no lookup has changed its plan, or no data",
)
_ABSENT_WORDS = _say_lookups(
    "Lookups that are not made",
    "Is a configured lookup not measured at all?",
    "Do what the reason says: most often the column or the right to read it is missing.",
    "every configured lookup is made, or no data",
)
_KINDS = Query(
    quantile(0.95, metrics.QUERY_DURATION, "query_type"), "{{query_type}}", exemplar=True
)
_COLUMNS = [
    *(Column(label, title) for label, title in _PROBE_COLUMNS.items()),
    Column("reason", "Why"),
]


def _detail() -> tuple[tuple[Part, ...], ...]:
    return (
        (
            time_series(
                "p95_by_kind", _BY_KIND_WORDS, (12, 8), Look(unit="s", low=0, names=KINDS), _KINDS
            ),
            heatmap(
                "distribution", _SPREAD_WORDS, (12, 8), "s",
                Query(heat(metrics.QUERY_DURATION, query_type=JUDGED_LOOKUP), "{{le}}"),
            ),
        ),
        (
            time_series(
                "replica_p95", _REPLICAS_WORDS, (8, 7), Look(unit="s", low=0),
                Query(
                    quantile(0.95, metrics.REPLICA_QUERY_DURATION, "target", "query_type"),
                    "{{target}} {{query_type}}",
                ),
            ),
            time_series(
                "pace", _PACE_WORDS, (8, 7), Look(unit="ops", low=0),
                Query(
                    rate(metrics.QUERY_DURATION, "query_type", how="sum"), "{{query_type}}"
                ),
            ),
            time_series(
                "skipped", _SKIPPED_WORDS, (8, 7), Look(unit="ops", low=0),
                Query(rate(metrics.PROBE_SKIPPED, "target", "reason", how="sum"),
                      "{{target}} {{reason}}"),
                bars=True,
            ),
        ),
        (
            stat(
                "plan_changes", _PLANS_WORDS, (12, 6),
                Look(steps=rising({"warning": 1}), decimals=0),
                Query(
                    increase(metrics.PROBE_PLAN_CHANGES, "[1h]", "query_type", *TABLES),
                    f"{TABLE} {{{{query_type}}}}",
                ),
                text="value_and_name",
            ),
            table("absent", _ABSENT_WORDS, (12, 6), _COLUMNS, Query(worst(metrics.PROBE_ABSENT))),
        ),
    )  # fmt: skip


def _say_server(title: str, question: str, action: str, empty: str = NO_STATE) -> Words:
    return Words(title, question, action, empty, ("database-operations", "lockqueue"))


_QUEUE_WORDS = _say_server(
    "Lock queue",
    "How many sessions wait for a lock, and for how many?",
    "Few that block many: find them with pg_blocking_pids, and end them if need be.",
)
_CONNECTIONS_WORDS = _say_server(
    "Connections by state",
    "Do connections run out, or sit idle in a transaction?",
    "Idle in transaction holds locks and rows: find the application that forgets to commit.",
)
_OLDEST_WORDS = _say_server(
    "Oldest transactions",
    "Is there a transaction that holds back vacuum, or any change of the schema?",
    "End it, or wait with the next phase until it is done.",
)
_PREPARED_WORDS = _say_server(
    "Prepared transactions",
    "Was a two-phase commit left behind?",
    "Commit or roll back what nobody owns: it holds its locks until then.",
)
_WRAPAROUND_WORDS = _say_server(
    "Transactions since the oldest freeze",
    "How near is the wrap-around of transaction ids, at which writes stop?",
    "Find what holds vacuum back: old transactions, slots, prepared transactions.",
)
_STANDBYS_WORDS = _say_server(
    "Lag of replicas",
    "How far are the standbys behind?",
    "Slow the migration's batches down until they catch up.",
    "no standby is connected, and no replica configured, or no data",
)
_SLOTS_WORDS = _say_server(
    "WAL kept for slots",
    "Does a replication slot fill the disk?",
    "Drop the slot that nobody reads; a slot of a standby that is gone keeps all WAL.",
    "no replication slot, or no data",
)


def _server() -> tuple[tuple[Part, ...], ...]:
    return (
        (
            time_series(
                "lock_queue", _QUEUE_WORDS, (12, 7), Look(low=0),
                Query(worst(metrics.LOCK_WAITERS), f"waiting on {TABLE}"),
                Query(worst(metrics.LOCK_BLOCKERS), f"blocking {TABLE}"),
            ),
            time_series(
                "connections", _CONNECTIONS_WORDS, (12, 7), Look(low=0, names=SESSION_STATES),
                Query(worst(metrics.CONNECTIONS), "{{state}}"),
            ),
        ),
        (
            time_series(
                "oldest", _OLDEST_WORDS, (8, 7), Look(unit="s", low=0),
                Query(fold("max", worst(metrics.LONGEST_TRANSACTION), ()), "open"),
                Query(fold("max", worst(metrics.PREPARED_TRANSACTION_AGE), ()), "prepared"),
            ),
            time_series(
                "prepared", _PREPARED_WORDS, (8, 7), Look(low=0, steps=rising({"warning": 1})),
                Query(worst(metrics.PREPARED_TRANSACTIONS), "prepared"),
            ),
            time_series(
                "wraparound", _WRAPAROUND_WORDS, (8, 7),
                Look(low=0, unit="short", steps=rising(WRAPAROUND_AGE)),
                Query(worst(metrics.WRAPAROUND_AGE), "{{kind}}"),
            ),
        ),
        (
            time_series(
                "lag", _STANDBYS_WORDS, (12, 7), Look(unit="s", low=0),
                Query(worst(metrics.REPLICATION_LAG), "standby {{standby}}"),
                Query(worst(metrics.REPLICA_LAG), "replica {{target}}"),
            ),
            time_series(
                "slots", _SLOTS_WORDS, (12, 7), Look(unit="bytes", low=0),
                Query(worst(metrics.SLOT_RETAINED), "{{slot}}"),
            ),
        ),
    )  # fmt: skip


_USED_WORDS = Words(
    "Used of integer keys",
    "Which integer key runs out first?",
    "Once it is used up every INSERT fails: move the table to UUIDs, or the key to bigint.",
    NO_SCHEMA,
    ("database-operations", "integerkeynearend"),
)
_LEFT_WORDS = Words(
    "Until an integer key runs out",
    "How long does each integer key last at the rate of the last day?",
    "Plan the move to UUIDs, or to bigint, for before that.",
    "no rate of a day yet, or the keys stand still",
    ("database-operations", "integerkeyrunsout"),
)
_MISSING_WORDS = Words(
    "Rows without a UUID",
    "Is every row of a migrated table reachable by its UUID?",
    say_remedy("uuid_missing"),
    "not counted yet: the exact count runs on a slow schedule",
    runbook_of("uuid_missing"),
)
_DISABLED_WORDS = Words(
    "Triggers that do not fire",
    "Is a trigger disabled, so that UUIDs or audit rows would be missing?",
    "Find who disabled them and why, then ALTER TABLE … ENABLE ALWAYS TRIGGER.",
    NO_SCHEMA,
    ("database-operations", "triggerdisabled"),
)


def _schema(settings: Settings) -> tuple[tuple[Part, ...], ...]:
    states = (
        (
            "invalid_indexes", "indexes_valid", metrics.INVALID_INDEXES, "Invalid indexes",
            "Is there an index that the planner cannot use?",
        ),
        (
            "constraints_unvalidated", "constraints_validated", metrics.CONSTRAINTS_UNVALIDATED,
            "Constraints not validated", "Is there a constraint that is not proved for old rows?",
        ),
    )  # fmt: skip
    column = "{{schema}}.{{table}}.{{column}}"
    return (
        (
            bar_gauge(
                "key_used", _USED_WORDS, (8, 7),
                Look(unit="percentunit", steps=rising(KEY_USED), low=0, high=1),
                Query(worst(metrics.KEY_USED), column),
            ),
            bar_gauge(
                "key_overflow", _LEFT_WORDS, (8, 7),
                Look(unit="s", steps=falling({"critical": KEY_LEFT_SECONDS}), low=0),
                Query(finite(worst(metrics.KEY_OVERFLOW, how="min")), column),
            ),
            time_series(
                "uuid_missing", _MISSING_WORDS, (8, 7),
                Look(low=0, steps=steps_of(settings, "uuid_missing")),
                Query(worst(metrics.UUID_MISSING), TABLE),
                Query(worst(metrics.UUID_MISSING_ESTIMATED), f"{TABLE} (estimate)"),
            ),
        ),
        (
            *(
                stat(
                    name,
                    Words(title, question, say_remedy(criterion), NO_SCHEMA, runbook_of(criterion)),
                    (8, 6), Look(steps=steps_of(settings, criterion), decimals=0),
                    Query(worst(metric), TABLE), text="value_and_name",
                )
                for name, criterion, metric, title, question in states
            ),
            stat(
                "triggers_disabled", _DISABLED_WORDS, (8, 6),
                Look(steps=rising({"warning": 1}), decimals=0),
                Query(worst(metrics.TRIGGERS_DISABLED), TABLE), text="value_and_name",
            ),
        ),
    )  # fmt: skip
