"""The migration: where it stands, whether it hurts, and what it has gained."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.criteria import PREFLIGHT_SECONDS
from phasegate.contract.migration import PHASES
from phasegate.contract.promql import JUDGED_LOOKUP
from phasegate.contract.promql_series import (
    above,
    age,
    before_began,
    coded,
    fold,
    minus,
    moments,
    quantile,
    rate,
    spans,
    times,
    until_done,
    worst,
)
from phasegate.contract.settings import Settings
from phasegate.contract.watched import LOCK_WAIT_SECONDS, STUCK_SECONDS
from phasegate.dashboards import colours
from phasegate.dashboards.limits import (
    rising,
    runbook_of,
    say_limit,
    say_remedy,
    steps,
    steps_of,
)
from phasegate.dashboards.panels import (
    Column,
    Look,
    Part,
    Query,
    Words,
    bar_gauge,
    stat,
    state_timeline,
    table,
    time_series,
)
from phasegate.dashboards.sketch import Section, Sketch
from phasegate.dashboards.states import PHASE_CODES, PHASE_WORDS, no_or_yes, yes_or_no

NO_JOURNAL = "no journal: has the migration begun, and is its database up?"
NO_WORK = "no work over rows is going on, or no data"
TABLE = "{{schema}}.{{table}}"
TABLES = ("schema", "table")
STUCK = ("migration", "migrationphasestuck")
OVERRIDDEN = ("migration", "gateoverridden")
LATENCY = "uuid_lookup_latency"


def sketch(settings: Settings) -> Sketch:
    """The board `migration`."""
    return Sketch(
        board="migration",
        description="Phases and gates of the migration, its progress, whether it hurts those who "
        "work meanwhile, and who still reads by the old key.",
        variables=("table", "began"),
        sections=(
            Section("", "", (_now(), _phases(), _pain(settings))),
            Section("row_work", "Work", _work()),
            Section("row_readers", "Who still reads by the integer", _readers()),
            Section("row_keys", "What random keys cost", _cost(settings)),
            Section("row_gates", "Gates and what they stand on", _gates()),
        ),
        since="now-24h",
    )


_NOW_WORDS = Words(
    "Where it stands",
    "In which state is each phase?",
    "phasegate migrate status names the step or the criterion; repair it and resume, or roll back.",
    NO_JOURNAL,
    ("migration", "migrationphasefailed"),
)
_ETA_WORDS = Words(
    "Time left",
    "When is the work over rows done, at the pace of the last ten minutes?",
    "Too long: raise the size of batches or the rate, where the lag of replicas allows it.",
    NO_WORK,
    STUCK,
)
_SILENT_WORDS = Words(
    "Last word",
    "Is the work going on?",
    "Where no runner lives, phasegate migrate resume goes on.",
    NO_WORK,
    STUCK,
)
_PAUSED_WORDS = Words(
    "Stop asked",
    "Did somebody ask for a pause or an abort?",
    "phasegate migrate status names who; phasegate migrate resume goes on.",
    NO_JOURNAL,
    STUCK,
)
_OVERRIDES_WORDS = Words(
    "Overrides",
    "Did somebody let a gate open though a criterion did not pass?",
    "phasegate migrate status names who and why; repair what did not pass.",
    "no override is journalled, or no data",
    OVERRIDDEN,
)


def _now() -> tuple[Part, ...]:
    return (
        stat(
            "states", _NOW_WORDS, (10, 4), Look(mappings=PHASE_WORDS, steps=steps(colours.UNKNOWN)),
            *(Query(_state(phase), f"{place} {phase}") for place, phase in _numbered()),
            text="value_and_name",
        ),
        stat(
            "eta", _ETA_WORDS, (4, 4), Look(unit="s", steps=steps(colours.ACTIVE), decimals=0),
            Query(until_done(metrics.MIGRATION_PROGRESS, "object"), "{{object}}"),
        ),
        stat(
            "silent", _SILENT_WORDS, (4, 4),
            Look(unit="s", steps=rising({"warning": STUCK_SECONDS}), decimals=0),
            Query(age(metrics.MIGRATION_PROGRESS_UPDATED, "object"), "{{object}}"),
        ),
        stat(
            "paused", _PAUSED_WORDS, (3, 4),
            no_or_yes("no", "yes"),
            Query(worst(metrics.MIGRATION_PAUSED)),
        ),
        stat(
            "overrides", _OVERRIDES_WORDS, (3, 4), Look(steps=rising({"warning": 1}), decimals=0),
            Query(fold("sum", worst(metrics.MIGRATION_OVERRIDDEN), ())),
        ),
    )  # fmt: skip


def _phases() -> tuple[Part, ...]:
    phases = Words(
        "Phases",
        "Since when is each phase in its state, and which one is next?",
        "phasegate migrate status shows where it stands; where no runner lives, phasegate migrate "
        "resume goes on.",
        NO_JOURNAL,
        STUCK,
    )
    progress = Words(
        "Progress of work over rows",
        "How much of each work is done?",
        "It stands still: see whether its runner lives, and what it waits for.",
        NO_WORK,
        STUCK,
    )
    return (
        state_timeline(
            "phases", phases, (15, 8), Look(mappings=PHASE_WORDS, steps=steps(colours.UNKNOWN)),
            *(Query(_state(phase), f"{place} {phase}") for place, phase in _numbered()),
        ),
        bar_gauge(
            "progress", progress, (9, 8),
            Look(unit="percentunit", low=0, high=1, steps=steps(colours.ACTIVE, (1, colours.OK))),
            Query(worst(metrics.MIGRATION_PROGRESS), "{{step}} {{object}}"),
        ),
    )  # fmt: skip


def _pain(settings: Settings) -> tuple[Part, ...]:
    foreground = Words(
        f"Lookups meanwhile, p95 ({say_limit(settings, LATENCY)})",
        "Are lookups slower than in the hour before the migration began?",
        "Slower than before and near the limit: phasegate migrate pause, then smaller batches.",
        "no probes: is the exporter scraped?",
        runbook_of(LATENCY),
    )
    locks = Words(
        "Waits for locks",
        "Does the migration make anybody wait?",
        "phasegate migrate pause where it is the migration (pg_blocking_pids).",
        "no data: does the collector of the database succeed?",
        ("database-operations", "lockqueue"),
    )
    before = {"query_type": "id_lookup"}
    return (
        time_series(
            "foreground", foreground, (12, 5),
            Look(
                unit="s", low=0, steps=steps_of(settings, LATENCY),
                names=("id_lookup", "uuid_lookup", "permission_check"),
            ),
            Query(quantile(0.95, metrics.QUERY_DURATION, "query_type"), "{{query_type}}"),
            Query(before_began(0.95, metrics.QUERY_DURATION, **before), "before the migration"),
        ),
        time_series(
            "locks", locks, (12, 5),
            Look(unit="s", low=0, steps=rising({"critical": LOCK_WAIT_SECONDS})),
            Query(worst(metrics.LOCK_LONGEST_WAIT), f"longest wait on {TABLE}"),
        ),
    )  # fmt: skip


def _work() -> tuple[tuple[Part, ...], ...]:
    done = Words(
        "Progress",
        "Does the work go on evenly?",
        "A kink is a throttle, a lock or a pause: see the waits and the lag at that time.",
        NO_WORK,
        STUCK,
    )
    pace = Words(
        "Pace",
        "How fast does the work go?",
        "It slows down: the lag of replicas or waits for locks throttle it.",
        NO_WORK,
        STUCK,
    )
    waiting = Words(
        "Sessions in the lock queue",
        "How many sessions wait, and for how many?",
        "Many wait for one: find it with pg_blocking_pids.",
        "no data: does the collector of the database succeed?",
        ("database-operations", "lockqueue"),
    )
    lag = Words(
        "Lag of replicas",
        "Does the work leave the replicas behind?",
        "Lower the rate until they catch up.",
        "no standby is connected, and no replica configured, or no data",
        STUCK,
    )
    return (
        (
            time_series(
                "done", done, (12, 7), Look(unit="percentunit", low=0, high=1),
                Query(worst(metrics.MIGRATION_PROGRESS), "{{step}} {{object}}"),
            ),
            time_series(
                "pace", pace, (12, 7), Look(low=0),
                Query(worst(metrics.MIGRATION_RATE), "{{object}}, {{unit}} a second"),
            ),
        ),
        (
            time_series(
                "queue", waiting, (12, 7), Look(low=0),
                Query(worst(metrics.LOCK_WAITERS), f"waiting on {TABLE}"),
                Query(worst(metrics.LOCK_BLOCKERS), f"blocking {TABLE}"),
            ),
            time_series(
                "lag", lag, (12, 7), Look(unit="s", low=0),
                Query(worst(metrics.REPLICATION_LAG), "standby {{standby}}"),
                Query(worst(metrics.REPLICA_LAG), "replica {{target}}"),
            ),
        ),
    )  # fmt: skip


def _readers() -> tuple[tuple[Part, ...], ...]:
    runbook = ("migration", "migrationphasestuck")
    most = Words(
        "Scans by each key, at most",
        "Who still reads by the old key? All scans of a key's indexes, without the exporter's own.",
        "Find them in pg_stat_statements; the old key can go once nobody is left.",
        "no key is watched: are tables configured?",
        runbook,
    )
    least = Words(
        "Scans by each key, at least",
        "Are those reads, or only checks of foreign keys? Without what such checks can explain.",
        "Above nothing: an application reads by this key, and its change is not deployed "
        "everywhere.",
        "no key is watched: are tables configured?",
        runbook,
    )
    by = ("schema", "table", "key")
    scans = rate(metrics.KEY_INDEX_SCANS, *by)
    own = rate(metrics.KEY_OWN_SCANS, *by)
    checks = rate(metrics.KEY_FOREIGN_KEY_SCANS, *by)
    legend = f"{TABLE}.{{{{key}}}}"
    return (
        (
            time_series(
                "scans_most", most, (12, 8), Look(low=0, unit="ops"),
                Query(minus(scans, own), legend),
            ),
            time_series(
                "scans_least", least, (12, 8), Look(low=0, unit="ops"),
                Query(minus(scans, own, checks), legend),
            ),
        ),
    )  # fmt: skip


def _cost(settings: Settings) -> tuple[tuple[Part, ...], ...]:
    both = Words(
        "By UUID and by integer, p95",
        "What does a lookup by UUID cost against one by the old key?",
        "Both rise: the server. The UUID's alone: its index fell out of memory, or is not used.",
        "no probes of both keys: is the UUID column there?",
        runbook_of(LATENCY),
    )
    factor = Words(
        "Times the integer's",
        "How many times as slow is the median by UUID, table by table?",
        "Much more than 1 and rising: random keys touch pages that memory no longer holds; "
        "version 7 keeps new ones together.",
        "no probes of both keys: is the UUID column there?",
        runbook_of(LATENCY),
    )

    def at(share: float, kind: str) -> str:
        return quantile(share, metrics.QUERY_DURATION, *TABLES, query_type=kind)

    return (
        (
            time_series(
                "both_keys", both, (12, 8),
                Look(unit="s", low=0, steps=steps_of(settings, LATENCY)),
                Query(fold("max", at(0.95, JUDGED_LOOKUP), ()), "uuid_lookup"),
                Query(fold("max", at(0.95, "id_lookup"), ()), "id_lookup"),
            ),
            time_series(
                "factor", factor, (12, 8), Look(low=0, decimals=2),
                Query(times(at(0.5, JUDGED_LOOKUP), at(0.5, "id_lookup")), TABLE),
            ),
        ),
    )  # fmt: skip


_GATES_WORDS = Words(
    "Phases and gates",
    "When did each phase begin, when did its gate open, and how long did it take?",
    "A phase that began and has no end is the one to look at.",
    NO_JOURNAL,
    STUCK,
)
_HOOKS_WORDS = Words(
    "Hooks",
    "When did each deployment and other hook last end?",
    "A hook that failed stands in phasegate migrate status.",
    "no hook has ended yet, or no data",
    STUCK,
)
_ACCEPTED_WORDS = Words(
    "Overridden",
    "Which criterion was accepted at which gate?",
    "phasegate migrate status names who and why; repair what did not pass.",
    "nothing is overridden, or no data",
    OVERRIDDEN,
)
_PREFLIGHT_WORDS = Words(
    "Preflight",
    "Can the server carry the migration?",
    say_remedy("preflight"),
    "no preflight yet: phasegate migrate run --phase prepare",
    ("migration", "preflight"),
)
_PROVED_WORDS = Words(
    "Backup proved by a restore",
    "Is there a way back?",
    say_remedy("backup_restored"),
    NO_JOURNAL,
    ("migration", "backup_restored"),
)
_OLD_WORDS = Words(
    "Since the preflight",
    "Is what the preflight found still true?",
    "Run it again: phasegate migrate run --phase prepare.",
    "no preflight yet",
    ("migration", "preflight"),
)


def _gates() -> tuple[tuple[Part, ...], ...]:
    began, ended = metrics.MIGRATION_PHASE_STARTED, metrics.MIGRATION_PHASE_FINISHED
    return (
        (
            table(
                "gates", _GATES_WORDS, (12, 7),
                [
                    Column("phase", "Phase"),
                    Column("Value #A", "Began", unit="dateTimeAsIso"),
                    Column("Value #B", "Gate opened", unit="dateTimeAsIso"),
                    Column("Value #C", "Took", unit="s"),
                ],
                Query(moments(began)), Query(moments(ended)), Query(spans(began, ended)),
                join="phase", sort=("Began", False),
            ),
            table(
                "hooks", _HOOKS_WORDS, (6, 7),
                [Column("hook", "Hook"), Column("Value", "Last ended", unit="dateTimeFromNow")],
                Query(moments(metrics.MIGRATION_HOOK_FINISHED)),
            ),
            table(
                "overridden", _ACCEPTED_WORDS, (6, 7),
                [Column("phase", "Gate of"), Column("criterion", "Accepted")],
                Query(above(worst(metrics.MIGRATION_OVERRIDDEN))),
            ),
        ),
        (
            stat(
                "preflight", _PREFLIGHT_WORDS, (14, 5),
                yes_or_no("passed", "not passed"),
                Query(worst(metrics.PREFLIGHT_CHECK, how="min"), "{{check}}"),
                text="value_and_name",
            ),
            stat(
                "preflight_age", _OLD_WORDS, (5, 5),
                Look(unit="s", decimals=0, steps=rising({"warning": PREFLIGHT_SECONDS})),
                Query(age(metrics.PREFLIGHT_TIME)),
            ),
            stat(
                "backup", _PROVED_WORDS, (5, 5),
                yes_or_no("yes", "no"),
                Query(worst(metrics.BACKUP_PROVED, how="min")),
            ),
        ),
    )  # fmt: skip


def _state(phase: str) -> str:
    return coded(metrics.MIGRATION_PHASE_STATE, "state", PHASE_CODES, phase=phase)


def _numbered() -> list[tuple[int, str]]:
    return list(enumerate(PHASES, start=1))
