"""What holds for any document of evidence, with every criterion that is measured judged on it.

A passing document is taken apart piece by piece: whatever is dropped, the verdict may only stand
where the rest carries it. Which piece carries what is written down here once, by its path.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from msgspec.structs import replace

from phasegate.contract.baseline import make_baseline
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.evidence import Evidence
from phasegate.contract.judge import judge
from phasegate.contract.model import Block, Judgement, Series, Verdict
from phasegate.contract.settings import Settings
from phasegate.contract.tests_passed import ResultFile
from phasegate.validators.gate import assess
from phasegate.validators.report import format_names, render
from tests.fixtures.dossiers import (
    ADDRESS,
    APPLICATION,
    CACHE,
    CONFIG,
    NOW,
    OBSERVED,
    ends,
    hit_block,
    lookups,
    make_block,
    make_dossier,
    make_evidence,
    make_settings,
    probe_block,
    probes,
)

LATENCY, HITS, ERRORS, TESTS = (
    *("uuid_lookup_latency", "cache_hit_rate", "error_rate", "integration_tests"),
)
CRITERIA = (*OBSERVED, LATENCY, HITS, ERRORS, TESTS)
LOOK, ALWAYS = Options(since=NOW - 600), Options(since=NOW - 600, anytime=True)
BLOCKS = 24
QUICK = limits(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_settings(tmp_path_factory.mktemp("properties"), CONFIG + APPLICATION)


def request_block(end: float, errors: int = 20, total: int = 4_000) -> Block:
    return make_block(end, total=total, good=total - errors, identity=ADDRESS)


def requests(*blocks: Block) -> Series:
    return Series(ERRORS, "application", "", "", "", blocks)


def passing() -> Dossier:
    """One on which every criterion passes, each of three series with a few bad tries."""
    series = (
        probes(*(probe_block(end, bad=1) for end in ends(BLOCKS))),
        lookups(*(hit_block(end, misses=1) for end in ends(BLOCKS))),
        requests(*(request_block(end) for end in ends(BLOCKS))),
    )
    before = requests(*(request_block(end - 86_400) for end in ends(BLOCKS)))
    return make_dossier(
        make_evidence(series=series),
        identities={"cache": CACHE, "application": ADDRESS},
        tests=(ResultFile("results.xml", "0" * 64, NOW - 60, passed=3, skipped=1),),
        baseline=make_baseline(make_evidence(series=(before,)), NOW - 86_300, "1.0"),
    )


def judge_all(dossier: Dossier, settings: Settings, options: Options = LOOK) -> list[Judgement]:
    return [judge(name, dossier, settings, options) for name in CRITERIA]


def test_the_document_that_is_taken_apart_passes(settings: Settings) -> None:
    for options in (LOOK, ALWAYS):
        found = judge_all(passing(), settings, options)
        assert [one.verdict for one in found] == [Verdict.PASSED] * len(CRITERIA), found


# -- any one part dropped --------------------------------------------------------------------------

SERIES = {LATENCY: 0, HITS: 1, ERRORS: 2}
TARGET = {"database": 0, "cache": 1}


def _carried_by(criterion: str) -> str:
    """A pattern of the paths without which a criterion must not pass."""
    if criterion == TESTS:
        return r"\.tests|\.tests\.0|\.tests\.0\.passed"
    parts = [r"\.evidence"]
    if criterion in OBSERVED:
        subjects = [(c, t) for c, found in OBSERVED.items() for t, _, _ in found]
        mine = [i for i, (name, _) in enumerate(subjects) if name == criterion]
        parts += [rf"\.evidence\.observations\.{i}" for i in mine]
        parts += [rf"\.evidence\.targets\.{TARGET[target]}" for _, target in {
            subjects[i] for i in mine}]  # fmt: skip
    else:
        parts.append(rf"\.evidence\.series\.{SERIES[criterion]}")
    if criterion == LATENCY:
        parts += [
            r"\.evidence\.targets\.0",
            r"\.evidence\.series\.0\.edges(\.\d)?",
            r"\.evidence\.series\.0\.blocks\.\d+\.buckets(\.\d)?",
        ]
    if criterion in (HITS, "health"):
        parts += [r"\.evidence\.targets\.1", r"\.identities(\.cache)?"]
    if criterion == ERRORS:
        parts += [
            r"\.identities(\.application)?",
            r"\.baseline(\.counts\.0(\.good)?)?",
        ]
    return "|".join(parts)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and every item of a document; of the blocks of a series every tenth."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    step = 10 if path[-1:] == ("blocks",) and isinstance(value, list) else 1
    for name, part in list(parts)[::step]:
        yield (*path, name)
        if isinstance(part, dict | list):
            yield from _paths(part, (*path, name))


def _without(document: Any, path: tuple[Any, ...]) -> Any:
    left = copy.deepcopy(document)
    parent = left
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    return left


def test_what_a_verdict_stands_on_cannot_be_dropped(settings: Settings) -> None:
    document = msgspec.json.decode(msgspec.json.encode(passing()))
    kept = dropped = 0
    for path in _paths(document):
        try:
            left = msgspec.convert(_without(document, path), Dossier)
        except msgspec.ValidationError:
            continue  # such a document is not read at all
        shown = "".join(f".{step}" for step in path)
        for found in judge_all(left, settings):
            passed = found.verdict is Verdict.PASSED
            needed = re.fullmatch(_carried_by(found.criterion), shown) is not None
            # Of counts the rest may decide, or may not.
            if needed or ".blocks." not in shown:
                assert passed is not needed, (shown, found)
            kept, dropped = kept + passed, dropped + needed
    assert kept > 500
    assert dropped > 50


@pytest.mark.parametrize("criterion", SERIES)
def test_a_block_that_is_dropped_takes_its_counts_with_it(
    criterion: str, settings: Settings
) -> None:
    whole = passing()
    [before] = judge(criterion, whole, settings, LOOK).facts["subjects"]
    for i, block in enumerate(_series(whole, criterion).blocks):
        blocks = list(_series(whole, criterion).blocks)
        del blocks[i]
        [after] = judge(
            criterion, _with_blocks(whole, criterion, blocks), settings, LOOK
        ).facts["subjects"]  # fmt: skip
        assert before["total"] - after["total"] == block.total


@pytest.mark.parametrize("criterion", SERIES)
@pytest.mark.parametrize("first", range(1, BLOCKS - 8))
def test_a_gap_of_more_than_a_minute_never_passes(
    first: int, criterion: str, settings: Settings
) -> None:
    blocks = list(_series(passing(), criterion).blocks)
    del blocks[first : first + 7]
    found = judge(criterion, _with_blocks(passing(), criterion, blocks), settings, LOOK)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "a gap of 70 s" in found.reason


def _series(dossier: Dossier, criterion: str) -> Series:
    assert dossier.evidence is not None
    return dossier.evidence.series[SERIES[criterion]]


def _with_blocks(dossier: Dossier, criterion: str, blocks: list[Block]) -> Dossier:
    assert dossier.evidence is not None
    series = list(dossier.evidence.series)
    series[SERIES[criterion]] = replace(series[SERIES[criterion]], blocks=tuple(blocks))
    return replace(dossier, evidence=replace(dossier.evidence, series=tuple(series)))


# -- order -----------------------------------------------------------------------------------------


@limits(QUICK, max_examples=15)
@given(chance=st.randoms(use_true_random=True))
def test_order_changes_no_byte_of_any_report(chance: random.Random, settings: Settings) -> None:
    """But the digest of what was judged, which is of the document as it came."""
    whole = _half_bad()
    mixed = replace(whole, evidence=_shuffled(whole.evidence, chance))
    for options in (LOOK, ALWAYS):
        first, second = (assess(CRITERIA, dossier, settings, options) for dossier in (whole, mixed))
        second = replace(second, digests=first.digests)
        changed = [name for name in format_names() if render(name, first) != render(name, second)]
        assert changed == []


def _half_bad() -> Dossier:
    """With failures, doubts and odd blocks, so that there is much to tell."""
    whole = passing()
    assert whole.evidence is not None
    found = whole.evidence.observations
    bad = tuple(
        replace(one, value=1.0 - one.value, subject=f"{one.subject}_{i}")
        for i in range(3)
        for one in found
    )
    odd = tuple(replace(one, value=float("nan")) for one in found[:3])
    series = list(whole.evidence.series)
    series[0] = replace(
        series[0], blocks=(*series[0].blocks, probe_block(NOW - 2, 3), probe_block(NOW - 2, 4))
    )
    series.append(probes(*(probe_block(end, 20, 30) for end in ends()), table="orders"))
    series.append(probes(*(probe_block(end, identity="9/1/x") for end in ends()), table="zebras"))
    return replace(
        whole,
        evidence=replace(whole.evidence, observations=found + bad + odd, series=tuple(series)),
    )


def _shuffled(evidence: Evidence | None, chance: random.Random) -> Evidence:
    assert evidence is not None

    def mixed(items: Any) -> Any:
        return tuple(chance.sample(items, len(items)))

    series = tuple(replace(one, blocks=mixed(one.blocks)) for one in evidence.series)
    return replace(evidence, series=mixed(series), observations=mixed(evidence.observations))


# -- evidence that decides nothing, and evidence that is bad ---------------------------------------

TRIES = st.tuples(
    st.integers(0, 3),  # bad
    st.integers(0, 5),  # good
    st.sampled_from([None, "", "9/1/x"]),  # identity, None for the right one
    st.sampled_from(["h", "other"]),
)


@QUICK
@given(tries=st.lists(TRIES, max_size=40), anytime=st.booleans())
def test_without_a_deciding_count_nothing_passes(
    tries: list[tuple[int, int, str | None, str]], anytime: bool, settings: Settings
) -> None:
    """59 good tries are the fewest that prove less than 5 % bad, 29 for less than 10 %."""
    for criterion, make, fewest in ((LATENCY, probe_block, 59), (HITS, hit_block, 29)):
        blocks = [
            make(end, bad, good, settings_hash=hashed, **({} if who is None else {"identity": who}))
            for end, (bad, good, who, hashed) in zip(ends(len(tries)), tries, strict=True)
        ]
        found = judge(
            criterion,
            _with_blocks(passing(), criterion, blocks),
            settings,
            ALWAYS if anytime else LOOK,
        )
        counts = [bad + good for bad, good, who, hashed in tries if who is None]
        if sum(counts) < fewest:
            assert found.verdict is not Verdict.PASSED
        if found.verdict is Verdict.PASSED:
            [subject] = found.facts["subjects"]
            assert subject["total"] - subject["bad"] >= fewest


@QUICK
@given(
    criterion=st.sampled_from([LATENCY, HITS, ERRORS]),
    counts=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 60)), min_size=6, max_size=30),
    added=st.tuples(st.integers(0, 29), st.integers(1, 500), st.booleans()),
    anytime=st.booleans(),
)
def test_bad_tries_never_turn_a_failure_into_a_pass(
    criterion: str,
    counts: list[tuple[int, int]],
    added: tuple[int, int, bool],
    anytime: bool,
    settings: Settings,
) -> None:
    """Within a block, or in one of their own at the end."""
    place, more, within = added
    make = {LATENCY: probe_block, HITS: hit_block}.get(
        criterion, lambda end, bad, good: request_block(end, bad, bad + good)
    )
    place %= len(counts)
    blocks = [make(end, *pair) for end, pair in zip(ends(len(counts)), counts, strict=True)]
    worse = list(blocks)
    if within:
        bad, good = counts[place]
        worse[place] = make(blocks[place].end, bad + more, good)
    else:
        worse.append(make(NOW - 0.5, more, 0))
    options = ALWAYS if anytime else LOOK
    before, after = (
        judge(criterion, _with_blocks(passing(), criterion, found), settings, options).verdict
        for found in (blocks, worse)
    )
    assert (before, after) != (Verdict.FAILED, Verdict.PASSED)


VALUES = st.tuples(st.integers(0, 8), st.floats(), st.floats(-200, 20))


@QUICK
@given(
    spoiled=st.lists(VALUES, max_size=6),
    added=VALUES,
)
def test_values_that_are_added_never_turn_a_failure_into_a_pass(
    spoiled: list[tuple[int, float, float]], added: tuple[int, float, float], settings: Settings
) -> None:
    evidence = passing().evidence
    assert evidence is not None
    found = list(evidence.observations)
    extra = [
        replace(found[i % len(found)], value=value, time=NOW + shift)
        for i, value, shift in (*spoiled, added)
    ]
    bad = [
        replace(one, value={"health": 0.0, "audit_partition_runway": 1.0}.get(one.criterion, 1e12))
        for one in extra[-1:]
    ]
    for criterion in OBSERVED:
        before, after = (
            judge(
                criterion,
                make_dossier(replace(evidence, observations=tuple(observed))),
                settings,
                LOOK,
            ).verdict
            for observed in (found + extra[:-1], found + extra[:-1] + bad)
        )
        assert (before, after) != (Verdict.FAILED, Verdict.PASSED)
        assert not (before is Verdict.INCONCLUSIVE and after is Verdict.PASSED)
