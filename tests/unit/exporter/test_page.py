"""The landing page: whatever comes from outside is text, and a failure shows its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from phasegate.contract import metrics
from phasegate.contract.model import Observation, Sample
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.criteria_now import Held
from phasegate.exporter.page import render_page
from phasegate.exporter.remedies import REMEDIES
from phasegate.exporter.runner import Status
from phasegate.exporter.targets import Target
from tests.fixtures.dossiers import make_held_evidence

HOSTILE = "<script>alert('x')</script>"
SETTINGS = load_settings(None, {"DATABASE_URL": "postgresql://u:canary-4711@127.0.0.1/x"})
NOW = 1_767_225_600.0


def render(
    *statuses: Status,
    targets: Sequence[Target] = (),
    kept: Sequence[Sample] = (),
    observations: Sequence[Observation] = (),
) -> str:
    held = Held(
        make_held_evidence(NOW, observations), {status.collector: status for status in statuses}
    )
    return render_page(SETTINGS, targets, kept, held)


def test_text_from_outside_is_escaped_and_no_secret_is_shown() -> None:
    status = Status("partitions", reason="privilege", error=HOSTILE)
    sample = metrics.TABLE_SIZE(1024, "public", HOSTILE, "audit_logs")
    down = Observation("health", "", HOSTILE, 0, NOW)
    target = Target(HOSTILE, "replica")
    page = render(status, targets=[target], kept=[sample], observations=[down])
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 4
    assert "canary-4711" not in page


def test_a_failure_is_shown_with_its_reason_and_its_remedy() -> None:
    page = render(Status("partitions", reason="privilege"))
    assert "privilege" in page
    assert "phasegate init --grants" in page
    assert "never" in page


def test_each_criterion_has_its_verdict_its_limit_and_its_remedy() -> None:
    up, down = (
        Observation("health", "", name, value, NOW) for name, value in (("database", 1), ("api", 0))
    )
    page = render(observations=[up, down])
    assert "1 failed, 8 inconclusive, 0 passed" in page
    assert '<span class="bad">failed</span>' in page
    assert "api: down; limit up" in page
    assert "restore what does not answer" in page
    assert '<td data-is="limit">at most 10 ms, critical 20 ms</td>' in page
    assert "judged by validate" in page
    assert "1 passed" in render(observations=[up])


def test_what_has_not_run_yet_is_no_failure() -> None:
    page = render(Status("partitions"))
    assert '<span class="open">not run yet</span>' in page
    assert '<span class="bad">' not in page


def test_every_remedy_is_a_sentence_without_markup() -> None:
    assert all(text and "<" not in text for text in REMEDIES.values())
