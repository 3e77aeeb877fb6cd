"""The table of criteria: whole, in step with the settings, and its limits in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate.contract.criteria import (
    CRITERIA,
    Direction,
    Limit,
    expected_subjects,
    max_age,
    missing_source,
    passing_limit,
    thresholds,
)
from phasegate.contract.quantities import WITHOUT_END, format_value
from phasegate.contract.sections import Section, keys_of
from phasegate.contract.settings import Settings
from phasegate.contract.settings_criteria import Criteria
from phasegate.contract.settings_load import load_settings

MEASURED = """
database: {replicas: {r1: {url: "postgresql://127.0.0.1:1/d"}}}
cache: {url: "redis://127.0.0.1:1"}
exporter: {exact_count_interval: 100s, partition_max_age: 30s, evidence_block: 5s}
tables: [{name: public.users}]
audit: {table: log.audit, watch: [{table: public.roles}]}
health: [{name: api, url: "http://127.0.0.1:1/"}]
application:
  metrics_url: "http://127.0.0.1:1/"
  requests: {metric: requests_total}
  errors: {metric: errors_total}
issues: {signoff: {file: signoff.yaml}}
criteria:
  indexes_valid: {max_age: 7s}
  cache_hit_rate: {warning: 0.95}
  audit_partition_size: {critical: 30GiB}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "phasegate.yaml"
    file.write_text(MEASURED, encoding="utf-8")
    return load_settings(file, {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"})


@pytest.fixture
def bare() -> Settings:
    return load_settings(None, {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d"})


def test_every_criterion_has_its_section_and_every_section_in_effect_its_criterion() -> None:
    sections = {
        name: key for name, key in keys_of(Criteria).items() if isinstance(key.shape, Section)
    }
    assert set(CRITERIA) <= set(sections)
    assert set(CRITERIA) == {name for name, key in sections.items() if not key.effect_later}


@pytest.mark.parametrize("name", CRITERIA)
def test_whoever_can_set_a_limit_finds_it_in_both(name: str) -> None:
    section = keys_of(Criteria)[name].shape
    assert isinstance(section, Section)
    settable = {"warning", "critical"} & set(keys_of(section.of))
    assert bool(settable) is (CRITERIA[name].critical is not None)
    assert CRITERIA[name].remedy.strip(".") == CRITERIA[name].remedy != ""


@pytest.mark.parametrize("name", CRITERIA)
def test_critical_is_worse_than_warning(name: str) -> None:
    entry = CRITERIA[name]
    if entry.critical is not None:
        assert (entry.critical > entry.warning) is (entry.direction is Direction.ABOVE)


def test_limits_in_force(settings: Settings) -> None:
    assert thresholds(settings, "cache_hit_rate") == {"warning": 0.95, "critical": 0.8}
    size = {"warning": 10 * 2**30, "critical": 30 * 2**30}
    assert thresholds(settings, "audit_partition_size") == size
    assert thresholds(settings, "audit_growth") == {"warning": 10_000, "critical": 50_000}
    assert thresholds(settings, "health") == {}
    assert passing_limit(settings, "cache_hit_rate") == Limit(Direction.BELOW, 0.95, "ratio")
    assert passing_limit(settings, "uuid_missing") == Limit(Direction.ABOVE, 0, "rows")


def test_how_old_a_value_may_be_follows_its_schedule(settings: Settings) -> None:
    ages = {name: max_age(settings, name) for name in CRITERIA}
    assert ages["indexes_valid"] == 7
    assert ages["uuid_missing"] == 260
    assert ages["audit_partition_size"] == 95
    assert ages["health"] == 65


def test_what_must_have_been_measured(settings: Settings, bare: Settings) -> None:
    assert expected_subjects(settings, "health") == {"database", "r1", "cache", "api"}
    assert expected_subjects(settings, "uuid_missing") == {"public.users"}
    every = {"public.users", "log.audit", "public.roles"}
    assert expected_subjects(settings, "indexes_valid") == every
    assert expected_subjects(settings, "audit_partition_runway") == {"log.audit"}
    assert expected_subjects(bare, "health") == {"database"}
    assert expected_subjects(bare, "uuid_missing") == frozenset()


def test_settings_that_would_give_a_source_are_named(settings: Settings, bare: Settings) -> None:
    assert {missing_source(settings, name) for name in CRITERIA} == {""}
    assert missing_source(bare, "health") == ""
    assert missing_source(bare, "indexes_valid") == "tables or audit"
    assert missing_source(bare, "cache_hit_rate") == "cache or application.cache"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0098, "seconds", "9.8 ms"),
        (14 * 86_400, "seconds", "14 d"),
        (5_400, "seconds", "1.5 h"),
        (90, "seconds", "90 s"),
        (-7_200, "seconds", "-2 h"),
        (0, "seconds", "0 s"),
        (WITHOUT_END, "seconds", "without end"),
        (10 * 2**30, "bytes", "10 GiB"),
        (1_536, "bytes", "1.5 KiB"),
        (12, "bytes", "12 B"),
        (0.8954, "ratio", "89.54 %"),
        (1, "up", "up"),
        (0, "up", "down"),
        (12_345_678, "rows", "12,345,678 rows"),
        (0, "indexes", "0 indexes"),
        (0.25, "", "0.25"),
        (12, "", "12"),
    ],
)
def test_values_in_words(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text
