"""How often a gate is wrong: thousands of them through the real judge, on counts that are drawn.

Each gate is one path of blocks from one origin, under a truth that the judge does not know. It is
looked at once, at the end; after each block, as a waiting pipeline does; and ten times, as one
that is re-run. A pass where the truth is at the limit or beyond it is false, and so is a failure
where it is not beyond. In bursts the tries of a block are alike: a design effect of 1.5, 3.5 or
10.8 is a correlation of 0.01, 0.05 or 0.2 between the 50 tries of a block.

Drawn from fixed seeds, so that a run can be repeated. Above the limits of a promise lies a rate
only where the whole of its interval does: the measured one of a finite number of gates scatters.
"""

from __future__ import annotations

import multiprocessing
import statistics as plain
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from benchmarks.figures import Claim, Result
from phasegate.contract.baseline import Baseline, make_baseline
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.evidence import EVIDENCE_VERSION, Evidence, TargetState
from phasegate.contract.judge import judge
from phasegate.contract.model import Block, Series, Verdict
from phasegate.contract.proportions import FAILING_ALPHA
from phasegate.contract.rules import ALLOWED_OVER
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.contract.statistics import Count, interval

GATES = 200
SHORT_GATES = 20
DEARER = 4  # times is one gate of errors, with its large counts
BLOCKS = 30
BLOCK_SECONDS = 10.0
EVERY_RE_RUN = 3  # blocks between the ten
ALPHA = 0.05
CERTAINTY = 0.99
TRUTHS = {"at the limit": 1.0, "just above": 1.2, "just below": 0.8, "far below": 0.4}
DESIGN_EFFECTS = (1.5, 3.5, 10.8)
ORIGIN = 1_800_000_000.0
SERVER, CACHE = "7412345678901234567/1/mono", "redis://127.0.0.1:1/0/0/0"
PAGE = "http://127.0.0.1:1/metrics"
CONFIG = f"""
environment: simulation
database:
  url: postgresql://judge@127.0.0.1:1/mono
  identity: {{system_identifier: "7412345678901234567", database: mono}}
cache: {{url: "redis://127.0.0.1:1/0"}}
tables: [{{name: public.users}}]
application:
  metrics_url: "{PAGE}"
  requests: {{metric: http_requests_total}}
  errors: {{metric: http_requests_total, match: {{status: "5.."}}}}
"""


class Subject(NamedTuple):
    """A criterion with the share of bad tries at its limit, and how many tries a block has."""

    criterion: str
    limit: float
    tries: int


class Cell(NamedTuple):
    """What the gates of one row have in common."""

    subject: Subject
    truth: str
    design_effect: float


class Gate(NamedTuple):
    """How one gate ended by each way of looking, and after how many tries the waiting one did."""

    verdicts: dict[str, Verdict]
    tries: int | None


ERRORS_BEFORE, MARGIN = 0.01, 1.5
LATENCY, HITS, ERRORS = SUBJECTS = (
    Subject("uuid_lookup_latency", ALLOWED_OVER, 50),
    Subject("cache_hit_rate", 0.10, 50),
    Subject("error_rate", ERRORS_BEFORE * MARGIN, 2_000),
)
BASELINE_TRIES = 10_000  # a block; it is of one in which nothing is wrong
ONE_LOOK, WAITING, RE_RUNS = LOOKS = ("one look", "after each block", "ten re-runs")
FALSE_PASS, FALSE_FAIL = "false passes", "false failures"


def measure(*, short: bool) -> Result:
    """Rates of wrong verdicts, with intervals of 99 %, and the median tries to a decision."""
    gates = SHORT_GATES if short else GATES
    cells = [Cell(subject, truth, 1.0) for subject in SUBJECTS for truth in TRUTHS]
    cells += [
        Cell(subject, "at the limit", effect) for subject in SUBJECTS for effect in DESIGN_EFFECTS
    ]
    jobs = [
        (cell, gates // DEARER if cell.subject == ERRORS else gates, seed)
        for seed, cell in enumerate(cells)
    ]
    with multiprocessing.Pool() as pool:
        rows = pool.starmap(simulate, jobs, chunksize=1)
    figures = {"blocks": BLOCKS, "rows": rows}
    return Result([claim for row in rows for claim in _claims(row)], figures)


def simulate(cell: Cell, gates: int, seed: int) -> dict[str, Any]:
    """One row of the table."""
    chance = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "phasegate.yaml")
        file.write_text(CONFIG, encoding="utf-8")
        settings = load_settings(file, {})
    found = [_pass_through(cell, settings, chance) for _ in range(gates)]
    tries = [gate.tries for gate in found if gate.tries is not None]
    return {
        "criterion": cell.subject.criterion,
        "truth": cell.truth,
        "design_effect": cell.design_effect,
        "gates": gates,
        **{look: _describe([gate.verdicts[look] for gate in found]) for look in LOOKS},
        "median_tries_of_those_decided": plain.median(tries) if tries else None,
    }


def _pass_through(cell: Cell, settings: Settings, chance: np.random.Generator) -> Gate:
    subject = cell.subject
    share = subject.limit * TRUTHS[cell.truth]
    series = _draw(cell, chance, share, subject.tries, ORIGIN)
    baseline = None
    if subject == ERRORS:
        day_before = ORIGIN - 86_400
        before = _draw(cell, chance, ERRORS_BEFORE, BASELINE_TRIES, day_before)
        end = day_before + BLOCKS * BLOCK_SECONDS
        baseline = make_baseline(_evidence(before, end), end, "simulation")

    def look(blocks: int, *, anytime: bool) -> Verdict:
        dossier = _dossier(replace(series, blocks=series.blocks[:blocks]), baseline)
        options = Options(since=ORIGIN, anytime=anytime)
        return judge(subject.criterion, dossier, settings, options).verdict

    verdicts = {ONE_LOOK: look(BLOCKS, anytime=False)}
    tries = None
    for blocks in range(1, BLOCKS + 1):
        due = [WAITING] if blocks % EVERY_RE_RUN else [WAITING, RE_RUNS]
        missing = [name for name in due if name not in verdicts]
        if missing and (verdict := look(blocks, anytime=True)) is not Verdict.INCONCLUSIVE:
            verdicts |= dict.fromkeys(missing, verdict)
            if WAITING in missing:
                tries = blocks * subject.tries
    undecided = dict.fromkeys(LOOKS, Verdict.INCONCLUSIVE)
    return Gate(undecided | verdicts, tries)


def _draw(
    cell: Cell, chance: np.random.Generator, share: float, tries: int, origin: float
) -> Series:
    """Blocks whose counts vary by the design effect as much more as independent tries would."""
    shares = np.full(BLOCKS, share)
    if cell.design_effect > 1:
        correlation = (cell.design_effect - 1) / (tries - 1)
        weight = (1 - correlation) / correlation
        shares = chance.beta(share * weight, (1 - share) * weight, BLOCKS)
    criterion = cell.subject.criterion
    blocks = tuple(
        _block(criterion, origin + i * BLOCK_SECONDS, int(bad), tries)
        for i, bad in enumerate(chance.binomial(tries, shares))
    )
    if criterion == LATENCY.criterion:
        return Series(criterion, "database", "", "public", "users", blocks, (0.01,))
    if criterion == HITS.criterion:
        return Series(criterion, "cache", "server", "", "", blocks)
    return Series(criterion, "application", "", "", "", blocks)


def _block(criterion: str, start: float, bad: int, tries: int) -> Block:
    end = start + BLOCK_SECONDS
    if criterion == LATENCY.criterion:
        return Block(start, end, "e", SERVER, "h", tries, buckets=(tries - bad, bad))
    identity = CACHE if criterion == HITS.criterion else PAGE
    return Block(start, end, "e", identity, "h", tries, good=tries - bad)


def _dossier(series: Series, baseline: Baseline | None) -> Dossier:
    now = series.blocks[-1].end
    return Dossier(
        now,
        _evidence(series, now),
        {"cache": CACHE, "application": PAGE},
        baseline=baseline,
    )


def _evidence(series: Series, now: float) -> Evidence:
    targets = (
        TargetState("database", "database", up=True, identity=SERVER, epoch="e"),
        TargetState("cache", "cache", up=True, identity=CACHE, epoch="e"),
    )
    return Evidence(
        *(EVIDENCE_VERSION, "simulation", "simulation", 0.0, now, 0.0, 0.0, BLOCK_SECONDS, "h"),
        *(targets, (series,), ()),
    )


def _describe(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The share of each verdict, with an interval for the two that decide."""
    found: dict[str, Any] = {}
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        count = verdicts.count(verdict)
        low, high = interval(Count(count, len(verdicts)), CERTAINTY)
        shown = [round(low, 4), round(high, 4)]
        found[verdict.value] = {"share": round(count / len(verdicts), 4), "interval": shown}
    return found


def _claims(row: dict[str, Any]) -> list[Claim]:
    """A wrong verdict is no more likely than promised, by the lower end of its interval."""
    named = f"{row['criterion']} {row['truth']}, design effect {row['design_effect']}"
    above = TRUTHS[row["truth"]] > 1
    kinds = [] if above else [(FALSE_FAIL, Verdict.FAILED, FAILING_ALPHA)]
    if above or row["truth"] == "at the limit":
        kinds.append((FALSE_PASS, Verdict.PASSED, ALPHA))
    return [
        Claim(f"{kind}, {named}, {look}, at least", row[look][verdict.value]["interval"][0], limit)
        for look in LOOKS
        for kind, verdict, limit in kinds
    ]
