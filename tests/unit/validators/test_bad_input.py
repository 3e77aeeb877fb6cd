"""Bad input by its name, through the whole command: each kind has one correct exit code and reason.

A pipeline tries to get a 0 out of a service that is not fine, mostly without meaning to. What the
judge makes of each kind is tested beside the judge; here it is what the pipeline sees.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from phasegate.contract.model import Block, Series
from phasegate.validators.sources import exporter, junit
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import (
    CACHE,
    CONFIG,
    NOW,
    SERVER,
    ends,
    hit_block,
    lookups,
    make_evidence,
    observations,
    probe_block,
    probes,
)
from tests.fixtures.pipeline import Pipeline

LATENCY, HITS, ROWS, HEALTH = "uuid_lookup_latency", "cache_hit_rate", "uuid_missing", "health"
HEALTHY = make_evidence()
DATABASE_STATE, CACHE_STATE = HEALTHY.targets
PROBES, LOOKUPS = HEALTHY.series
HTML, XML = {"Content-Type": "text/html"}, '<?xml version="1.0"?>'


@pytest.fixture
def pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Pipeline]:
    with answering(Answering()) as server:
        yield Pipeline(tmp_path, server, capsys)


def check(pipeline: Pipeline, code: int, said: str, *arguments: str) -> None:
    """One call ends so, and says so; lines are folded to fit a terminal."""
    found, out, err = pipeline.call(*arguments)
    told = re.sub(r"[\s│]+", " ", out + err)
    assert (found, said in told) == (code, True), (found, told)


def test_the_evidence_that_each_kind_spoils_passes(pipeline: Pipeline) -> None:
    check(pipeline, 0, "4 of 4 criteria passed")


# -- answers that are no evidence ------------------------------------------------------------------

ANSWERS = [
    pytest.param({"status": 500}, "status 500", id="5xx"),
    pytest.param({"status": 503, "body": b""}, "status 503", id="503 without a body"),
    pytest.param({"status": 302, "headers": {"Location": "/login"}}, "status 302", id="redirect"),
    pytest.param({"status": 401}, "it refuses these credentials", id="401"),
    pytest.param({"body": b"<html>", "headers": HTML}, "answered text/html", id="HTML"),
    pytest.param({"body": b"<html>"}, "no evidence", id="HTML that says it is JSON"),
    pytest.param({"body": b""}, "no evidence", id="empty body with 200"),
    pytest.param({"body": b"{}"}, "no evidence", id="empty object with 200"),
    pytest.param({"body": b"null"}, "no evidence", id="null with 200"),
    pytest.param(
        {"body": b'{"status":"success","data":{"resultType":"vector","result":[]}}'},
        *("no evidence",),
        id="a Prometheus instead of an exporter",
    ),
    pytest.param({"hang": True}, "no whole answer", id="no answer"),
    pytest.param({"declared": 10_000_000}, "ends in the middle", id="cut"),
]


@pytest.mark.parametrize(("answer", "said"), ANSWERS)
def test_an_answer_that_is_no_evidence_is_4(
    answer: dict[str, Any], said: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "WITHIN_SECONDS", 1.0)
    for name, value in answer.items():
        setattr(pipeline.server, name, value)
    check(pipeline, 4, said)


def test_an_answer_that_is_huge_is_4(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "MOST_BYTES", 1_000)
    check(pipeline, 4, "answered more than 1,000 bytes")


SPELLINGS = [
    pytest.param(rb'"value":0\.0', b'"value":NaN', id="NaN"),
    pytest.param(rb'"value":0\.0', b'"value":Infinity', id="+Inf"),
    pytest.param(rb'"value":0\.0', b'"value":-Infinity', id="-Inf"),
    pytest.param(rb'"value":0\.0', b'"value":1e999', id="a number beyond all"),
    pytest.param(rb'"value":0\.0', b'"value":"0"', id="a number as text"),
    pytest.param(rb'"value":0\.0', b'"value":null', id="null for a number"),
    pytest.param(rb'"total":50', b'"total":NaN', id="NaN of probes"),
    pytest.param(rb'"total":50', b'"total":50.5', id="half a probe"),
    pytest.param(rb'"total":50', b'"total":true', id="a truth for a count"),
    pytest.param(rb'"edges":\[0\.001,', b'"edges":["0.001",', id="edges as text"),
    pytest.param(rb'"edges":\[0\.001,0\.01,0\.02\]', b'"edges":[0.001,0.01,NaN]', id="NaN edge"),
    pytest.param(rb'"version":1', b'"version":2', id="a later version"),
    pytest.param(rb'"targets":', b'"others":', id="no targets"),
    pytest.param(rb".{200}$", b"", id="truncated"),
    pytest.param(rb"production", b"\xff\xfe", id="no UTF-8"),
]


@pytest.mark.parametrize(("old", "new"), SPELLINGS)
def test_evidence_that_is_misspelt_is_4(old: bytes, new: bytes, pipeline: Pipeline) -> None:
    body, count = re.subn(old, new, pipeline.server.body, count=1)
    assert count
    pipeline.server.body = body
    check(pipeline, 4, "evidence")


@pytest.mark.parametrize("edge", [b"10e-3", b"0.0100", b"1e-2"])
def test_an_edge_is_a_number_however_it_is_written(edge: bytes, pipeline: Pipeline) -> None:
    pipeline.server.body = pipeline.server.body.replace(b"0.001,0.01,", b"0.001," + edge + b",")
    assert edge in pipeline.server.body
    check(pipeline, 0, "4 of 4 criteria passed")


# -- evidence that decides nothing -----------------------------------------------------------------


def _blocks(
    make: Callable[[float], Block], count: int = 30, seconds: float = 10.0
) -> tuple[Block, ...]:
    return tuple(make(end) for end in ends(count, seconds))


def _probed(*parts: Block, **names: Any) -> dict[str, Any]:
    return {"series": (probes(*parts, **names), LOOKUPS)}


def _looked_up(*parts: Block) -> dict[str, Any]:
    return {"series": (PROBES, lookups(*parts))}


def _each(series: Series, **changed: Any) -> tuple[Block, ...]:
    return tuple(replace(block, **changed) for block in series.blocks)


def _later(seconds: float) -> tuple[Block, ...]:
    return tuple(
        replace(block, start=block.start + seconds, end=block.end + seconds)
        for block in PROBES.blocks
    )


def _without(first: int, last: int) -> tuple[Block, ...]:
    return PROBES.blocks[:first] + PROBES.blocks[last:]


OTHER = "999/1/mono_prod"
KINDS = [
    # what, the criterion that must not pass, the parts of the evidence, the words of the reason
    ("zero traffic: no lookup of the cache", HITS, _looked_up(
        *_blocks(lambda end: hit_block(end, hits=0))), "nothing was counted"),
    ("zero traffic: no probe", LATENCY, _probed(
        *_blocks(lambda end: probe_block(end, good=0))), "nothing was counted"),
    ("empty result with 200", LATENCY, {"series": ()}, "nothing was measured"),
    ("empty observations with 200", ROWS, {"observations": ()}, "public.users: not measured"),
    ("a series without blocks", LATENCY, _probed(), "nothing was counted"),
    ("duplicate series", LATENCY, {"series": (PROBES, PROBES)}, "the same series twice"),
    ("duplicate observations that contradict", ROWS, {"observations": (
        *HEALTHY.observations, *observations(uuid_missing=3.0))}, "contradictory values"),
    ("duplicate target", LATENCY, {"targets": (*HEALTHY.targets, DATABASE_STATE)},
        "holds one target twice"),
    ("native histograms only", LATENCY, {"series": (replace(PROBES, edges=()),)},
        "latencies without bucket edges"),
    ("buckets without their last, +Inf", LATENCY, _probed(
        *_each(PROBES, buckets=(50, 0, 0))), "probes in its buckets"),
    ("buckets that do not add up", LATENCY, _probed(
        *_each(PROBES, total=500)), "50 probes in its buckets, 500 in all"),
    ("edges that do not ascend", LATENCY, {"series": (replace(PROBES, edges=(0.02, 0.01, 0.02)),)},
        "do not ascend"),
    ("no edge near the limit", LATENCY, {"series": (replace(
        probes(*_each(PROBES, buckets=(0, 50))), edges=(0.001,)),)}, "no affordable number"),
    ("more hits than requests: a reset of one counter", HITS, _looked_up(
        *_each(LOOKUPS, good=51)), "51 hits of 50 requests"),
    ("a count below 0: a reset taken as a fall", HITS, _looked_up(
        *_each(LOOKUPS, good=-50)), "a count below 0"),
    ("a count that no server has", LATENCY, _probed(
        *_each(PROBES, total=10**400, buckets=(10**400, 0, 0, 0))), "more than can be counted"),
    ("a block that ends before it begins", LATENCY, _probed(
        *_each(PROBES, start=NOW + 1)), "ends before it begins"),
    ("stale: the whole", LATENCY, {"generated": NOW - 600}, "600 s ago, older than"),
    ("stale: the counts alone", LATENCY, _probed(*_later(-200)), "counted until 20"),
    ("stale: the values alone", ROWS, {"observations": observations(NOW - 7_000)}, "older than"),
    ("future clock of the exporter", LATENCY, {"generated": NOW + 60}, "in the future"),
    ("future clock of the counts", LATENCY, _probed(*_later(60)), "in the future"),
    ("future clock of the values", ROWS, {"observations": observations(NOW + 60)},
        "in the future"),
    ("another window than was asked for", LATENCY, {"since": NOW - 100}, "begins"),
    ("two exporters summed", LATENCY, _probed(
        *PROBES.blocks, *_later(-5)), "two exporters"),
    ("a gap", LATENCY, _probed(*_without(8, 20)), "a gap of 120 s"),
    ("half of the time nobody measured", LATENCY, _probed(
        *PROBES.blocks[::3]), "nobody measured"),
    ("one of two tables missing", LATENCY, {"series": (probes(
        *PROBES.blocks, table="orders"), LOOKUPS)}, "public.users: nothing was measured"),
    ("another environment", LATENCY, {"environment": "staging"}, "of environment staging"),
    ("no environment stated", LATENCY, {"environment": ""}, "of environment none"),
    ("another server", LATENCY, {"targets": (
        replace(DATABASE_STATE, identity=OTHER), CACHE_STATE)}, "system identifier 999"),
    ("another database of the server", LATENCY, {"targets": (
        replace(DATABASE_STATE, identity=SERVER.replace("prod", "test")), CACHE_STATE)},
        "database mono_test, not mono_prod"),
    ("another server's series under our target", LATENCY, _probed(
        *_each(PROBES, identity=OTHER)), "nothing was counted"),
    ("series of nobody", LATENCY, _probed(*_each(PROBES, identity="")), "nothing was counted"),
    ("another cache", HITS, {"targets": (
        DATABASE_STATE, replace(CACHE_STATE, identity=CACHE.replace("6390", "6391")))},
        "the configuration names"),
    ("a target that the exporter does not measure", HITS, {"targets": (DATABASE_STATE,)},
        "no target cache"),
    ("a target that never answered", LATENCY, {"targets": (
        replace(DATABASE_STATE, identity=""), CACHE_STATE)}, "has not answered"),
    ("settings changed a moment ago", LATENCY, _probed(
        *PROBES.blocks[:-1], replace(PROBES.blocks[-1], settings_hash="other")), "more samples"),
    ("a promoted clone in the middle", LATENCY, _probed(
        *_each(replace(PROBES, blocks=PROBES.blocks[:-2]), identity=OTHER),
        *(probe_block(end, good=2_000) for end in ends(2))),
        "a span of 20 s"),
    ("too few", LATENCY, _probed(probe_block(NOW - 1)), "more samples like these are needed"),
    ("too short", LATENCY, _probed(
        *_blocks(lambda end: replace(probe_block(end, good=500), start=end - 1.0), 30, 1.0)),
        "a span of 30 s"),
    ("too bursty", LATENCY, _probed(*(
        probe_block(end, good=1_000, bad=300 * (i in (3, 9))) for i, end in enumerate(ends()))),
        "bursts"),
    ("bad at the end", LATENCY, _probed(*(
        replace(probe_block(end, good=10, bad=5 * (i >= 296)), start=end - 1.0)
        for i, end in enumerate(ends(300, 1.0)))), "bad at the end"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("criterion", "parts", "said"), [pytest.param(*row[1:], id=row[0]) for row in KINDS]
)
def test_evidence_that_decides_nothing_is_3(
    criterion: str, parts: dict[str, Any], said: str, pipeline: Pipeline
) -> None:
    pipeline.serve(**parts)
    check(pipeline, 3, said, "--criterion", criterion)
    # Beside criteria that pass it still closes the gate.
    assert pipeline.call()[0] == 3


def test_one_of_two_instances_missing_is_3(pipeline: Pipeline) -> None:
    replica = "identity:", 'replicas: {r1: {url: "postgresql://r1/mono_prod"}}\n  identity:'
    pipeline.config.write_text(pipeline.config.read_text().replace(*replica))
    check(pipeline, 3, "r1 public.users: nothing was", "--criterion", LATENCY)
    state = replace(DATABASE_STATE, name="r1", kind="replica")
    pipeline.serve(targets=(*HEALTHY.targets, state))
    check(pipeline, 3, "r1 public.users: nothing was", "--criterion", LATENCY)
    both = (*HEALTHY.series, probes(*PROBES.blocks, target="r1"))
    pipeline.serve(targets=(*HEALTHY.targets, state), series=both)
    check(pipeline, 0, "passed", "--criterion", LATENCY)


# -- evidence whose counters began anew: the exporter joins them, the verdict tells ----------------


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param("run-1", "run-2", id="restart inside the window"),
        pytest.param("run-1/0", "run-1/1", id="RESETSTAT"),
        pytest.param("run-1", "run-2, which has counted more", id="a reset hidden by overtaking"),
    ],
)
def test_counters_that_began_anew_are_joined_and_told(
    first: str, then: str, pipeline: Pipeline
) -> None:
    parts = (
        replace(block, epoch=first if i < 15 else then) for i, block in enumerate(LOOKUPS.blocks)
    )
    pipeline.serve(**_looked_up(*parts))
    code, out, _ = pipeline.call("--criterion", HITS, "--format", "json")
    assert (code, "counters restarted 1 times within the span" in out) == (0, True), out


# -- a service that is not fine --------------------------------------------------------------------


DOWN = [
    ("the database is down", HEALTH, {
        "targets": (replace(DATABASE_STATE, up=False), CACHE_STATE),
        "observations": observations(health=0.0)}),
    ("down since before the exporter's start", HEALTH, {
        "targets": (replace(DATABASE_STATE, up=False, identity="", epoch=""), CACHE_STATE),
        "series": (), "observations": observations(health=0.0)[:2]}),
    ("half healthy", HEALTH, {"observations": observations(health=0.5)}),
    ("every probe failed", LATENCY, _probed(
        *_blocks(lambda end: replace(probe_block(end, good=0), total=50, failed=50)))),
    ("every probe was skipped", LATENCY, _probed(
        *_blocks(lambda end: replace(probe_block(end, good=0), total=50, skipped=50)))),
    ("no hit at all", HITS, _looked_up(*_blocks(lambda end: hit_block(end, 50, 0)))),
    ("one row without UUID", ROWS, {"observations": observations(uuid_missing=1.0)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("criterion", "parts"), [pytest.param(*row[1:], id=row[0]) for row in DOWN]
)
def test_a_service_that_is_not_fine_is_1(
    criterion: str, parts: dict[str, Any], pipeline: Pipeline
) -> None:
    pipeline.serve(**parts)
    check(pipeline, 1, "FAILED", "--criterion", criterion)
    check(pipeline, 1, "FAILED")


# -- results of tests ------------------------------------------------------------------------------

CASE, SKIPPED = '<testcase name="a"/>', '<testcase name="b"><skipped/></testcase>'
ENTITIES = f'{XML}<!DOCTYPE t [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>'
RESULTS = [
    pytest.param("<testsuite/>", 3, "the files hold no test", id="without tests"),
    pytest.param(
        '<testsuite tests="9"/>', 3, "states 9 tests, and holds 0", id="tests by attribute alone"
    ),
    pytest.param(
        f"<testsuite>{SKIPPED}</testsuite>", 3, "no test ran, 1 were skipped", id="all skipped"
    ),
    pytest.param(
        f"{ENTITIES}<testsuite>&c;{CASE}</testsuite>", 4, "document type", id="entity expansion"
    ),
    pytest.param("<testsuite><testcase></testsuite>", 4, "not well-formed", id="malformed"),
    pytest.param(f"<testsuite>{CASE}", 4, "not well-formed", id="truncated"),
    pytest.param("", 4, "not well-formed", id="empty"),
    pytest.param("<html><body/></html>", 4, "begins with <html>", id="HTML"),
    pytest.param(f"<testsuite>{CASE}<!--{'x' * 2_000}--></testsuite>", 4, "larger than", id="huge"),
    pytest.param(
        '<testsuite><testcase name="a"><failure/></testcase></testsuite>',
        *(1, "1 of 1 tests failed"),
        id="a failure",
    ),
]


@pytest.mark.parametrize(("text", "code", "said"), RESULTS)
def test_results_of_tests(
    text: str, code: int, said: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(junit, "MOST_BYTES", 1_000)
    file = pipeline.folder / "results.xml"
    file.write_text(text)
    check(pipeline, code, said, "--criterion", "integration_tests", "--junit", str(file))


def test_results_of_tests_older_than_the_origin_are_3(pipeline: Pipeline) -> None:
    file, hour = pipeline.folder / "results.xml", 3_600
    file.write_text(f"<testsuite>{CASE}</testsuite>")
    asked = ("--criterion", "integration_tests", "--junit", str(file))
    check(pipeline, 0, "passed", *asked, "--since", str(time.time() - 60))
    os.utime(file, (time.time() - hour,) * 2)
    check(pipeline, 3, "before the time that was asked", *asked, "--since", str(time.time() - 60))


def test_results_of_tests_that_do_not_exist_are_4(pipeline: Pipeline) -> None:
    asked = ("--criterion", "integration_tests", "--junit", str(pipeline.folder / "*.xml"))
    check(pipeline, 4, "no such file", *asked)


# -- configurations --------------------------------------------------------------------------------

CONFIGURATIONS = [
    pytest.param("required: [nope]", "the text 'nope'", id="an unknown criterion"),
    pytest.param("nope: {max_age: 1m}", "criteria.nope", id="settings of an unknown criterion"),
    pytest.param("required: [health, health]", "a second time", id="a doubled criterion"),
    pytest.param("health: {}\n  health: {}", "the same key again", id="settings twice"),
    pytest.param("required: []", "criteria.required", id="an empty set of criteria"),
    pytest.param("required:", "criteria.required", id="no set of criteria"),
    pytest.param(
        "uuid_lookup_latency: {warning: 30ms, critical: 20ms}",
        "criteria.uuid_lookup_latency",
        id="contradictory limits",
    ),
    pytest.param(
        "cache_hit_rate: {warning: 0.5, critical: 0.9}",
        "criteria.cache_hit_rate",
        id="contradictory limits of a rate",
    ),
    pytest.param("cache_hit_rate: {warning: .nan}", "criteria.cache_hit_rate", id="a limit of NaN"),
    pytest.param(
        "uuid_lookup_latency: {warning: .inf}",
        "criteria.uuid_lookup_latency",
        id="no end of a limit",
    ),
    pytest.param(
        "uuid_lookup_latency: {confidence: 0}", "criteria.uuid_lookup_latency", id="no confidence"
    ),
]


@pytest.mark.parametrize(("line", "said"), CONFIGURATIONS)
def test_a_configuration_that_means_nothing_is_2(line: str, said: str, pipeline: Pipeline) -> None:
    text = CONFIG.replace("http://127.0.0.1:9", pipeline.server.url)
    pipeline.config.write_text(f"{text}\ncriteria:\n  {line}\n")
    check(pipeline, 2, said)
    assert pipeline.server.asked == []
