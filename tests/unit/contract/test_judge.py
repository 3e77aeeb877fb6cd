"""The judge: a boundary table for each criterion, and what of evidence is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from phasegate.contract.criteria import CRITERIA, Decision
from phasegate.contract.dossier import Dossier, Options, Problem, Trouble
from phasegate.contract.evidence import Evidence, TargetState
from phasegate.contract.judge import judge
from phasegate.contract.model import Judgement, Observation, Verdict
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import GATE_CRITERIA, SUCCESS_CRITERIA
from tests.fixtures.dossiers import (
    CONFIG,
    NOW,
    ONE_LOOK,
    SERVER,
    ends,
    hit_block,
    lookups,
    make_dossier,
    make_evidence,
    make_settings,
    observations,
    probe_block,
    probes,
)

PASSED, FAILED = Verdict.PASSED, Verdict.FAILED
INCONCLUSIVE, ERROR = Verdict.INCONCLUSIVE, Verdict.ERROR
LATENCY, HITS = "uuid_lookup_latency", "cache_hit_rate"
EXACT = sorted(name for name, entry in CRITERIA.items() if entry.decision is Decision.EXACT)
MEASURED = [*EXACT, LATENCY, HITS]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


def of_values(**values: float) -> Evidence:
    return make_evidence(observations=observations(**values))


def of_probes(bad: int, good: int, count: int = 30, **names: Any) -> Evidence:
    blocks = [probe_block(end, bad, good, **names) for end in ends(count)]
    return make_evidence(series=(probes(*blocks),))


def of_hits(misses: int, hits: int, count: int = 30) -> Evidence:
    return make_evidence(series=(lookups(*(hit_block(end, misses, hits) for end in ends(count))),))


DAY, GIB = 86_400.0, 2.0**30
BOUNDARIES = [
    # criterion, below its limit, at it, above it
    ("health", (of_values(health=0), FAILED), (of_values(), PASSED), None),
    (
        "backup_restored",
        (of_values(backup_restored=0), FAILED),
        (of_values(), PASSED),
        None,
    ),
    ("preflight", (of_values(preflight=0), FAILED), (of_values(), PASSED), None),
    (
        "uuid_missing",
        None,
        (of_values(), PASSED),
        (of_values(uuid_missing=1), FAILED),
    ),
    ("indexes_valid", None, (of_values(), PASSED), (of_values(indexes_valid=1), FAILED)),
    (
        "constraints_validated",
        None,
        (of_values(), PASSED),
        (of_values(constraints_validated=1), FAILED),
    ),
    (
        "audit_partition_size",
        (of_values(audit_partition_size=10 * GIB - 1), PASSED),
        (of_values(audit_partition_size=10 * GIB), PASSED),
        (of_values(audit_partition_size=10 * GIB + 1), FAILED),
    ),
    (
        "audit_partition_runway",
        (of_values(audit_partition_runway=14 * DAY - 1), FAILED),
        (of_values(audit_partition_runway=14 * DAY), PASSED),
        (of_values(audit_partition_runway=14 * DAY + 1), PASSED),
    ),
    (
        LATENCY,
        (of_probes(1, 99), PASSED),
        (of_probes(5, 95), INCONCLUSIVE),
        (of_probes(9, 91), FAILED),
    ),
    (
        HITS,
        (of_hits(16, 84), FAILED),
        (of_hits(10, 90), INCONCLUSIVE),
        (of_hits(5, 95), PASSED),
    ),
]
ROWS = [
    pytest.param(row[0], *case, id=f"{row[0]} {where}")
    for row in BOUNDARIES
    for where, case in zip(("below", "at", "above"), row[1:], strict=True)
    if case is not None
]


@pytest.mark.parametrize(("criterion", "evidence", "verdict"), ROWS)
def test_below_at_and_above_the_limit(
    criterion: str, evidence: Evidence, verdict: Verdict, settings: Settings
) -> None:
    found = judge(criterion, make_dossier(evidence), settings, ONE_LOOK)
    assert found.verdict is verdict, found
    assert found.reason
    assert bool(found.remedy) is (verdict is not PASSED)


@pytest.mark.parametrize("criterion", MEASURED)
def test_missing_stale_and_contradictory_evidence_decides_nothing(
    criterion: str, settings: Settings
) -> None:
    whole = make_evidence()
    later = make_dossier(replace(whole, generated=NOW + 10_000), judged=NOW + 10_000)
    empty = make_dossier(make_evidence(series=(), observations=()))
    early = NOW - 4
    twice = (*whole.observations, *_other_values(observations(early)))
    contradictory = make_dossier(
        replace(whole, observations=twice, series=whole.series + whole.series)
    )
    for spoiled, reason in ((later, "old"), (empty, "measured"), (contradictory, "")):
        found = judge(criterion, spoiled, settings, Options(since=NOW - 600))
        assert found.verdict is INCONCLUSIVE, (reason, found)
        assert reason in found.reason
    assert judge(criterion, make_dossier(), settings, ONE_LOOK).verdict is PASSED


def _other_values(found: tuple[Observation, ...]) -> list[Observation]:
    """Each on the other side of its limit."""
    bad = dict.fromkeys(("health", "backup_restored", "preflight"), 0.0)
    bad["audit_partition_runway"] = 1.0
    return [replace(one, value=bad.get(one.criterion, 1e12)) for one in found]


def test_everything_that_a_gate_asks_for_can_be_measured() -> None:
    assert {*SUCCESS_CRITERIA, *GATE_CRITERIA} <= CRITERIA.keys()


def test_a_criterion_without_its_configuration_names_the_key(tmp_path: Path) -> None:
    bare = make_settings(tmp_path, "database: {url: postgresql://db/x}")
    for criterion, key in ((LATENCY, "tables"), (HITS, "cache"), ("uuid_missing", "tables")):
        found = judge(criterion, make_dossier(), bare, ONE_LOOK)
        assert found.verdict is INCONCLUSIVE
        assert key in found.remedy
    nowhere = judge("health", Dossier(judged=NOW), bare, ONE_LOOK)
    assert (nowhere.verdict, nowhere.remedy) == (INCONCLUSIVE, "configure exporter.url")


@pytest.mark.parametrize("criterion", MEASURED)
def test_an_exporter_that_cannot_be_read_is_an_error(criterion: str, settings: Settings) -> None:
    problem = Problem("exporter", Trouble.UNREACHABLE, "exporter: refused")
    found = judge(criterion, Dossier(judged=NOW, problems=(problem,)), settings, ONE_LOOK)
    assert (found.verdict, found.reason) == (ERROR, "exporter: refused")


def _targets(database: str = SERVER, cache: str | None = None) -> tuple[TargetState, ...]:
    known = make_evidence().targets
    return (
        replace(known[0], identity=database),
        known[1] if cache is None else replace(known[1], identity=cache),
    )


UNBELIEVED = [
    pytest.param({"environment": "staging"}, "environment staging", id="another environment"),
    pytest.param({"environment": ""}, "environment none", id="no environment"),
    pytest.param({"version": 2}, "version 2", id="another version"),
    pytest.param({"generated": NOW + 60}, "future", id="a clock ahead"),
    pytest.param({"generated": NOW - 300}, "300 s ago", id="a clock behind, or stale"),
    pytest.param({"since": NOW - 10}, "begins", id="another window"),
    pytest.param({"targets": _targets() * 2}, "twice", id="a target twice"),
]


@pytest.mark.parametrize(("parts", "said"), UNBELIEVED)
@pytest.mark.parametrize("criterion", MEASURED)
def test_evidence_that_is_not_believed_decides_nothing(
    criterion: str, parts: dict[str, Any], said: str, settings: Settings
) -> None:
    found = judge(criterion, make_dossier(make_evidence(**parts)), settings, ONE_LOOK)
    assert found.verdict is INCONCLUSIVE
    assert said in found.reason


OTHERS = [
    pytest.param(_targets("999/1/mono_prod"), "999", id="another server"),
    pytest.param(_targets("7412345678901234567/1/mono_test"), "mono_test", id="another database"),
    pytest.param(_targets(""), "not answered", id="a server that never answered"),
    pytest.param(_targets()[1:], "no target database", id="a target that is not measured"),
]


@pytest.mark.parametrize(("targets", "said"), OTHERS)
@pytest.mark.parametrize("criterion", [*EXACT, LATENCY])
def test_evidence_of_another_server_is_none(
    criterion: str, targets: tuple[TargetState, ...], said: str, settings: Settings
) -> None:
    found = judge(criterion, make_dossier(make_evidence(targets=targets)), settings, ONE_LOOK)
    assert found.verdict is INCONCLUSIVE
    assert said in found.reason


def test_another_cache_than_the_configured_one_decides_nothing(settings: Settings) -> None:
    dossier = make_dossier(identities={"cache": "redis://other:6379/0/0/0"})
    found = judge(HITS, dossier, settings, ONE_LOOK)
    assert found.verdict is INCONCLUSIVE
    assert "redis://other:6379" in found.reason


def test_without_a_pinned_identity_the_server_itself_must_be_the_one(tmp_path: Path) -> None:
    loose = make_settings(tmp_path, CONFIG.replace("identity:", "# identity:"))
    nobody = judge(LATENCY, make_dossier(), loose, ONE_LOOK)
    assert nobody.verdict is INCONCLUSIVE
    assert "database.identity" in nobody.reason
    same = make_dossier(identities={"database": SERVER})
    assert judge(LATENCY, same, loose, ONE_LOOK).verdict is PASSED
    clone = make_dossier(identities={"database": SERVER.replace("/1/", "/2/")})
    assert judge(LATENCY, clone, loose, ONE_LOOK).verdict is INCONCLUSIVE
    problem = Problem("database", Trouble.UNREACHABLE, "database: refused")
    refused = judge(LATENCY, make_dossier(problems=(problem,)), loose, ONE_LOOK)
    assert (refused.verdict, refused.reason) == (ERROR, "database: refused")


def test_a_target_that_is_down_fails_health_though_nobody_knows_which_it_is(
    settings: Settings,
) -> None:
    down = make_evidence(targets=_targets(""), observations=observations(health=0.0))
    assert judge("health", make_dossier(down), settings, ONE_LOOK).verdict is FAILED
    other = make_evidence(targets=_targets("9/1/x"), observations=observations(health=0.0))
    only = tuple(one for one in other.observations if one.target == "database")
    found = judge("health", make_dossier(replace(other, observations=only)), settings, ONE_LOOK)
    assert found.verdict is INCONCLUSIVE


def test_a_replica_counts_only_as_a_standby_of_the_database(tmp_path: Path) -> None:
    text = CONFIG.replace(
        "\ncache:", "\n  replicas: {r1: {url: postgresql://r1/mono_prod}}\ncache:"
    )
    replicated = make_settings(tmp_path, text)

    def judged(identity: str, *, measured: bool = True) -> Verdict:
        replica = TargetState("r1", "replica", up=True, identity=identity, epoch="e")
        series = (
            probes(*(probe_block(end) for end in ends())),
            probes(*(probe_block(end, identity=identity) for end in ends()), target="r1"),
        )
        whole = make_evidence(
            targets=(*make_evidence().targets, replica), series=series[: 1 + measured]
        )
        return judge(LATENCY, make_dossier(whole), replicated, ONE_LOOK).verdict

    assert judged(SERVER) is PASSED
    assert judged(SERVER, measured=False) is INCONCLUSIVE
    assert judged("9/1/mono_prod") is INCONCLUSIVE


def test_the_application_s_own_counts_are_judged_where_there_are_any(tmp_path: Path) -> None:
    own = make_settings(
        tmp_path,
        CONFIG + "application:\n  metrics_url: http://app/metrics\n"
        "  cache: {requests: a_total, hits: b_total}\n",
    )
    identities = {"cache": "redis://127.0.0.1:6390/0/0/0", "application": "http://app/metrics"}
    good = lookups(*(hit_block(end) for end in ends()))
    bad = lookups(
        *(hit_block(end, 50, 50, identity="http://app/metrics") for end in ends()),
        scope="application",
        target="permissions",
    )
    both = make_dossier(make_evidence(series=(good, bad)), identities=identities)
    found = judge(HITS, both, own, ONE_LOOK)
    assert (found.verdict, found.facts["scope"]) == (FAILED, "application")
    alone = make_dossier(make_evidence(series=(good,)), identities=identities)
    assert judge(HITS, alone, own, ONE_LOOK).verdict is INCONCLUSIVE
    other = make_dossier(both.evidence, identities=identities | {"application": "http://other"})
    assert judge(HITS, other, own, ONE_LOOK).verdict is INCONCLUSIVE


def test_what_was_measured_before_the_origin_is_no_evidence(settings: Settings) -> None:
    since = Options(since=NOW - 100, values_since=NOW - 1, anytime=True, min_span=30)
    assert judge("uuid_missing", make_dossier(), settings, since).verdict is INCONCLUSIVE
    found = judge(LATENCY, make_dossier(), settings, since)
    [subject] = found.facts["subjects"]
    assert subject["start"] >= NOW - 100
    assert found.facts["rule"]["anytime"]


LOOSE = """
criteria:
  uuid_lookup_latency:
    {warning: 15ms, critical: 30ms, confidence: 0.8, assumed_dispersion: 1, min_span: 10s,
     max_age: 10m}
  cache_hit_rate: {warning: 0.5, critical: 0.4}
  audit_partition_runway: {warning: 1d, critical: 1h}
"""


def test_what_is_loosened_is_told(tmp_path: Path, settings: Settings) -> None:
    loose = make_settings(tmp_path, CONFIG + LOOSE)
    told = {
        name: "; ".join(judge(name, make_dossier(), loose, ONE_LOOK).facts["loosened"])
        for name in MEASURED
    }
    assert told[LATENCY] == (
        "limit 15 ms instead of 10 ms; age 10m instead of 70s; confidence 0.8 instead of 0.95; "
        "assumed dispersion 1 instead of 2; span 10s instead of 1m"
    )
    assert told[HITS] == "limit 50 % instead of 90 %"
    assert told["audit_partition_runway"] == "limit 1 d instead of 14 d"
    assert told["health"] == ""
    asked = replace(ONE_LOOK, min_span=5.0, max_age=300.0, confidence=0.9)
    by_flags = judge(LATENCY, make_dossier(), settings, asked).facts["loosened"]
    assert [text.split()[0] for text in by_flags] == ["age", "confidence", "span"]
    strict = replace(ONE_LOOK, min_span=120.0, max_age=20.0, confidence=0.99)
    assert judge(LATENCY, make_dossier(), settings, strict).facts["loosened"] == ()


def test_a_gate_wants_a_longer_span_than_a_look(settings: Settings) -> None:
    assert judge(LATENCY, make_dossier(), settings, ONE_LOOK).verdict is PASSED
    gate = judge(LATENCY, make_dossier(), settings, replace(ONE_LOOK, phase="validation"))
    assert gate.verdict is INCONCLUSIVE
    assert "shorter than 900 s" in gate.reason


def test_evidence_that_begins_late_is_told(settings: Settings) -> None:
    late = make_evidence(complete_since=NOW - 290)
    found: Judgement = judge(LATENCY, make_dossier(late), settings, ONE_LOOK)
    assert found.verdict is PASSED
    assert "complete only from 310 s" in found.facts["notes"][0]
