"""The first board: is anything broken, since when, and where to look next."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract import metrics
from phasegate.contract.boards import BOARDS, PANELS
from phasegate.contract.criteria import CRITERIA, Decision, Direction, passing_limit
from phasegate.contract.model import Verdict
from phasegate.contract.promql import make_counts
from phasegate.contract.promql_series import (
    OURS,
    RATE,
    age,
    alerts_since,
    coded,
    counted_in,
    finite,
    firing,
    fold,
    hit_rate,
    increase,
    left,
    lookup_p95,
    of_limit,
    rate,
    scraped,
    series,
    times,
    worst,
)
from phasegate.contract.quantities import Unit
from phasegate.contract.rules import passing_share
from phasegate.contract.settings import Settings
from phasegate.contract.watched import CERTIFICATE_SECONDS, SILENCE_SECONDS
from phasegate.dashboards import colours
from phasegate.dashboards.exporter_rows import NO_EXPORTER, exporter_rows
from phasegate.dashboards.limits import (
    Steps,
    falling,
    rising,
    runbook_of,
    say_limit,
    say_runbooks,
    steps,
    steps_of,
)
from phasegate.dashboards.panels import (
    Column,
    Look,
    Part,
    Query,
    Words,
    of_name,
    say_values,
    stat,
    state_timeline,
    table,
    time_series,
)
from phasegate.dashboards.sketch import Section, Sketch
from phasegate.dashboards.states import (
    PHASE_WORDS,
    UNDER_WAY,
    VERDICT_CODES,
    VERDICT_WORDS,
    yes_or_no,
)

UNITS = {
    Unit.SECONDS: "s", Unit.BYTES: "bytes", Unit.RATIO: "percentunit", Unit.TIMES: "none",
}  # fmt: skip
UNDECIDED_STEPS = steps(colours.OK, (1, colours.UNKNOWN))
KEEPING = "${__url_time_range}&${__all_variables}"


def sketch(settings: Settings) -> Sketch:
    """The board `overview`."""
    return Sketch(
        board="overview",
        description="Every criterion with its verdict, what fires, and whether measuring itself "
        "is well. Each figure leads to the board that explains it.",
        variables=("table",),
        sections=(
            Section("", "", (_now(), _verdicts(settings), _values(settings))),
            Section("row_health", "Health and errors", (_health(), _errors(settings))),
            Section("row_exporter", "The exporter", exporter_rows()),
        ),
    )


_NOT_PASSED_WORDS = Words(
    "Verdicts",
    "Does every criterion pass, judged on the last ten minutes?",
    "The table below names them; each leads to its board.",
    NO_EXPORTER,
    ("index", ""),
)
_FIRING_WORDS = Words(
    "Firing",
    "Does any alert fire?",
    "The list below has each with its runbook.",
    "no alerts at all: are the rules loaded?",
    ("index", ""),
)
_TARGETS_WORDS = Words(
    "Servers",
    "Does Prometheus reach the exporter, and the exporter each server?",
    "Restore the one that is down; the exporter's log tells why.",
    "no target of that job: see Prometheus' page /targets",
    ("exporter", "exporterdown"),
)
_PHASE_WORDS = Words(
    "Migration",
    "Which phase is running, waits at its gate or failed?",
    "The board of the migration tells since when, and what it does.",
    "no phase is under way, or no data",
    ("migration", "migrationphasestuck"),
)
_FRESHNESS_WORDS = Words(
    "Last answer",
    "Are the figures of now?",
    "See the exporter's log and page for why its lookups get no answer.",
    "no probes: is a table configured?",
    ("exporter", "measurementsstopped"),
)


def _now() -> tuple[Part, ...]:
    return (
        stat(
            "not_passed",
            _NOT_PASSED_WORDS,
            (5, 4),
            Look(
                steps=rising({"critical": 1}), decimals=0,
                overrides=(of_name("undecided", ("thresholds", _absolute(UNDECIDED_STEPS))),),
            ),
            Query(_verdicts_of(Verdict.FAILED), "failed"),
            Query(_verdicts_of(Verdict.INCONCLUSIVE, Verdict.ERROR), "undecided"),
            text="value_and_name",
        ),
        stat(
            "firing",
            _FIRING_WORDS,
            (3, 4), Look(steps=rising({"critical": 1}), decimals=0),
            Query(firing()),
        ),
        stat(
            "targets",
            _TARGETS_WORDS,
            (6, 4), yes_or_no("up", "down"),
            Query(scraped(), "exporter {{instance}}"),
            Query(worst(metrics.UP, how="min"), "{{target}}"),
            text="value_and_name",
        ),
        stat(
            "phase",
            _PHASE_WORDS,
            (5, 4),
            Look(steps=steps(colours.ACTIVE), mappings=PHASE_WORDS),
            Query(
                coded(metrics.MIGRATION_PHASE_STATE, "state", UNDER_WAY, "phase"),
                "{{phase}}",
            ),
            text="value_and_name",
        ),
        stat(
            "freshness",
            _FRESHNESS_WORDS,
            (5, 4), Look(unit="s", steps=rising({"critical": SILENCE_SECONDS}), decimals=0),
            Query(age(metrics.PROBE_LAST_SUCCESS, "target"), "{{target}}"),
        ),
    )  # fmt: skip


def _verdicts(settings: Settings) -> tuple[Part, ...]:
    criteria = Words(
        "Criteria",
        "Which criterion does not pass, how far is it from its limit, how old is its evidence, "
        "and does its alert fire?",
        "The tiles below lead to the boards, whose panels lead to the runbooks.",
        NO_EXPORTER,
        ("index", ""),
    )
    alerts = Words(
        "Alerts",
        "What is pending or fires, since when, and whom does it call?",
        "Open the runbook of the alert; the oldest that is critical first.",
        "none is pending or fires, or no rules are loaded",
        ("index", ""),
    )
    told = say_values(
        {"firing": ("firing", colours.CRITICAL), "pending": ("pending", colours.WAITING)}
    )
    waking = say_values(
        {"critical": ("critical", colours.CRITICAL), "warning": ("warning", colours.WARNING)}
    )
    return (
        table(
            "criteria", criteria, (13, 9),
            [
                Column(
                    "criterion", "Criterion", width=190,
                    link=("Runbooks", say_runbooks(settings)),
                ),
                Column(
                    "Value #A", "Verdict", width=120, mappings=VERDICT_WORDS,
                    cell="color-background",
                ),
                Column(
                    "Value #B", "Used of the limit", unit="percentunit", cell="color-text",
                    steps=steps(colours.OK, (1, colours.CRITICAL)), width=130,
                ),
                Column("Value #C", "Age", unit="s", width=80),
                Column("Value #D", "Alerts", width=70, empty="none"),
            ],
            Query(coded(metrics.CRITERION_STATE, "state", VERDICT_CODES, "criterion")),
            Query(" or ".join(_used(settings))),
            Query(age(metrics.CRITERION_MEASURED)),
            Query(firing("criterion")),
            join="criterion", sort=("Verdict", True),
        ),
        table(
            "alerts", alerts, (11, 9),
            [
                Column("alertname", "Alert", width=210),
                Column("severity", "Severity", width=90, mappings=waking, cell="color-text"),
                Column("alertstate", "State", width=80, mappings=told, cell="color-text"),
                Column("Value", "Since", unit="dateTimeFromNow", width=120),
                Column("instance", "Instance"),
            ],
            Query(alerts_since()),
            sort=("Since", False),
        ),
    )  # fmt: skip


def _values(settings: Settings) -> tuple[Part, ...]:
    """One tile a criterion, each in its own unit; the name holds the limit, so that a colour is not
    alone in saying on which side the value is."""
    tiles = tuple(_tiles(settings))
    return (
        stat(
            "values",
            Words(
                "Values against their limits",
                "How far is each measured value from its limit?",
                "Click a tile: its board shows since when.",
                NO_EXPORTER,
                ("index", ""),
            ),
            (24, 4),
            Look(
                steps=steps(colours.OK),
                overrides=tuple(_override(settings, name, title) for name, title, _ in tiles),
            ),
            *(Query(expression, title) for _, title, expression in tiles),
            text="value_and_name", filled=False,
        ),
    )  # fmt: skip


def _tiles(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Criterion, title with its limit, expression."""
    exact = {
        "audit_partition_size": ("Size", worst(metrics.TABLE_SIZE)),
        "audit_partition_runway": (
            "Runway", finite(series(metrics.PARTITION_RUNWAY)),
        ),
        "audit_growth": ("Rows/h", increase(metrics.AUDIT_CREATED, "[1h]")),
        "audit_coverage": ("Audit gaps", worst(metrics.AUDIT_COVERAGE_GAPS)),
        "uuid_missing": ("No UUID", worst(metrics.UUID_MISSING)),
        "indexes_valid": ("Bad indexes", worst(metrics.INVALID_INDEXES)),
        "constraints_validated": ("Unvalidated", worst(metrics.CONSTRAINTS_UNVALIDATED)),
    }  # fmt: skip
    counts = make_counts(settings, "cache_hit_rate", RATE, OURS)
    found = {
        "uuid_lookup_latency": ("p95", lookup_p95()),
        "cache_hit_rate": ("Hits", hit_rate(*counts)),
        **exact,
    }
    for name, (title, expression) in found.items():
        low = CRITERIA[name].direction is Direction.BELOW
        yield (
            name,
            f"{title} {say_limit(settings, name)}",
            fold("min" if low else "max", expression, ()),
        )


def _override(settings: Settings, name: str, title: str) -> dict[str, object]:
    policy = CRITERIA[name].alert
    links = []
    if policy is not None:
        board, panel = policy.panel
        url = f"/d/{BOARDS[board].uid}?viewPanel={PANELS[board][panel]}&{KEEPING}"
        links = [{"title": BOARDS[board].title, "url": url, "targetBlank": False}]
    unit = UNITS.get(Unit(CRITERIA[name].unit), "short")
    thresholds = _absolute(steps_of(settings, name))
    return of_name(title, ("unit", unit), ("thresholds", thresholds), ("links", links))


def _absolute(found: Steps) -> dict[str, object]:
    return {"mode": "absolute", "steps": found}


def _verdicts_of(*verdicts: str) -> str:
    return counted_in(metrics.CRITERION_STATE, "state", verdicts, "criterion")


def _used(settings: Settings) -> Iterator[str]:
    """What each criterion uses of its limit, where a limit can be used up: 1 is all of it."""
    value = metrics.CRITERION_VALUE
    for name, criterion in CRITERIA.items():
        if criterion.decision is Decision.COUNTS:
            yield of_limit(value, passing_share(settings, name).share, above=True, criterion=name)
        elif criterion.decision is Decision.EXACT and criterion.critical is not None:
            limit = passing_limit(settings, name)
            rises = limit.direction is Direction.ABOVE
            yield of_limit(value, limit.value, above=rises, criterion=name)


def _health() -> tuple[Part, ...]:
    checks = Words(
        "Health checks",
        "Since when does a check or a server fail?",
        "Restore what does not answer; the exporter's log tells why a check fails.",
        "no data: is a check configured?",
        runbook_of("health"),
    )
    durations = Words(
        "Time until the answer",
        "Does a check get slower, before it fails?",
        "See the load of the service that is checked.",
        "no health check is configured, or no data",
        runbook_of("health"),
    )
    ends = Words(
        "Until certificates end",
        "Which certificate ends first?",
        "Renew it and let the server load it: once it has ended, the check fails.",
        "no check is encrypted, or no data",
        ("exporter", "certificatenearend"),
    )
    return (
        state_timeline(
            "health_checks", checks, (10, 8), yes_or_no("up", "down"),
            Query(worst(metrics.HEALTH_UP, how="min"), "{{check}}"),
            Query(worst(metrics.UP, how="min"), "{{target}}"),
        ),
        time_series(
            "health_duration", durations, (8, 8), Look(unit="s", low=0),
            Query(worst(metrics.HEALTH_DURATION), "{{check}}"),
        ),
        stat(
            "certificates", ends, (6, 8),
            Look(unit="s", steps=falling(CERTIFICATE_SECONDS), decimals=0),
            Query(left(metrics.HEALTH_CERTIFICATE_EXPIRY), "{{check}}"),
            text="value_and_name",
        ),
    )  # fmt: skip


def _errors(settings: Settings) -> tuple[Part, ...]:
    margin = passing_limit(settings, "error_rate").value
    errors = Words(
        f"Errors by requests (at most {margin:g} times before)",
        "Does the application fail more often than before the migration?",
        "See what the application logs of its errors, and whether they began with the change.",
        "the application's counters are not configured, or no data",
        runbook_of("error_rate"),
    )
    requests = Words(
        "Requests and errors",
        "Are there more errors, or only fewer requests?",
        "Both fall: see what is in front of the application.",
        "the application's counters are not configured, or no data",
        runbook_of("error_rate"),
    )
    asked = rate(metrics.APPLICATION_REQUESTS)
    failed = rate(metrics.APPLICATION_ERRORS)
    return (
        time_series(
            "error_rate", errors, (12, 7), Look(unit="percentunit", low=0),
            Query(times(failed, asked), "errors"),
            Query(worst(metrics.ERROR_BASELINE), "before the migration"),
        ),
        time_series(
            "requests", requests, (12, 7), Look(unit="reqps", low=0),
            Query(asked, "requests"), Query(failed, "errors"),
        ),
    )  # fmt: skip
