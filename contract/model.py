"""The shapes that the rooms exchange: a metric, a sample of it, a block of evidence, a verdict.

All are frozen and hold no behaviour beyond their own consistency. `msgspec.Struct` rather than a
dataclass: a scrape makes thousands of samples, and the judge reads evidence within milliseconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from phasegate.contract.errors import ContractError


class Kind(StrEnum):
    """The type of a metric, as the exposition spells it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Metric(msgspec.Struct, frozen=True):
    """One series of the exposition, described once.

    `collector` names the topic that emits it, and with it the SQL, the rights and the cost that
    the reference prints. `help` ends without a full stop; `unit` is the base unit or empty.
    A counter's name ends in `_total`, a histogram's and a gauge's in its unit.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    collector: str
    help: str

    def __post_init__(self) -> None:
        if (self.kind is Kind.COUNTER) is not self.name.endswith("_total"):
            raise ContractError(self.name, "counters, and only counters, end in _total")
        if self.unit and not self.name.removesuffix("_total").endswith(self.unit):
            raise ContractError(self.name, f"does not end in its unit {self.unit}")
        if not self.help or self.help.endswith("."):
            raise ContractError(self.name, "needs a help text without a full stop")

    def __call__(self, value: float | Distribution, *labels: str) -> Sample:
        """A sample of this metric; `labels` are the values, in the order of the entry."""
        if len(labels) != len(self.labels):
            raise ContractError(self.name, f"wants labels {self.labels}, got {labels}")
        return Sample(self, labels, value)


class Exemplar(NamedTuple):
    """One remarkable observation of a bucket: labels, value and Unix time in seconds."""

    labels: tuple[tuple[str, str], ...]
    value: float
    time: float


class Distribution(msgspec.Struct, frozen=True):
    """A histogram's state. `counts` are per bucket, not cumulative, one more than `edges` (+Inf).

    `edges` are upper bounds in the metric's unit, ascending; `exemplars` has one place a bucket.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar | None, ...] = ()

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ContractError("distribution", "edges must ascend, with one count more than edges")


class Sample(NamedTuple):
    """One line of the exposition, before it is one."""

    metric: Metric
    labels: tuple[str, ...]
    value: float | Distribution


class Verdict(StrEnum):
    """What a judgement says. Only `PASSED` opens a gate."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """Raw counts of one series between `start` and `end` (Unix seconds), never across an epoch.

    `total` counts what was tried, the skipped slots included; `good` what is known fine (hits);
    `buckets` the successful probes per latency bucket (not cumulative, as `Distribution.counts`);
    `failed` the failed or cancelled ones; `skipped` the slots lost to a server that was still
    busy. A judge counts the last two as over any limit. `open` marks the block that was still
    growing when served.
    """

    start: float
    end: float
    epoch: str
    identity: str
    settings_hash: str
    total: int
    good: int = 0
    buckets: tuple[int, ...] = ()
    failed: int = 0
    skipped: int = 0
    open: bool = False


class Series(msgspec.Struct, frozen=True, omit_defaults=True):
    """The blocks of one criterion on one target and table (names bare; empty for a cache)."""

    criterion: str
    target: str
    scope: str
    schema: str
    table: str
    blocks: tuple[Block, ...]
    edges: tuple[float, ...] = ()


class Observation(msgspec.Struct, frozen=True):
    """One measured value for an exact criterion, with the Unix time at which it was true."""

    criterion: str
    target: str
    subject: str
    value: float
    time: float
    detail: str = ""


class AlertPolicy(msgspec.Struct, frozen=True):
    """How a criterion wakes somebody. Seconds.

    `hold` is how long it must be bad before it fires, `keep` how long it goes on firing after the
    last time it was bad, so that one good value does not end it. `summary` names what is bad, as
    Prometheus' templates write it, without value and limit; `page` is the runbook's page,
    `panel` the board and panel to look at first; `severity` is for what has but one state.
    `after` is the phase whose end makes it bad; before, it is work that is not done yet.
    """

    name: str
    hold: float
    summary: str
    page: str
    panel: tuple[str, str]
    severity: str = "warning"
    keep: float = 300.0
    after: str = ""


class Judgement(msgspec.Struct, frozen=True):
    """A verdict with the numbers that decided it and, unless passed, what to do next."""

    criterion: str
    verdict: Verdict
    reason: str
    remedy: str = ""
    measured: float | None = None
    limit: float | None = None
    facts: dict[str, Any] = {}
