"""The reports for CI and pages: every verdict has its place, and hostile text stays text."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from phasegate import cli
from phasegate.contract.dossier import Dossier, Options
from phasegate.contract.evidence import Override
from phasegate.contract.model import Judgement, Verdict
from phasegate.validators.command import validate
from phasegate.validators.gate import assess
from phasegate.validators.report import format_names, render, render_summary
from phasegate.validators.sources.junit import read_results
from phasegate.validators.verdict import EvidenceFacts, Report, combine, exit_code
from tests.fixtures.dossiers import CONFIG, NOW, make_settings

# What a JUnit file may hold, and where: element -> its parents, and its attributes.
SCHEMA = {
    "testsuites": ({""}, {"tests", "failures", "errors"}),
    "testsuite": (
        {"testsuites"},
        {"name", "tests", "failures", "errors", "skipped", "timestamp"},
    ),
    "properties": ({"testsuite"}, set()),
    "property": ({"properties"}, {"name", "value"}),
    "testcase": ({"testsuite"}, {"classname", "name"}),
    "failure": ({"testcase"}, {"type", "message"}),
    "error": ({"testcase"}, {"type", "message"}),
    "system-out": ({"testcase"}, set()),
}
HOSTILE = (
    "a|b\n::error::x\r\n##[add-mask]y ]]> <script>alert(1)</script> &amp; \x00\x1b[31m\x9b1m\u202e"
    " \ud800 \ufffe `code` [l](http://e) ![i](//e) **b** _i_ ~~s~~"
    " @user #1 https://e www.e 50%, \\|"
)
Make = Callable[..., Report]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    empty = assess((), Dossier(NOW), make_settings(tmp_path), Options())

    def report(*verdicts: Verdict, said: str = "said", names: str = "criterion_{}") -> Report:
        judgements = tuple(
            Judgement(
                *(
                    names.format(i),
                    one,
                    f"why {said}",
                    "" if one is Verdict.PASSED else f"do {said}",
                ),
                facts={"loosened": (f"limit {said}",)},
            )
            for i, one in enumerate(verdicts)
        )
        whole = combine(judgements)
        return replace(empty, judgements=judgements, verdict=whole, exit_code=exit_code(whole))

    return report


EACH = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.ERROR)


def walk(element: ET.Element, parent: str = "") -> None:
    parents, attributes = SCHEMA[element.tag]
    assert parent in parents
    assert set(element.attrib) == attributes
    for child in element:
        walk(child, element.tag)


@pytest.mark.parametrize("said", ["said", HOSTILE], ids=["plain", "hostile"])
def test_junit_has_its_form_and_is_never_green_by_mistake(make: Make, said: str) -> None:
    root = ET.fromstring(render("junit", make(*EACH, said=said)))  # noqa: S314
    walk(root)
    [suite] = root
    assert [(c.tag, len(list(c))) for c in suite if c.tag == "testcase"] == [("testcase", 1)] + [
        ("testcase", 2)
    ] * 3
    kinds = [next((k.tag for k in case if k.tag != "system-out"), "") for case in suite[1:]]
    assert kinds == ["", "failure", "error", "error"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "2")
    assert suite.get("skipped") == "0"
    assert root.find(".//skipped") is None
    for case in suite[1:]:
        assert "loosened: limit" in (case.findtext("system-out") or "")


@pytest.mark.parametrize("verdict", EACH)
def test_our_own_reading_of_our_own_report_is_the_same_verdict(
    make: Make, verdict: Verdict, tmp_path: Path
) -> None:
    file = tmp_path / "own.xml"
    file.write_text(render("junit", make(verdict, verdict, said=HOSTILE)))
    os.utime(file, (NOW + 60, NOW + 60))
    found = read_results(file)
    assert (found.passed, found.failed) == ((2, 0) if verdict is Verdict.PASSED else (0, 2))
    assert (found.skipped, found.contradiction) == (0, "")
    assert found.time == NOW


def test_markdown_holds_every_verdict_with_its_next_step(make: Make) -> None:
    lines = render("markdown", make(*EACH)).splitlines()
    assert lines[0] == "### ❌ FAILED: 1 of 4 criteria passed (exit 1)"
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert [row.split("|")[3].strip() for row in rows] == list(EACH)
    nexts = [line for line in lines if line.startswith("- next for")]
    assert [line[-len("0: do said") :] for line in nexts] == [
        "1: do said",
        "3: do said",
        "2: do said",
    ]
    assert sum("loosened: limit said" in line for line in lines) == 4


def test_hostile_text_is_no_markdown(make: Make) -> None:
    text = render("markdown", make(*EACH, said=HOSTILE))
    lines = text.splitlines()
    rows = [line for line in lines if line.startswith("| ")][2:]
    assert [row.count("|") for row in rows] == [5] * 4
    # Of each kind of line nothing but its own signs is left.
    said = re.sub(r"&#[0-9]+;", "", "".join(row.split("|")[4] for row in rows))
    assert not set(said) & set("\\`*_[]<>#!~&@$")
    assert "//" not in text.replace("&#58;//", "").replace("(//e)", "")
    assert all(char.isprintable() or char == "\n" for char in text)


def test_github_annotates_the_worst_first_at_most_ten(make: Make) -> None:
    lines = render("github", make(*EACH)).splitlines()
    assert lines[:3] == [
        "::error title=criterion_1%3A failed::why said. Next: do said",
        "::error title=criterion_3%3A error::why said. Next: do said",
        "::warning title=criterion_2%3A inconclusive::why said. Next: do said",
    ]
    many = render("github", make(*[Verdict.INCONCLUSIVE] * 12, Verdict.FAILED)).splitlines()
    told = [line for line in many if line.startswith(("::error", "::warning"))]
    assert len(told) == 10
    assert told[0].startswith("::error title=criterion_12")
    assert told[-1].startswith("::error") is True
    assert all(f"criterion_{i}" in told[-1] for i in (8, 9, 10, 11))
    assert not [
        line for line in render("github", make(Verdict.PASSED)).splitlines() if "::error" in line
    ]


def test_hostile_text_gives_the_runner_no_command(make: Make) -> None:
    lines = render("github", make(*EACH, said=HOSTILE, names="x%,:{}")).splitlines()
    stop = next(i for i, line in enumerate(lines) if line.startswith("::stop-commands::"))
    word = lines[stop].removeprefix("::stop-commands::")
    assert re.fullmatch("phasegate-[0-9a-f]{64}", word)
    assert lines[-1] == f"::{word}::"
    assert sum(word in line for line in lines) == 2
    # Before it there are the three annotations alone, each one line with what it says escaped.
    assert stop == 3
    for line in lines[:stop]:
        command, title, message = re.fullmatch(
            "::(error|warning) title=([^:,]*)::(.*)", line
        ).groups()  # type: ignore[union-attr]
        assert command
        assert title.startswith("x%25%2C%3A")
        assert "50%25," in message
        assert message.isprintable()


def test_the_summary_is_added_to_what_the_step_has(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render_summary("text", make(Verdict.PASSED)) is None
    page, results = tmp_path / "summary.md", tmp_path / "r.xml"
    page.write_text("before\n")
    results.write_text("<testsuite><testcase name='a'/></testsuite>")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    (tmp_path / "phasegate.yaml").write_text(CONFIG)
    words = ["--config", str(tmp_path / "phasegate.yaml"), "--junit", str(results)]
    words += ["--criterion", "integration_tests", "--format", "github"]
    with pytest.raises(SystemExit) as ended:
        cli.main(words, validate, "validate")
    assert ended.value.code == 0
    assert "PASSED: 1 of 1" in capsys.readouterr().out
    assert page.read_text().startswith("before\n### ✅ PASSED: 1 of 1 criteria passed (exit 0)\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "x"))
    with pytest.raises(SystemExit) as ended:
        cli.main(words, validate, "validate")
    assert ended.value.code == 2


@pytest.mark.parametrize("name", ["github", "json", "junit", "markdown", "text"])
def test_every_format_says_the_verdict_of_nothing_and_ends_its_last_line(
    make: Make, name: str
) -> None:
    assert name in format_names()
    text = render(name, make())
    assert "inconclusive" in text.lower()
    assert text.endswith("\n")
    text.encode()


@pytest.mark.parametrize("name", format_names())
def test_every_format_tells_what_was_accepted_though_it_did_not_pass(make: Make, name: str) -> None:
    override = Override("cache_hit_rate", "application", "anna", HOSTILE.replace("\ud800", ""), NOW)
    facts = EvidenceFacts("1", "", NOW, NOW, NOW, NOW, "", (), (override,))
    text = render(name, replace(make(Verdict.PASSED), exporter=facts))
    assert "cache" in text
    assert "anna" in text
    assert "<script>" not in text or name in ("text", "json", "github")
    assert not text.startswith("::error")
    if name == "junit":
        walk(ET.fromstring(text))  # noqa: S314
