"""The captured baseline: sealed, of one server, and compared with nothing that it is not of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from phasegate.contract.baseline import (
    Baseline,
    UnusableBaseline,
    decode_baseline,
    encode_baseline,
    make_baseline,
)
from phasegate.contract.dossier import Dossier, Options, Problem, Trouble
from phasegate.contract.judge import judge
from phasegate.contract.model import Block, Judgement, Observation, Series, Verdict
from phasegate.contract.settings import Settings
from tests.fixtures.dossiers import (
    ADDRESS,
    APPLICATION,
    CONFIG,
    NOW,
    SERVER,
    ends,
    make_block,
    make_dossier,
    make_evidence,
    make_settings,
    probe_block,
    probes,
)

LONG_AGO = NOW - 86_400
LOOK = Options(since=NOW - 600)


def request_block(end: float, errors: int = 3, total: int = 500, **names: Any) -> Block:
    return make_block(end, total=total, good=total - errors, **{"identity": ADDRESS} | names)


def requests(*blocks: Block) -> Series:
    return Series("error_rate", "application", "", "", "", blocks)


def captured(*blocks: Block, **parts: Any) -> Baseline:
    """Of five minutes a day ago, unless other blocks are given."""
    found = blocks or tuple(request_block(end - 86_400) for end in ends())
    made = make_baseline(make_evidence(series=(requests(*found),)), LONG_AGO, "1.0")
    return replace(made, **parts)


def dossier(baseline: Baseline | None, *blocks: Block, **parts: Any) -> Dossier:
    found = blocks or tuple(request_block(end) for end in ends())
    whole = make_dossier(make_evidence(series=(requests(*found),)), baseline=baseline, **parts)
    return replace(whole, identities=whole.identities | {"application": ADDRESS})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, CONFIG + APPLICATION)


def verdict(settings: Settings, given: Dossier, options: Options = LOOK) -> Judgement:
    return judge("error_rate", given, settings, options)


def test_counts_of_the_last_server_and_settings_are_summed() -> None:
    old = [request_block(NOW - 90_000 - i * 10, settings_hash="old") for i in range(3)]
    other = [request_block(NOW - 89_000, identity="http://other/")]
    made = captured(*old, *other, *(request_block(end - 86_400) for end in ends(25)))
    counted = made.counted("error_rate", "application")
    assert counted is not None
    assert (counted.blocks, counted.total, counted.good) == (25, 12_500, 12_425)
    assert (counted.identity, counted.settings_hash, counted.dispersion) == (ADDRESS, "h", 1.0)
    assert (counted.start, counted.end) == (ends(25)[0] - 86_410, NOW - 1 - 86_400)
    assert made.identities["database"] == SERVER


def test_latencies_keep_their_buckets_and_values_their_time() -> None:
    made = make_baseline(make_evidence(), NOW, "1.0")
    [latency] = [one for one in made.counts if one.criterion == "uuid_lookup_latency"]
    assert (latency.buckets, latency.total) == ((1_500, 0, 0, 0), 1_500)
    assert latency.dispersion is None
    assert Observation("audit_partition_size", "database", "public.audit_logs_1", 1e6, NOW - 2) in (
        made.values
    )


def test_what_was_counted_before_the_server_answered_is_left_out() -> None:
    series = probes(probe_block(NOW - 20, identity=""), probe_block(NOW - 1, identity=""))
    assert make_baseline(make_evidence(series=(series,)), NOW, "1.0").counts == ()


def test_it_is_read_back_as_it_was_written() -> None:
    made = captured()
    assert decode_baseline(encode_baseline(made)) == made


@given(st.data())
def test_any_altered_byte_is_refused(data: st.DataObject) -> None:
    document = encode_baseline(captured())
    place = data.draw(st.integers(0, len(document) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != document[place]))
    with pytest.raises(UnusableBaseline):
        decode_baseline(document[:place] + bytes([byte]) + document[place + 1 :])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is no baseline"),
        (b"<html>", "is no baseline"),
        (b"[" * 100_000, "is no baseline"),
        (b'{"baseline_version": 1}', "is no baseline"),
        (encode_baseline(captured(baseline_version=2)), "has version 2, and only 1 is known"),
        (encode_baseline(captured(environment="staging")), "was altered"),
    ],
    ids=["empty", "html", "deep", "half", "version", "altered"],
)
def test_what_is_none_is_told(data: bytes, says: str) -> None:
    with pytest.raises(UnusableBaseline, match=says):
        decode_baseline(data)


def test_the_same_rate_passes_and_twice_the_rate_fails(settings: Settings) -> None:
    assert verdict(settings, dossier(captured())).verdict is Verdict.PASSED
    more = [request_block(end, errors=8) for end in ends()]
    found = verdict(settings, dossier(captured(), *more))
    assert found.verdict is Verdict.FAILED
    assert "baseline 90 of 15,000 (0.600%)" in found.reason


OTHER_SERVER = {"database": "1/1/other", "cache": "c"}
FUTURE = tuple(request_block(end + 100) for end in ends())
INCIDENT = tuple(request_block(end - 86_400, errors=400 * (i == 3)) for i, end in enumerate(ends()))


@pytest.mark.parametrize(
    ("baseline", "says"),
    [
        (None, "no baseline was captured"),
        (captured(environment="staging"), "of environment staging, not of production"),
        (captured(identities=OTHER_SERVER), "of the database 1/1/other, not of"),
        (captured(captured=NOW + 60), "60 s in the future"),
        (captured(counts=()), "it holds no requests"),
        (captured(*[request_block(NOW - 90_000, total=0, errors=0)]), "it holds no requests"),
        (captured(*[request_block(NOW - 90_000, identity="http://b/")]), "application at http://b/"),
        (captured(*[request_block(NOW - 90_000, errors=600)]), "counts what cannot be"),
        (captured(*FUTURE), "counts what came after it was captured"),
        (captured(*[request_block(NOW - 90_000, settings_hash="x")]), "settings have changed"),
        (captured(*INCIDENT), "bursts, as in an incident"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_baseline_of_something_else_decides_nothing_and_no_wait_helps(
    settings: Settings, baseline: Baseline | None, says: str
) -> None:
    found = verdict(settings, dossier(baseline))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert says in found.reason
    assert "phasegate baseline capture" in found.remedy
    assert found.facts["hopeless"]


def test_one_that_cannot_be_read_is_an_error(settings: Settings) -> None:
    problem = Problem("baseline", Trouble.UNREADABLE, "baseline: b.json was altered")
    found = verdict(settings, dossier(None, problems=(problem,)))
    assert (found.verdict, found.reason) == (Verdict.ERROR, problem.what)


def test_what_the_baseline_counted_is_not_compared_with_it(settings: Settings) -> None:
    now = [request_block(end) for end in ends()]
    made = replace(captured(*now), captured=NOW)
    found = verdict(settings, dossier(made))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "nothing was counted" in found.reason


def test_a_baseline_of_after_the_change_is_none(settings: Settings) -> None:
    given = dossier(captured())
    before = Options(since=LONG_AGO + 9, values_since=LONG_AGO + 9, anytime=True)
    assert "goes on until" not in verdict(settings, given, before).reason
    after = replace(before, values_since=LONG_AGO - 301)
    found = verdict(settings, given, after)
    assert (found.verdict, found.facts["hopeless"]) == (Verdict.INCONCLUSIVE, True)
    assert "goes on until 300 s after the time that was asked for" in found.reason


def test_two_processes_behind_one_address_are_found_out(settings: Settings) -> None:
    def lived(*starts: str) -> Judgement:
        lives = [starts[i * len(starts) // 30] for i in range(30)]
        blocks = [request_block(e, epoch=f"{s}/0") for e, s in zip(ends(), lives, strict=True)]
        return verdict(settings, dossier(captured(), *blocks))

    assert lived("1", "2", "3").verdict is Verdict.PASSED
    found = lived("1", "2", "1")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "two processes answer in turn" in found.reason


def test_a_database_that_nobody_can_ask_hides_no_verdict_on_errors(settings: Settings) -> None:
    problem = Problem("database", Trouble.UNREACHABLE, "database: refused")
    few = [request_block(end, total=5, errors=0) for end in ends(3)]
    found = verdict(settings, dossier(captured(), *few, problems=(problem,)))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_limits_that_were_loosened_are_told(tmp_path: Path) -> None:
    more = "\ncriteria: {error_rate: {margin: 2, floor: 0.01, min_span: 5s}}\n"
    loose = make_settings(tmp_path, CONFIG + APPLICATION + more)
    eight = [request_block(end, errors=4) for end in ends()]
    found = verdict(loose, dossier(captured(), *eight))
    assert found.verdict is Verdict.PASSED
    assert found.facts["loosened"] == (
        "limit 2 times the baseline instead of 1.5 times the baseline",
        "floor 1 % instead of 0.1 %",
        "span 5s instead of 1m",
    )


def test_both_counters_or_none(tmp_path: Path, settings: Settings) -> None:
    only = APPLICATION.partition("  errors:")[0]
    found = verdict(make_settings(tmp_path, CONFIG + only), dossier(captured()))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.remedy == "it needs application.errors"
