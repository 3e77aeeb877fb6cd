"""The performance baseline for people: figures that its counts carry, and what was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from phasegate.contract.baseline import Counted, encode_baseline, make_baseline
from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.model import Observation
from phasegate.validators.baseline_document import find_quantile, render_document
from phasegate.validators.sources import Request, baseline
from tests.fixtures.dossiers import (
    NOW,
    ends,
    make_block,
    make_evidence,
    make_settings,
    probe_block,
    probes,
)

ERRORS = ("error_rate",)


def latencies(*buckets: int, failed: int = 0) -> Counted:
    names = ("uuid_lookup_latency", "database", "", "public", "users", "i", "h")
    total = sum(buckets) + failed
    return Counted(
        *names, NOW - 60, NOW, 1, total, failed=failed, edges=(0.001, 0.01), buckets=buckets
    )


@pytest.mark.parametrize(
    ("counted", "share", "edge"),
    [
        (latencies(95, 5, 0), 0.95, 0.001),
        (latencies(94, 6, 0), 0.95, 0.01),
        (latencies(94, 0, 6), 0.95, None),
        (latencies(94, 0, 0, failed=6), 0.95, None),
        (latencies(1, 0, 0), 0.99, 0.001),
        (latencies(0, 0, 0), 0.5, None),
    ],
)
def test_a_quantile_is_the_edge_that_holds_it(
    counted: Counted, share: float, edge: float | None
) -> None:
    assert find_quantile(counted, share) == edge


def test_what_was_not_measured_is_said() -> None:
    document = render_document(make_baseline(make_evidence(series=(), observations=()), NOW, "1"))
    assert document.count("Not measured.") == 5
    assert document.startswith("# Performance baseline\n")


def test_figures_of_each_subject() -> None:
    blocks = [make_block(end, total=50, good=49, identity="x") for end in ends()]
    hits = replace(probes(*blocks), criterion="cache_hit_rate", target="cache", scope="server")
    observed = (
        Observation("audit_growth", "database", "a|b", 1_200.0, NOW - 60),
        Observation("audit_partition_size", "database", "p1", 2.0 * 2**30, NOW),
    )
    series = (
        probes(*(probe_block(end, bad=2, good=48) for end in ends())),
        replace(hits, schema="", table="", edges=()),
    )
    lines = render_document(
        make_baseline(make_evidence(series=series, observations=observed), NOW, "1")
    ).splitlines()
    [latency] = [line for line in lines if line.startswith("| public.users on database")]
    assert "| 1,500 | ≤ 1 ms | ≤ 1 ms | ≤ 20 ms | 0 |" in latency
    [rate] = [line for line in lines if line.startswith("| cache server")]
    assert "| 1,470 | 1,500 | 98.000% (" in rate
    assert "| a\\|b | 1,200 |" in lines
    assert "| p1 | 2 GiB |" in lines


def test_it_is_read_where_errors_are_asked_for_and_there_is_one(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    made = make_baseline(make_evidence(), NOW, "1")
    empty = Dossier(NOW)

    def found(*criteria: str, file: Path | None = None) -> Dossier:
        return baseline.fill(empty, Request(settings, criteria, 0, "exporter", baseline=file))

    assert found(*ERRORS).baseline is None
    place = tmp_path / "baseline.json"
    place.write_bytes(encode_baseline(made))
    assert found("health").baseline is None
    assert found(*ERRORS).baseline == made
    with pytest.raises(SourceUnavailable, match="No such file"):
        found(*ERRORS, file=tmp_path / "other.json")
    place.write_bytes(encode_baseline(made)[:-1])
    with pytest.raises(SourceError, match="was altered"):
        found(*ERRORS)
