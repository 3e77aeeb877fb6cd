"""Each criterion and its twin in PromQL say the same of the same series, in a real Prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from phasegate.contract.criteria import CRITERIA, Decision
from phasegate.contract.model import Verdict
from phasegate.contract.promql import CACHE_HIT_RATE, UUID_LOOKUP_P95, make_records, make_twin
from tests.fixtures.dossiers import NOW
from tests.fixtures.presence import require_present
from tests.fixtures.scraped import LOOKUP, Scraped, healthy
from tests.fixtures.timeseries import timeseries

WINDOW = 600.0
LATENCY, HIT_RATE = "uuid_lookup_latency", "cache_hit_rate"
BUCKET, COUNT = "db_query_duration_seconds_bucket", "db_query_duration_seconds_count"
# The guide's own query, to the letter.
GUIDE_QUERY = "rate(cache_hits_total[5m]) / rate(cache_requests_total[5m])"


def bad_share(scraped: Scraped, tries: int, good: int) -> None:
    """Of so many tries between two scrapes so many are good."""
    scraped.change(BUCKET, lambda at, _: 1_000.0 + tries * at)
    scraped.change(COUNT, lambda at, _: 1_000.0 + tries * at)
    for edge in ("0.001", "0.01"):
        scraped.change(BUCKET, lambda at, _: 1_000.0 + good * at, le=edge)
    scraped.change("cache_requests_total", lambda at, _: 1_000.0 + tries * at)
    scraped.change("cache_hits_total", lambda at, _: 900.0 + good * at)


def below(scraped: Scraped) -> None:
    bad_share(scraped, 50, 49)


def above(scraped: Scraped) -> None:
    bad_share(scraped, 50, 40)
    for name, value in (
        ("phasegate_uuid_missing_rows", 3.0),
        ("phasegate_invalid_indexes", 1.0),
        ("phasegate_constraints_unvalidated", 2.0),
        ("pg_table_size_bytes", 11.0 * 2**30),
        ("phasegate_audit_partition_runway_seconds", 86_400.0),
    ):
        scraped.change(name, lambda *_, value=value: value)
    scraped.change("phasegate_up", lambda *_: 0.0, target="cache")


def failing(scraped: Scraped) -> None:
    """The lookups that are answered are fast, and too many are not."""
    bad_share(scraped, 50, 50)
    labels = {"target": "database", **LOOKUP, "class": "57"}
    scraped.add("phasegate_probe_failures_total", lambda at, _: 1_000.0 + 10 * at, **labels)


def still(scraped: Scraped) -> None:
    bad_share(scraped, 0, 0)
    for row in list(scraped.rows):
        name = row.labels["__name__"]
        if name.startswith(("phasegate_uuid", "phasegate_inv", "phasegate_con", "phasegate_audit")):
            scraped.drop(name)
    scraped.drop("pg_table_size_bytes")


def nothing(scraped: Scraped) -> None:
    scraped.rows.clear()


CASES = {"below": below, "above": above, "failing": failing, "still": still, "nothing": nothing}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scraped]:
    found = {}
    for name, spoil in CASES.items():
        found[name] = healthy(tmp_path_factory.mktemp(name))
        spoil(found[name])
    return found


@pytest.fixture(scope="module")
def shift() -> float:
    """Seconds from the time of the histories to an hour ago: none is of the future."""
    return math.floor(time.time()) - 3_600 - NOW


@pytest.fixture(scope="module")
def prometheus(
    scraped: dict[str, Scraped], shift: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Its address; it holds every case under a job of its name."""
    folder = tmp_path_factory.mktemp("tsdb")
    program = shutil.which("promtool")
    require_present("promtool", program is not None)
    history = folder / "history.om"
    lines = [line for name, one in scraped.items() for line in render(name, one, shift)]
    history.write_text("\n".join([*lines, "# EOF\n"]), encoding="utf-8")
    blocks = ["tsdb", "create-blocks-from", "openmetrics", str(history), str(folder / "data")]
    subprocess.run([str(program), *blocks], check=True, capture_output=True)
    with timeseries("prometheus", folder, data=folder / "data") as (_, url):
        yield url


def render(job: str, scraped: Scraped, shift: float) -> Iterator[str]:
    for row in scraped.rows:
        given = {**row.labels, "job": job}
        labels = ",".join(f'{k}="{v}"' for k, v in given.items() if k != "__name__")
        for moment, value in row.points:
            text = "+Inf" if math.isinf(value) else repr(value)
            yield f"{row.labels['__name__']}{{{labels}}} {text} {moment + shift:.3f}"


def ask(url: str, query: str, moment: float) -> list[float]:
    """The values that an expression has at that time."""
    asked = urllib.parse.urlencode({"query": query, "time": f"{moment:.3f}"})
    with urllib.request.urlopen(f"{url}/api/v1/query?{asked}", timeout=10) as answer:  # noqa: S310
        found = json.load(answer)
    assert not found.get("warnings")
    return [float(one["value"][1]) for one in found["data"]["result"]]


# What the journal of a migration says is asked by its gates alone.
OF_A_MIGRATION = {"backup_restored", "preflight"}
TWINNED = [
    name
    for name, entry in CRITERIA.items()
    if entry.decision in (Decision.COUNTS, Decision.EXACT) and name not in OF_A_MIGRATION
]


@pytest.mark.parametrize("criterion", TWINNED)
@pytest.mark.parametrize("case", CASES)
def test_the_verdict_and_its_twin_are_on_the_same_side(
    case: str, criterion: str, prometheus: str, scraped: dict[str, Scraped], shift: float
) -> None:
    one = scraped[case]
    twin = make_twin(one.settings, criterion, WINDOW, {"job": case})
    assert twin is not None
    judged = one.judge(criterion)
    bad = ask(prometheus, twin.bad, NOW + shift)
    assert bool(bad) is (judged.verdict is Verdict.FAILED), (twin, judged)
    assert all(math.isfinite(value) for value in bad)
    if not twin.share:
        return
    shares = ask(prometheus, twin.share, NOW + shift)
    totals = ask(prometheus, twin.total, NOW + shift)
    if judged.verdict is Verdict.INCONCLUSIVE:
        # Neither 0 nor NaN.
        assert shares == []
        assert [total for total in totals if total] == []
        return
    [subject] = judged.facts["subjects"]
    assert shares == [pytest.approx(subject["share"], rel=1e-9)]
    # It is extrapolated from the scrapes to the window.
    assert totals == [pytest.approx(subject["total"], rel=0.05)]


RECORDED = {LATENCY: (UUID_LOOKUP_P95, "> 0.01"), HIT_RATE: (CACHE_HIT_RATE, "< 0.9")}


@pytest.mark.parametrize("criterion", RECORDED)
@pytest.mark.parametrize("case", CASES)
def test_what_is_recorded_is_beyond_its_limit_where_the_twin_is_bad(
    case: str, criterion: str, prometheus: str, scraped: dict[str, Scraped], shift: float
) -> None:
    settings, (name, beyond) = scraped[case].settings, RECORDED[criterion]
    records = dict(make_records({"job": case}, WINDOW))
    twin = make_twin(settings, criterion, WINDOW, {"job": case})
    assert twin is not None
    alarm = ask(prometheus, f"({records[name]}) {beyond}", NOW + shift)
    assert len(alarm) == len(ask(prometheus, twin.bad, NOW + shift))
    values = ask(prometheus, records[name], NOW + shift)
    assert len(values) == len(ask(prometheus, twin.share, NOW + shift))
    assert all(math.isfinite(value) for value in values)


def test_the_guides_hit_rate_is_finite_with_traffic_and_decides_nothing_without(
    prometheus: str, scraped: dict[str, Scraped], shift: float
) -> None:
    by_job = {
        case: ask(prometheus, GUIDE_QUERY.replace("[5m]", f'{{job="{case}"}}[5m]'), NOW + shift)
        for case in ("below", "still")
    }
    assert by_job["below"] == [pytest.approx(0.98)]
    assert math.isnan(by_job["still"][0])
    verbatim = ask(prometheus, GUIDE_QUERY, NOW + shift)
    assert sum(math.isfinite(value) for value in verbatim) == len(verbatim) - 1 == 3
    assert scraped["below"].judge(HIT_RATE).verdict is Verdict.PASSED
    assert scraped["still"].judge(HIT_RATE).verdict is Verdict.INCONCLUSIVE
    twin = make_twin(scraped["still"].settings, HIT_RATE, 300, {"job": "still"})
    assert twin is not None
    assert ask(prometheus, twin.bad, NOW + shift) == ask(prometheus, twin.share, NOW + shift) == []


def test_what_no_series_carries_has_no_twin(scraped: dict[str, Scraped]) -> None:
    settings = scraped["below"].settings
    assert make_twin(settings, "integration_tests", WINDOW) is None
