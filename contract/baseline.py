"""What was measured before the change: counts to compare with, and the figures of a document.

One document, sealed by its SHA-256: it is read back only if it is, byte for byte, what would be
written for its content. Counts and not ratios, since only counts tell how sure a ratio is.

It lies beside the configuration, where the judge and the exporter find it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from phasegate.contract import statistics
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS, DATABASE, Evidence
from phasegate.contract.model import Block, Observation, Series
from phasegate.contract.settings import Settings
from phasegate.contract.statistics import Count

NAME = "baseline"
BASELINE_VERSION = 1
FILE_NAME = "baseline.json"
MOST_BYTES = 64 * 2**20
OTHER_SETTINGS = "counted other requests or errors: their settings have changed"


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one criterion counted on one target and table, in Unix seconds from `start` to `end`.

    The counts are those of `Block`, summed over `blocks` blocks of one server under one hash of
    settings. `dispersion` is how much more the blocks vary than independent tries would; None
    where there are too few of them to tell, or where latencies were counted.
    """

    criterion: str
    target: str
    scope: str
    schema: str
    table: str
    identity: str
    settings_hash: str
    start: float
    end: float
    blocks: int
    total: int
    good: int = 0
    failed: int = 0
    skipped: int = 0
    edges: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    dispersion: float | None = None


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`captured` and `since` are Unix seconds: when it was written, and from when it may hold
    counts. `identities` are those of the targets; `settings_hash` is of all of the exporter's."""

    baseline_version: int
    build: str
    captured: float
    since: float
    environment: str
    identities: dict[str, str]
    settings_hash: str
    counts: tuple[Counted, ...]
    values: tuple[Observation, ...]
    sha256: str = ""

    def counted(self, criterion: str, target: str) -> Counted | None:
        """What was counted for a criterion that has one subject a target."""
        found = (one for one in self.counts if (one.criterion, one.target) == (criterion, target))
        return next(found, None)


class UnusableBaseline(ValueError):
    """The document is none, or not as it was written; the text says which."""


def make_baseline(evidence: Evidence, captured: float, build: str) -> Baseline:
    """The baseline that the evidence gives, sealed."""
    counts = (_count(series) for series in evidence.series)
    made = Baseline(
        baseline_version=BASELINE_VERSION,
        build=build,
        captured=captured,
        since=evidence.since,
        environment=evidence.environment,
        identities={target.name: target.identity for target in evidence.targets},
        settings_hash=evidence.settings_hash,
        counts=tuple(one for one in counts if one is not None),
        values=evidence.observations,
    )
    return replace(made, sha256=_digest(made))


def encode_baseline(baseline: Baseline) -> bytes:
    """The document: JSON for people too, with a line end."""
    return msgspec.json.format(msgspec.json.encode(baseline, order="sorted"), indent=1) + b"\n"


def decode_baseline(data: bytes) -> Baseline:
    """What `encode_baseline` gave. Raises UnusableBaseline."""
    try:
        found = msgspec.json.decode(data, type=Baseline)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnusableBaseline(f"is no baseline: {error}") from None
    if found.baseline_version != BASELINE_VERSION:
        message = f"has version {found.baseline_version}, and only {BASELINE_VERSION} is known"
        raise UnusableBaseline(message)
    if found.sha256 != _digest(replace(found, sha256="")) or encode_baseline(found) != data:
        message = "was altered after it was captured: it is not what its SHA-256 states"
        raise UnusableBaseline(message)
    return found


def find_baseline(settings: Settings) -> Path:
    """Where a baseline is when no file is named: beside the configuration."""
    return (settings.file.parent if settings.file else Path()) / FILE_NAME


def read_baseline(path: Path) -> Baseline:
    """The baseline of a file. Raises SourceUnavailable for none, SourceError for an altered one."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceUnavailable(NAME, f"{path}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise SourceError(NAME, f"{path}: larger than {MOST_BYTES:,} bytes")
    try:
        return decode_baseline(data)
    except UnusableBaseline as error:
        raise SourceError(NAME, f"{path} {error}") from None


def find_baseline_doubt(
    baseline: Baseline,
    counted: Counted | None,
    *,
    environment: str,
    database: str,
    address: str,
    now: float,
) -> str:
    """Why the counts of a baseline are not those to compare with; empty for none.

    The evidence is of `environment` and of the server `database` (empty where that is not known);
    `address` is what identifies the application, `now` Unix seconds.
    """
    if baseline.captured > now + CLOCK_SKEW_SECONDS:
        return f"it was captured {baseline.captured - now:.0f} s in the future; compare the clocks"
    if baseline.environment != environment:
        stated, wanted = baseline.environment or "none", environment or "none"
        return f"it is of environment {stated}, not of {wanted}"
    before = baseline.identities.get(DATABASE, "")
    if before and database and before != database:
        return f"it is of the database {before}, not of {database}"
    if counted is None or not counted.total:
        return "it holds no requests"
    if counted.identity != address:
        return f"it is of the application at {counted.identity}, not at {address or 'none'}"
    if not 0 <= counted.good <= counted.total or not counted.start <= counted.end:
        return "it counts what cannot be"
    if counted.end > baseline.captured + CLOCK_SKEW_SECONDS:
        return "it counts what came after it was captured"
    if (counted.dispersion or 0.0) > statistics.MOST_DISPERSION:
        return "its errors come in bursts, as in an incident: they are nothing to compare with"
    return ""


def _count(series: Series) -> Counted | None:
    """The sum over the last blocks of one server and one hash of settings."""
    known = [block for block in series.blocks if block.identity]
    if not known:
        return None
    last = max(known, key=lambda block: block.end)
    alike = (last.identity, last.settings_hash)
    blocks = [block for block in known if (block.identity, block.settings_hash) == alike]
    return Counted(
        *(series.criterion, series.target, series.scope, series.schema, series.table, *alike),
        start=min(block.start for block in blocks),
        end=last.end,
        blocks=len(blocks),
        total=sum(block.total for block in blocks),
        good=sum(block.good for block in blocks),
        failed=sum(block.failed for block in blocks),
        skipped=sum(block.skipped for block in blocks),
        edges=series.edges,
        buckets=tuple(map(sum, zip(*(block.buckets for block in blocks), strict=True))),
        dispersion=None if series.edges else _dispersion(blocks),
    )


def _dispersion(blocks: Sequence[Block]) -> float | None:
    counts = [Count(block.total - block.good, block.total) for block in blocks]
    return statistics.dispersion(counts)


def _digest(baseline: Baseline) -> str:
    return hashlib.sha256(msgspec.json.encode(baseline, order="sorted")).hexdigest()
