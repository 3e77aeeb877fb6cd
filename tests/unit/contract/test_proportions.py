"""Shares of counted tries: which blocks count, and what of them decides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from phasegate.contract.blocks import Rule, Share
from phasegate.contract.model import Block, Judgement, Series, Verdict
from phasegate.contract.proportions import evaluate_share
from tests.fixtures.dossiers import NOW, SERVER, ends, make_block, probe_block, probes

PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE
LATENCY = "uuid_lookup_latency"
LIMIT = Share(0.05, edge=0.01)
SUBJECT = "database public.users"
DEFAULT = Rule()


def evaluate(
    *series: Series, rule: Rule = DEFAULT, limit: Share = LIMIT, subject: str = SUBJECT
) -> Judgement:
    return evaluate_share(
        *(LATENCY, series, rule, NOW, limit),
        identities={"database": SERVER},
        expected=frozenset({subject}),
    )


def of(blocks: Sequence[Block], **given: Any) -> Judgement:
    return evaluate(probes(*blocks), **given)


def healthy(count: int = 30, **names: Any) -> list[Block]:
    return [probe_block(end, **names) for end in ends(count)]


def test_one_slow_probe_of_one_fails_nothing() -> None:
    assert of([probe_block(NOW - 1, bad=1, good=0)]).verdict is INCONCLUSIVE


def test_a_share_at_the_limit_says_that_no_affordable_number_decides() -> None:
    found = of([probe_block(end, bad=5, good=95) for end in ends()])
    assert found.verdict is INCONCLUSIVE
    assert "no affordable number" in found.reason


def test_too_few_say_how_many_more_and_how_long() -> None:
    found = of([probe_block(end, good=3) for end in ends(7)])
    [subject] = found.facts["subjects"]
    # 21 tries are worth half as many while the dispersion is assumed to be 2; 117 decide.
    assert subject["tries_needed"] == 96
    assert "about 96 more samples" in found.reason
    assert "320 s at the present rate" in found.reason
    assert subject["dispersion_assumed"]


def test_enough_in_too_short_a_span_waits_for_the_span() -> None:
    found = of([probe_block(NOW - 1, good=5_000)])
    assert found.verdict is INCONCLUSIVE
    assert "shorter than 60 s" in found.reason


def test_bursts_are_worth_less_than_even_counts() -> None:
    even = [probe_block(end, bad=1, good=49) for end in ends()]
    bursts = [probe_block(end, bad=15 * (i % 15 == 3), good=50) for i, end in enumerate(ends())]
    assert of(even).verdict is PASSED
    assert of(bursts).verdict is INCONCLUSIVE


@pytest.mark.parametrize("anytime", [False, True])
def test_a_burst_among_few_blocks_is_no_proof_and_a_breakdown_is_no_burst(anytime: bool) -> None:
    """Below 20 blocks, where the dispersion is assumed unless they themselves show more."""
    rule = Rule(anytime=anytime)
    even = [probe_block(end, bad=1, good=99) for end in ends(11)]
    assert of(even, rule=rule).verdict is PASSED
    burst = [probe_block(end, bad=11 * (i == 4), good=100) for i, end in enumerate(ends(11))]
    found = of(burst, rule=rule)
    assert (found.verdict, found.facts["subjects"][0]["dispersion"] > 10) == (INCONCLUSIVE, True)
    assert "in bursts" in found.reason
    # Two stalls of three probes are dearer than assumed, and no burst.
    stalls = [probe_block(end, bad=3 * (i in (2, 7)), good=100) for i, end in enumerate(ends(11))]
    found = of(stalls, rule=rule)
    assert found.verdict is PASSED
    assert 2 < found.facts["subjects"][0]["dispersion"] < 3
    broken = [probe_block(end, bad=100, good=100 * (i == 0)) for i, end in enumerate(ends(6))]
    assert of(broken, rule=rule).verdict is FAILED


def test_what_turned_bad_at_the_end_does_not_pass() -> None:
    turned = [probe_block(end, bad=6, good=44) for end in ends(10)]
    found = of([*healthy(100)[:90], *turned])
    assert found.verdict is INCONCLUSIVE, found
    assert "bad at the end: 60 of the last 600" in found.reason
    # The same counts, spread over the whole, are well below the limit.
    even = [probe_block(end, bad=6 * (i % 10 == 0), good=44) for i, end in enumerate(ends(100))]
    assert of(even).verdict is PASSED


def test_what_was_bad_and_has_recovered_passes_once_the_counts_carry_it() -> None:
    blocks = [probe_block(end, bad=1 if i < 10 else 0) for i, end in enumerate(ends(60))]
    assert of(blocks).verdict is PASSED


def test_failed_and_skipped_probes_are_over_any_limit() -> None:
    lost = [make_block(end, total=50, buckets=(44, 0, 0, 0), failed=3, skipped=3) for end in ends()]
    assert of(lost).verdict is FAILED


def test_a_limit_without_an_edge_is_decided_by_the_edges_beside_it() -> None:
    between = Share(0.05, edge=0.015)
    # Between 10 and 20 ms nobody knows on which side of 15 ms they are.
    assert of(healthy(), limit=between).verdict is PASSED
    unknown = [probe_block(end, bad=10) for end in ends()]
    assert of(unknown, limit=between).verdict is INCONCLUSIVE
    over = [make_block(end, total=50, buckets=(40, 0, 0, 10)) for end in ends()]
    assert of(over, limit=between).verdict is FAILED


@pytest.mark.parametrize("edges", [(0.0010000000000000002, 0.010000000000000002, 0.02)])
def test_edges_are_compared_as_numbers(edges: tuple[float, ...]) -> None:
    blocks = [make_block(end, total=50, buckets=(0, 50, 0, 0)) for end in ends()]
    assert evaluate(replace(probes(*blocks), edges=edges)).verdict is PASSED


SPOILED = [
    pytest.param({"total": 51}, "in its buckets", id="a sum that is not the total"),
    pytest.param({"total": -50, "buckets": (-50, 0, 0, 0)}, "below 0", id="negative"),
    pytest.param({"buckets": (50,)}, "in its buckets", id="too few buckets"),
    pytest.param({"end": NOW + 60}, "future", id="in the future"),
    pytest.param({"start": NOW}, "before it begins", id="an end before the begin"),
    pytest.param({"end": float("nan")}, "before it begins", id="no time"),
]


@pytest.mark.parametrize(("parts", "said"), SPOILED)
def test_one_block_that_cannot_be_spoils_the_subject(parts: dict[str, Any], said: str) -> None:
    blocks = healthy()
    blocks[7] = replace(blocks[7], **parts)
    found = of(blocks)
    assert found.verdict is INCONCLUSIVE
    assert said in found.reason


def test_series_that_cannot_be() -> None:
    good = probes(*healthy())
    for wrong, said in (
        (replace(good, edges=()), "without bucket edges"),
        (replace(good, edges=(0.02, 0.01, 0.001)), "do not ascend"),
    ):
        found = evaluate(wrong)
        assert (found.verdict, said in found.reason) == (INCONCLUSIVE, True)
    assert "twice" in evaluate(good, good).reason
    assert "decides nothing" in evaluate(good, limit=Share(0.0, edge=0.01)).reason


def test_gaps_pauses_and_two_exporters() -> None:
    whole = healthy(60)
    assert of(whole[:20] + whole[25:]).verdict is PASSED  # 50 s of a restart
    assert "a gap of 70 s" in of(whole[:20] + whole[27:]).reason
    sparse = [probe_block(end, seconds=2.0) for end in ends(60, 20.0)]
    assert "nobody measured" in of(sparse).reason
    shifted = [replace(one, start=one.start - 3, end=one.end - 3) for one in whole]
    assert "two exporters" in of(sorted([*whole, *shifted], key=lambda one: one.start)).reason


def test_a_slow_lookup_across_two_blocks_is_no_second_exporter() -> None:
    blocks = healthy(60)
    blocks[30] = replace(blocks[30], start=blocks[30].start - 6)
    assert of(blocks).verdict is PASSED


def test_counts_of_another_server_and_of_earlier_settings_are_left_out() -> None:
    bad = [probe_block(end, bad=50, good=0, identity="other") for end in ends(60)[:30]]
    found = of([*bad, *healthy()])
    assert found.verdict is PASSED
    assert found.facts["subjects"][0]["notes"] == ("30 blocks of another server left out",)
    changed = [probe_block(end, settings_hash="old") for end in ends(60)[:57]]
    found = of([*changed, *healthy(3)])
    assert found.verdict is INCONCLUSIVE
    assert found.facts["subjects"][0]["notes"] == (
        "57 blocks from before the settings changed left out",
    )


def test_settings_that_were_changed_and_changed_back_count_from_the_last_change() -> None:
    blocks = healthy(60)
    blocks[57] = replace(blocks[57], settings_hash="other")
    assert of(blocks).verdict is INCONCLUSIVE


def test_failures_before_the_server_ever_answered_count() -> None:
    down = [
        make_block(end, total=50, buckets=(0, 0, 0, 0), failed=50, identity="", epoch="")
        for end in ends(60)[:30]
    ]
    assert of([*down, *healthy()]).verdict is FAILED


def test_what_was_good_under_no_identity_proves_nothing() -> None:
    nameless = [replace(one, identity="", epoch="") for one in healthy()]
    assert of(nameless).verdict is INCONCLUSIVE


def test_a_restart_of_the_source_is_told() -> None:
    blocks = [replace(one, epoch="later" if i > 20 else "e") for i, one in enumerate(healthy())]
    found = of(blocks)
    assert found.verdict is PASSED
    assert "restarted 1 times" in found.facts["subjects"][0]["notes"][0]


def test_a_table_that_is_measured_no_more_does_not_hold_up_the_others() -> None:
    gone = [replace(one, start=one.start - 500, end=one.end - 500) for one in healthy()]
    now_bad = [probe_block(end, bad=25, good=25) for end in ends()]
    assert evaluate(probes(*healthy()), probes(*gone, table="gone")).verdict is PASSED
    assert evaluate(probes(*healthy()), probes(*now_bad, table="more")).verdict is FAILED


def test_idle_blocks_are_no_gap_and_no_evidence() -> None:
    idle = [make_block(end, total=0, buckets=(0, 0, 0, 0)) for end in ends(30)]
    assert "nothing was counted" in of(idle).reason
    assert of([*healthy(40)[:20], *idle[10:15], *healthy(15)]).verdict is PASSED
    assert "older than 60 s" in of([*healthy(40)[:20], *idle[10:]]).reason


@pytest.mark.parametrize("anytime", [False, True])
def test_both_rules_decide_what_is_clear(anytime: bool) -> None:
    rule = Rule(anytime=anytime)
    assert of(healthy(), rule=rule).verdict is PASSED
    assert of([probe_block(e, bad=10) for e in ends()], rule=rule).verdict is FAILED
    [subject] = of(healthy(), rule=rule).facts["subjects"]
    assert (subject["evidence"] is not None) is anytime


BLOCKS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from(["h", "i"])),
    min_size=0,
    max_size=40,
)


def built(parts: Sequence[tuple[int, int, str]]) -> list[Block]:
    times = ends(len(parts))
    return [
        probe_block(end, bad=bad, good=good, settings_hash=stamp)
        for end, (bad, good, stamp) in zip(times, parts, strict=True)
    ]


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.booleans())
def test_what_passes_is_carried_by_what_decided(
    parts: list[tuple[int, int, str]], anytime: bool
) -> None:
    found = of(built(parts), rule=Rule(anytime=anytime))
    if found.verdict is PASSED:
        [subject] = found.facts["subjects"]
        assert subject["bad"] / subject["total"] < 0.05
        assert subject["high"] < 0.0801
        assert subject["total"] >= 59
        assert subject["end"] - subject["start"] >= 60


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.randoms(use_true_random=False), st.booleans())
def test_order_changes_nothing(
    parts: list[tuple[int, int, str]], shuffle: Any, anytime: bool
) -> None:
    series = [probes(*built(parts)), probes(*healthy(), table="more")]
    mixed = [
        replace(one, blocks=tuple(shuffle.sample(one.blocks, len(one.blocks)))) for one in series
    ]
    shuffle.shuffle(mixed)
    rule = Rule(anytime=anytime)
    assert evaluate(*series, rule=rule) == evaluate(*mixed, rule=rule)


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.integers(1, 60), st.booleans())
def test_adding_bad_evidence_never_turns_a_failure_into_a_pass(
    parts: list[tuple[int, int, str]], more: int, anytime: bool
) -> None:
    rule = Rule(anytime=anytime)
    blocks = built(parts)
    if of(blocks, rule=rule).verdict is not PASSED:
        later = [replace(one, start=one.start - 10, end=one.end - 10) for one in blocks]
        stamp = blocks[-1].settings_hash if blocks else "h"
        added = probe_block(NOW - 1, bad=more, good=0, settings_hash=stamp)
        assert of([*later, added], rule=rule).verdict is not PASSED
    whole = evaluate(probes(*blocks), probes(*healthy(), table="b"), rule=rule)
    if whole.verdict is FAILED:
        worse = evaluate(
            *(probes(*blocks), probes(*healthy(), table="b"), probes(added_bad(), table="c")),
            rule=rule,
        )
        assert worse.verdict is FAILED


def added_bad() -> Block:
    return probe_block(NOW - 1, bad=60, good=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 29), st.integers(1, 30))
def test_dropping_a_part_leaves_only_what_the_rest_carries(first: int, count: int) -> None:
    blocks = healthy()
    rest = blocks[:first] + blocks[first + count :]
    found = of(rest)
    if found.verdict is PASSED:
        [subject] = found.facts["subjects"]
        assert subject["total"] == sum(block.total for block in rest)
        assert rest[-1].end >= NOW - 60
        assert all(b.start - a.end <= 60 for a, b in pairwise(rest))
    assert evaluate(subject="database public.orders").verdict is INCONCLUSIVE
