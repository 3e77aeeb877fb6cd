"""What a preflight decides: at, above and below each limit, and where nothing is known."""

from __future__ import annotations

import pytest

from phasegate.migrate import findings as f

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "value"), [(2 * GIB + 99, 0.0), (2 * GIB + 100, 1.0), (None, None)]
)
def test_disk_needs_twice_the_tables_and_the_log(free: int | None, value: float | None) -> None:
    found = f.evaluate_disk(GIB, 100, free, "/data")
    assert found.value == value
    if value == 0.0:
        assert "needs 2.0 GiB, has 2.0 GiB" in found.remedy
    if value is None:
        assert "state migrate.preflight.free_disk" in found.remedy


@pytest.mark.parametrize(("limit", "value"), [(2 * GIB - 1, 0.0), (2 * GIB, 1.0), (None, None)])
def test_the_cache_needs_two_gibibytes(limit: int | None, value: float | None) -> None:
    assert f.evaluate_cache_memory(limit, "allkeys-lru").value == value


@pytest.mark.parametrize(
    ("append_only", "save", "value"),
    [
        (False, "", 0.0),
        (False, "900 1", 1.0),
        (True, "", 1.0),
        (True, None, 1.0),
        (False, None, None),
    ],
)
def test_persistence(append_only: bool, save: str | None, value: float | None) -> None:
    assert f.evaluate_persistence(append_only, save).value == value


@pytest.mark.parametrize(
    ("version", "value"),
    [(130_022, 0.0), (140_003, 0.0), (140_004, 1.0), (180_000, 1.0)],
)
def test_versions(version: int, value: float) -> None:
    assert f.evaluate_version(version).value == value


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (f.evaluate_cpu(0.79, 0.8), 1.0),
        (f.evaluate_cpu(0.8, 0.8), 0.0),
        (f.evaluate_cpu(None, 0.8), None),
        (f.evaluate_transactions(300, 0), 1.0),
        (f.evaluate_transactions(301, 0), 0.0),
        (f.evaluate_transactions(0, 1), 0.0),
        (f.evaluate_replication("replica", 10, []), 1.0),
        (f.evaluate_replication("replica", 11, []), 0.0),
        (f.evaluate_replication("replica", 0, ["idle"]), 0.0),
        (f.evaluate_privileges([], [], makes_schema=True), 1.0),
        (f.evaluate_privileges(["public.t"], [], makes_schema=True), 0.0),
        (f.evaluate_privileges([], ["public"], makes_schema=True), 0.0),
        (f.evaluate_privileges([], [], makes_schema=False), 0.0),
        (f.evaluate_backup_age(None), 0.0),
        (f.evaluate_backup_age(86_400), 1.0),
        (f.evaluate_backup_age(86_401), 0.0),
        (f.evaluate_duration("online", None), 1.0),
        (f.evaluate_duration("maintenance", None), None),
        (f.evaluate_duration("maintenance", 60), 1.0),
        (f.evaluate_framework([]), 1.0),
        (f.evaluate_framework(["public: 001"]), 0.0),
    ],
)
def test_the_others(found: f.Finding, value: float | None) -> None:
    assert found.value == value
    assert found.found
    assert found.needed
    assert found.facts()["value"] == value
    assert bool(found.facts()["remedy"]) == (value != 1.0)
    assert len(f.render_findings([found])) == (1 if value == 1.0 else 3)
