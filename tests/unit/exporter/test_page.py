"""The landing page: whatever comes from outside is text, and a failure shows its remedy."""

from __future__ import annotations

from phasegate.contract import metrics
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.page import render_page
from phasegate.exporter.remedies import REMEDIES
from phasegate.exporter.runner import Status
from phasegate.exporter.targets import Target

HOSTILE = "<script>alert('x')</script>"
SETTINGS = load_settings(None, {"DATABASE_URL": "postgresql://u:canary-4711@127.0.0.1/x"})


def test_text_from_outside_is_escaped_and_no_secret_is_shown() -> None:
    status = Status("partitions", reason="privilege", error=HOSTILE)
    sample = metrics.TABLE_SIZE(1024, "public", HOSTILE, "audit_logs")
    page = render_page(SETTINGS, [Target(HOSTILE, "replica")], [status], [sample])
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") == 3
    assert "canary-4711" not in page


def test_a_failure_is_shown_with_its_reason_and_its_remedy() -> None:
    page = render_page(SETTINGS, [], [Status("partitions", reason="privilege")], [])
    assert "privilege" in page
    assert "phasegate init --grants" in page
    assert "never" in page


def test_every_remedy_is_a_sentence_without_markup() -> None:
    assert all(text and "<" not in text for text in REMEDIES.values())
