"""Blocks of counts before they are judged: which are of the question, and what speaks against them.

Pure. Whoever judges counts, as shares or against a baseline, takes them from here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.model import Block

MOST_COUNTED = 2**53
"""Beyond it a floating-point number no longer tells one from the next."""


class Rule(msgspec.Struct, frozen=True):
    """How sure a verdict must be. Times in seconds; printed with every verdict.

    `anytime`: looked at repeatedly from one origin, so decided by the e-value. `assumed_dispersion`
    stands in where there are too few blocks to measure it; `max_gap` is the longest time within
    the span in which nobody may have measured, and one not longer than `pause` is none.
    """

    confidence: float = 0.95
    assumed_dispersion: float = 2.0
    min_span: float = 60.0
    max_age: float = 60.0
    max_gap: float = 60.0
    pause: float = 5.0
    anytime: bool = False


class Share(msgspec.Struct, frozen=True):
    """What is tried: at most `share` of the tries may be bad.

    `edge` is the latency in seconds above which a probe is bad; None where `good` is counted.
    """

    share: float
    edge: float | None = None


class Tally(NamedTuple):
    """Of `total` tries at least `low` and at most `high` were bad: alike where an edge is at the
    limit."""

    low: int
    high: int
    total: int


def is_of(block: Block, identity: str) -> bool:
    """Whether a block counts tries of that server. While a target has never answered, what failed
    is counted under no identity; what was good under none proves nothing of anybody."""
    if block.identity:
        return block.identity == identity
    return not (block.good or any(block.buckets))


def order(pair: tuple[Block, Tally]) -> tuple[object, ...]:
    """A key by which sorting gives one order, however the blocks came."""
    block = pair[0]
    return (block.start, block.end, block.settings_hash, block.epoch, block.total, pair[1])


def since_last_change(counted: list[tuple[Block, Tally]]) -> list[tuple[Block, Tally]]:
    """The last blocks that were counted under one and the same settings."""
    first = len(counted)
    while first and counted[first - 1][0].settings_hash == counted[-1][0].settings_hash:
        first -= 1
    return counted[first:]


def find_contradiction(block: Block, edges: Sequence[float], limit: Share, now: float) -> str:
    """What a block says that cannot be, or not of this limit; empty for none."""
    counts = (block.total, block.good, block.failed, block.skipped, *block.buckets)
    if not (math.isfinite(block.start) and math.isfinite(block.end)) or block.start > block.end:
        return "a block ends before it begins"
    if block.end > now + CLOCK_SKEW_SECONDS:
        return f"counted {block.end - now:.0f} s in the future; compare the clocks"
    if any(count < 0 for count in counts):
        return "a count below 0"
    if any(count > MOST_COUNTED for count in counts):
        return "a count of more than can be counted"
    if bool(edges) is (limit.edge is None):
        return "latencies where hits are asked for" if edges else "latencies without bucket edges"
    if edges:
        if not all(lower < upper for lower, upper in pairwise((0.0, *edges))):
            return "bucket edges that do not ascend"
        parts = sum(block.buckets) + block.failed + block.skipped
        if len(block.buckets) != len(edges) + 1 or parts != block.total:
            return f"{parts} probes in its buckets, {block.total} in all"
    elif block.good > block.total:
        return f"{block.good} hits of {block.total} requests"
    return ""


def tally(block: Block, edges: Sequence[float], limit: Share) -> Tally:
    """How many tries of a block were bad; between two figures where no edge is at the limit."""
    if limit.edge is None:
        bad = block.total - block.good
        return Tally(bad, bad, block.total)
    lost = block.failed + block.skipped
    low = high = lost
    lower = 0.0
    for upper, count in zip((*edges, math.inf), block.buckets, strict=True):
        if lower >= limit.edge or math.isclose(lower, limit.edge, rel_tol=1e-9):
            low += count
            high += count
        elif upper > limit.edge and not math.isclose(upper, limit.edge, rel_tol=1e-9):
            high += count
        lower = upper
    return Tally(low, high, block.total)


def find_doubt(blocks: Sequence[Block], rule: Rule, now: float) -> str:
    """Why the blocks decide nothing, whatever they count; empty where they do.

    One source's blocks overlap a little, by a lookup that spanned two of them; those of two
    sources overlap everywhere. An empty block was measured, and is no gap.
    """
    ends = [block.end for block in blocks if block.total]
    if not ends:
        return "nothing was counted"
    if now - max(ends) > rule.max_age:
        return f"counted until {now - max(ends):.0f} s ago, older than {rule.max_age:.0f} s"
    start, end = blocks[0].start, blocks[0].end
    overlap = missing = 0.0
    for block in blocks[1:]:
        gap = block.start - end
        if gap > rule.max_gap:
            return f"a gap of {gap:.0f} s, longer than {rule.max_gap:.0f} s"
        missing += gap if gap > rule.pause else 0.0
        overlap += max(0.0, min(end, block.end) - block.start)
        end = max(end, block.end)
    if overlap > CLOCK_SKEW_SECONDS and overlap > (end - start) / 2:
        return "blocks overlap: is one source measured by two exporters?"
    if missing > (end - start) / 2:
        return f"of {end - start:.0f} s nobody measured {missing:.0f} s"
    return ""
