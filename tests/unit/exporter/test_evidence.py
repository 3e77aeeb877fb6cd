"""Blocks of evidence: what counts, where a block is cut, what is kept and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from phasegate.contract import metrics
from phasegate.contract.model import Block, Observation
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.contract.times import parse_time
from phasegate.exporter import evidence
from phasegate.exporter.evidence import LATENCY, EvidenceStore, Source
from phasegate.exporter.observations import find_observations, record_observations
from phasegate.exporter.runner import Snapshot, Status
from phasegate.exporter.targets import Identity, Target

EDGES = (0.01, 0.02)
USERS = ("uuid_lookup", "public", "users")
CACHE = Source("cache:6379", "run 1")
T = 1_000_000.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read(tmp_path, "evidence_block: 10s, evidence_retention: 60s, probe_interval: 200ms")


@pytest.fixture
def store(settings: Settings) -> EvidenceStore:
    made = EvidenceStore(started=T)
    made.use(settings, EDGES)
    return made


@pytest.fixture
def target() -> Target:
    return Target("database", "database", up=True, identity=identity())


def read(folder: Path, exporter: str) -> Settings:
    file = folder / "phasegate.yaml"
    file.write_text(
        "environment: test\n"
        "tables: [{name: public.users}]\n"
        f"exporter: {{{exporter}}}\n"
        "database: {url: 'postgresql://u@127.0.0.1:1/d'}\n",
        encoding="utf-8",
    )
    return load_settings(file, {})


def identity(timeline: int = 1, epoch: str = "1") -> Identity:
    return Identity("74", timeline, "mono", "primary", epoch)


def blocks(store: EvidenceStore, now: float = T, since: float = 0) -> list[Block]:
    return [block for series in store.series(since, now) for block in series.blocks]


def answered(at: float, seconds: float = 0.001) -> dict[str, Any]:
    return {"l": 0, "t": T + at, "s": seconds}


def test_each_probe_counts_in_its_bucket_and_what_failed_is_never_fast(
    store: EvidenceStore, target: Target
) -> None:
    for seconds in (0.001, 0.01, 0.0101, 0.5):
        store.probe(target, USERS, answered(1, seconds))
    store.probe(target, USERS, {"t": T + 2, "f": "57"})
    store.probe(target, USERS, {"t": T + 3, "k": "server_busy", "n": 4})
    [block] = blocks(store, T + 3)
    assert (block.total, block.buckets, block.failed, block.skipped) == (9, (2, 1, 1), 1, 4)
    assert block.open
    assert (block.identity, block.epoch) == ("74/1/mono", "1")
    assert (block.start, block.end) == (T + 0.5, T + 3)
    [series] = store.series(0, T + 3)
    assert (series.criterion, series.target, series.schema, series.table) == (
        *(LATENCY, "database"),
        *USERS[1:],
    )
    assert series.edges == EDGES


@pytest.mark.parametrize("reason", ["process_late", "no_key", "row_gone"])
def test_what_is_not_the_servers_doing_is_no_evidence(
    store: EvidenceStore, target: Target, reason: str
) -> None:
    store.probe(target, USERS, {"t": T, "k": reason, "n": 3})
    assert not blocks(store)


def test_other_lookups_are_not_judged(store: EvidenceStore, target: Target) -> None:
    store.probe(target, ("id_lookup", "public", "users"), answered(0))
    assert not blocks(store)


def test_of_a_target_that_never_answered_only_failures_stand(store: EvidenceStore) -> None:
    unknown = Target("database", "database")
    store.probe(unknown, USERS, answered(0))
    store.probe(unknown, USERS, {"t": T, "f": "08"})
    [block] = blocks(store)
    assert (block.identity, block.total, block.failed) == ("", 1, 1)


def test_blocks_follow_the_wall_clock(store: EvidenceStore, target: Target) -> None:
    for at in (8, 9.9, 10, 11):
        store.probe(target, USERS, answered(at))
    first, second = blocks(store, T + 11)
    assert (first.total, first.end, first.open) == (2, T + 9.9, False)
    assert (second.total, second.end, second.open) == (2, T + 11, True)


@pytest.mark.parametrize("now", [identity(timeline=2), identity(epoch="2")])
def test_another_server_or_epoch_cuts(store: EvidenceStore, target: Target, now: Identity) -> None:
    store.probe(target, USERS, answered(1))
    target.identity = now
    store.probe(target, USERS, answered(2))
    old, new = blocks(store, T + 2)
    assert (old.total, new.total) == (1, 1)
    assert (old.identity, old.epoch) != (new.identity, new.epoch)


def test_settings_cut_only_where_the_criterion_depends_on_them(
    store: EvidenceStore, target: Target, tmp_path: Path
) -> None:
    store.probe(target, USERS, answered(1))
    store.use(read(tmp_path, "partition_max_age: 30s"), EDGES)
    store.probe(target, USERS, answered(2))
    assert len(blocks(store, T + 2)) == 1
    store.use(read(tmp_path, "probe_interval: 300ms"), EDGES)
    store.probe(target, USERS, answered(3))
    old, new = blocks(store, T + 3)
    assert old.settings_hash != new.settings_hash


def test_other_edges_are_another_series(
    store: EvidenceStore, target: Target, settings: Settings
) -> None:
    store.probe(target, USERS, answered(1))
    store.use(settings, (0.01,))
    store.probe(target, USERS, answered(2))
    assert [series.edges for series in store.series(0, T + 2)] == [EDGES, (0.01,)]
    assert [len(block.buckets) for block in blocks(store, T + 2)] == [3, 2]


def test_since_leaves_out_what_began_before(store: EvidenceStore, target: Target) -> None:
    for at in (1, 11, 21):
        store.probe(target, USERS, answered(at, seconds=0.5))
    assert len(blocks(store, T + 21, since=T + 10.5)) == 2
    assert len(blocks(store, T + 21, since=T + 10.6)) == 1
    assert not store.series(T + 22, T + 22)


def test_counted_gains_have_the_time_over_which_they_were_gained(store: EvidenceStore) -> None:
    for at, total, good in ((0, 100, 100), (4, 10, 9), (8, 20, 18), (14, 0, 0)):
        store.count("cache_hit_rate", "cache", "server", CACHE, total=total, good=good, now=T + at)
    first, second = blocks(store, T + 14)
    assert (first.start, first.end, first.total, first.good) == (T, T + 8, 30, 27)
    assert (second.start, second.end, second.total) == (T + 8, T + 14, 0)
    assert (first.identity, first.epoch, first.buckets) == (*CACHE, ())


def test_more_hits_than_requests_are_not_believed(store: EvidenceStore) -> None:
    for at in (0, 1):
        store.count("cache_hit_rate", "p", "application", CACHE, total=3, good=4, now=T + at)
    [block] = blocks(store, T + 1)
    assert (block.total, block.good) == (3, 3)


def test_a_block_closes_by_itself_and_is_forgotten(store: EvidenceStore, target: Target) -> None:
    store.probe(target, USERS, answered(1))
    assert [block.open for block in blocks(store, T + 5)] == [True]
    assert [block.open for block in blocks(store, T + 30)] == [False]
    assert store.complete_since == T
    assert not blocks(store, T + 62)
    assert store.complete_since == T + 1


def test_memory_is_bounded(
    store: EvidenceStore, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_BLOCKS", 3)
    for slot in range(6):
        for table in ("a", "b"):
            store.probe(target, ("uuid_lookup", "public", table), answered(1 + 10 * slot))
    kept = [block for block in blocks(store, T + 51) if not block.open]
    assert [block.end for block in kept] == [T + 41, T + 31, T + 41]
    assert store.complete_since == T + 31


def test_a_restart_keeps_all_and_cuts(
    store: EvidenceStore, target: Target, settings: Settings
) -> None:
    for at in (1, 11):
        store.probe(target, USERS, answered(at))
        store.count("cache_hit_rate", "cache", "server", CACHE, total=5, good=4, now=T + at)
    before = store.series(0, T + 12)
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(store.dump()))
    again = EvidenceStore(started=T + 13)
    again.use(settings, EDGES)
    again.restore(kept)
    closed = [
        msgspec.structs.replace(
            series, blocks=tuple(msgspec.structs.replace(b, open=False) for b in series.blocks)
        )
        for series in before
    ]
    assert list(again.series(0, T + 13)) == closed
    assert again.complete_since == T
    again.probe(target, USERS, answered(14))
    again.count("cache_hit_rate", "cache", "server", CACHE, total=1, good=1, now=T + 14)
    assert [len(series.blocks) for series in again.series(0, T + 14)] == [3, 2]
    assert again.series(0, T + 14)[1].blocks[-1].start == T + 11


def run(*samples: Any, collector: str = "partitions", success: bool = True) -> Snapshot:
    status = Status(collector, success=success, duration=0.5, last_success=T, samples=samples)
    return Snapshot(T + 1, list(samples), [status])


def test_values_have_the_age_of_the_oldest_of_them(target: Target) -> None:
    sizes = [metrics.TABLE_SIZE(n, "public", f"a.{n}", "a") for n in (1, 2)]
    found = find_observations(run(*sizes, metrics.PARTITION_MAX_AGE(30)), {"database": target})
    name, observations = found["audit_partition_size", "partitions"]
    assert name == "database"
    assert [(o.subject, o.value) for o in observations] == [
        ('public."a.1"', 1),
        ('public."a.2"', 2),
    ]
    assert {o.time for o in observations} == {T - 30.5}


def test_an_incomplete_or_failed_run_replaces_nothing(store: EvidenceStore, target: Target) -> None:
    targets, known = {"database": target}, {"database": "74/1/mono"}
    size = metrics.TABLE_SIZE(1, "public", "a", "")
    skipped = metrics.PARTITIONS_SKIPPED(1, "locked")
    record_observations(store, run(size), targets, known)
    for later in (run(size, skipped), run(size, success=False)):
        later.statuses[0].last_success = T + 50
        record_observations(store, later, targets, known)
    sizes = [o for o in store.observations(0, targets) if o.criterion == "audit_partition_size"]
    assert [o.time for o in sizes] == [T - 0.5]


def test_values_of_another_server_are_not_served(store: EvidenceStore, target: Target) -> None:
    targets = {"database": target}
    size = metrics.TABLE_SIZE(1, "public", "a", "")
    record_observations(store, run(size), targets, {"database": "74/9/mono"})
    assert not store.observations(0, targets)
    record_observations(store, run(size), targets, {"database": "74/1/mono"})
    assert store.observations(0, targets)
    assert not store.observations(T, targets)
    target.identity = identity(timeline=2)
    assert not store.observations(0, targets)


def test_a_runway_without_end_is_a_number_and_nan_is_nothing(
    store: EvidenceStore, target: Target
) -> None:
    targets = {"database": target}
    for value, count in ((float("nan"), 0), (float("inf"), 1)):
        runway = metrics.PARTITION_RUNWAY(value, "public", "a")
        record_observations(store, run(runway), targets, {})
        found = [o for o in store.observations(0, targets) if "runway" in o.criterion]
        assert len(found) == count
    assert msgspec.json.decode(msgspec.json.encode(found), type=list[Observation]) == found


def test_missing_uuids_are_as_old_as_their_count(target: Target) -> None:
    samples = [
        metrics.UUID_MISSING(7, "public", "users"),
        metrics.UUID_MISSING_COUNTED(T - 100, "public", "users"),
    ]
    snapshot = Snapshot(T, samples, [])
    _, found = find_observations(snapshot, {"database": target})[
        "uuid_missing", "schema/uuid_missing"
    ]
    assert found == [Observation("uuid_missing", "database", "public.users", 7, T - 100)]


def test_a_target_that_is_down_is_measured_as_down(target: Target) -> None:
    target.up = False
    snapshot = run(collector="identity", success=False)
    _, [found] = find_observations(snapshot, {"database": target})["health", "identity"]
    assert (found.subject, found.value, found.time) == ("database", 0, T + 1)


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("1767225600.25", NEW_YEAR + 0.25),
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t01:00:00.5+01:00", NEW_YEAR + 0.5),
        ("2026-01-01T01:00:00 01:00", NEW_YEAR),
        ("2025-12-31 22:30:00.123456789-01:30", NEW_YEAR + 0.123456),
    ],
)
def test_times_that_are_read(text: str, expected: float) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "-1", "nan", "inf", "1e9", "1_000", "\u0661", "10m", "9" * 13),
        *("2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T24:30:00Z"),
        *("2026-01-01T00:00:00Z ", "2026-01-01T00:00:00+99:00"),
    ],
)
def test_times_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the page says what was expected)
        parse_time(text)


def test_a_cut_ends_every_block_and_what_comes_after_begins_another(store: EvidenceStore) -> None:
    source = Source("server", "1")
    for moment in (100.0, 101.0, 102.0):
        store.count("cache_hit_rate", "cache", "", source, total=10, good=9, now=moment)
    store.cut()
    store.count("cache_hit_rate", "cache", "", source, total=5, good=5, now=103.0)
    [series] = store.series(0, now=103.0)
    assert [(b.start, b.end, b.total, b.open) for b in series.blocks] == [
        (100.0, 102.0, 20, False),
        (102.0, 103.0, 5, True),
    ]
    [series] = store.series(101.5, now=103.0)
    assert [b.total for b in series.blocks] == [5]
