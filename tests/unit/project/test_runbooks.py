"""The runbooks: a section for each alert and criterion, and nothing in them that does not work.

What needs a server to be tried is in `tests/integration/project/test_runbook_queries.py`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click
import promql_parser
import pytest

from checks.tree import ROOT
from phasegate import cli
from phasegate.alerts.model import Alert
from phasegate.alerts.rules import make_annotations, make_group
from phasegate.contract import metrics
from phasegate.contract.criteria import CRITERIA
from phasegate.contract.model import Kind
from phasegate.contract.promql import SCRAPED
from phasegate.contract.settings import Settings
from tests.fixtures.runbooks import FOLDER, INDEX, Section, find_sections_with, read_sections

SETTINGS = Settings()
GROUP = make_group(SETTINGS)
SECTIONS = read_sections()
PARTS = ["Meaning", "Impact", "First look", "Causes", "Remedy", "Over when", "Call"]
LANGUAGES = {"promql", "sql", "sh"}
OF_PROMETHEUS = {SCRAPED, "ALERTS"}
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
# Strong locks that are waited for without an end, and what takes more than it should.
FORBIDDEN = {
    r"\bKEYS [^a-z]": "SCAN",
    r"\bFLUSH(DB|ALL)\b": "UNLINK by prefix",
    r"\bpg_restore --list\b": "a restore",
    r"\b(CREATE (UNIQUE )?INDEX|DROP INDEX|REINDEX INDEX) (?!CONCURRENTLY)": "CONCURRENTLY",
    r"\bREINDEX TABLE\b": "REINDEX INDEX CONCURRENTLY",
    r"\bSET NOT NULL\b": "NOT VALID, then VALIDATE",
    r"\bTYPE bigint\b": "a new column",
    r"\bVACUUM FULL\b": "nothing that locks the table",
}
LOCKING = re.compile(r"^(ALTER TABLE|LOCK TABLE|CREATE TRIGGER|DROP|REINDEX)\b", re.MULTILINE)


def find_section(title: str) -> Section:
    [found] = [section for section in SECTIONS if section.title == title]
    return found


def name_alert(alert: Alert) -> str:
    return f"{alert.name}-{alert.severity}"


def slug(heading: str) -> str:
    """The anchor that a heading gets, by the rule of GitHub and of most generators."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> list[str]:
    """Of all headings and of what was given one by hand."""
    without = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+)$", without, re.MULTILINE)
    return [*map(slug, headings), *re.findall(r'<a id="([^"]+)">', without)]


def test_the_guides_runbook_is_there_and_each_runbook_url_leads_to_a_section() -> None:
    assert (FOLDER / "database-operations.md").is_file()
    for alert in GROUP.alerts:
        url = make_annotations(alert, SETTINGS)["runbook_url"]
        page = FOLDER / f"{Path(urlsplit(url).path).name}.md"
        assert page.is_file(), url
        assert urlsplit(url).fragment in anchors(page.read_text("utf-8")), url


@pytest.mark.parametrize("alert", GROUP.alerts, ids=name_alert)
def test_each_alert_has_its_section_on_its_page(alert: Alert) -> None:
    assert find_section(alert.name).page == alert.page


@pytest.mark.parametrize("criterion", CRITERIA)
def test_each_criterion_has_its_section(criterion: str) -> None:
    policy = CRITERIA[criterion].alert
    if policy is None:
        assert find_section(criterion).anchor == ""  # its heading is the anchor
    else:
        section = find_section(policy.name)
        assert (section.page, section.anchor) == (policy.page, criterion)


def test_no_section_is_left_without_an_alert_or_a_criterion() -> None:
    known = {alert.name for alert in GROUP.alerts}
    known |= {name for name, criterion in CRITERIA.items() if criterion.alert is None}
    assert {section.title for section in SECTIONS} == known
    given = {section.anchor for section in SECTIONS} - {""}
    assert given == {name for name, criterion in CRITERIA.items() if criterion.alert is not None}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.title)
def test_each_section_has_all_parts_in_order_and_something_to_paste(section: Section) -> None:
    assert list(section.parts) == PARTS
    assert all(text.strip() for text in section.parts.values())
    for part in ("First look", "Remedy"):
        assert "\n```" in section.parts[part], part
    assert {block.language for block in section.blocks} <= LANGUAGES
    assert section.text.count("```") == 2 * len(section.blocks)
    assert re.match(r"([A-Z][^.]+:\s+)?1\. ", section.parts["Causes"].strip())


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.title)
def test_no_limit_of_the_contract_is_repeated(section: Section) -> None:
    said = [alert.summary for alert in GROUP.alerts if alert.name == section.title]
    limits = {limit for text in said for limit in re.findall(r"\(limit ([^)]+)\)", text)}
    assert [limit for limit in limits if limit in section.text] == []


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.title)
def test_nothing_is_advised_that_stops_everybody(section: Section) -> None:
    for language, text in section.blocks:
        for pattern, instead in FORBIDDEN.items():
            assert not re.search(pattern, text), f"{instead} instead of {pattern}: {text}"
        if language == "sql" and LOCKING.search(text):
            assert "lock_timeout = '" in text, text


def test_the_index_has_each_section_with_its_severities() -> None:
    severities: dict[str, list[str]] = {}
    criteria: dict[str, str] = {}
    for alert in GROUP.alerts:
        severities.setdefault(alert.name, []).append(alert.severity)
        criteria[alert.name] = alert.criterion
    row = re.compile(
        r"^\| \[(\w+)\]\((.*?)\.md#(\w+)\) \| (?:`(\w+)` )?\| (?:([a-z, ]+) )?\|$", re.M
    )
    found = row.findall((FOLDER / f"{INDEX}.md").read_text("utf-8"))
    assert sorted(found) == sorted(
        (
            *(one.title, one.page, one.title.lower(), criteria.get(one.title, one.title)),
            ", ".join(severities.get(one.title, [])),
        )
        for one in SECTIONS
    )


def test_the_index_has_the_guides_way_up_in_its_order() -> None:
    text = (FOLDER / f"{INDEX}.md").read_text("utf-8")
    steps = re.findall(r"^\d\. \*\*(.+?)\*\*", text, re.MULTILINE)
    assert steps == ["On-call engineer", "#database-team", "#platform-team", "Incident commander"]
    assert "PagerDuty" in text
    for section in SECTIONS:
        assert section.parts["Call"].strip().endswith("."), section.place


@pytest.mark.parametrize("page", PAGES, ids=lambda one: str(one.relative_to(ROOT)))
def test_each_link_leads_to_a_file_and_an_anchor_that_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [anchor for anchor, count in Counter(anchors(text)).items() if count > 1] == []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        parts = urlsplit(target)
        if parts.scheme:
            continue
        file = (page.parent / parts.path).resolve() if parts.path else page
        assert file.exists(), target
        assert ROOT in [file, *file.parents], target
        if parts.fragment:
            assert parts.fragment in anchors(file.read_text("utf-8")), target


def written_commands() -> Iterator[tuple[str, str]]:
    """Each `phasegate …` of a block or between backquotes, and where it stands."""
    for section in SECTIONS:
        for language, text in section.blocks:
            for line in text.splitlines() if language == "sh" else ():
                if line.startswith("phasegate "):
                    yield section.title, line.partition(" > ")[0]
        plain = re.sub(r"^```.*?^```$", "", section.text, flags=re.MULTILINE | re.DOTALL)
        for inline in re.findall(r"`(phasegate [^`]+)`", plain):
            yield section.title, inline


@pytest.mark.parametrize(("section", "line"), sorted(set(written_commands())))
def test_each_command_is_one_with_options_that_it_has(section: str, line: str) -> None:
    assert section
    read_command(line)


def read_command(line: str) -> None:
    """Raises click's UsageError where it is none. Files need not be there."""
    program, *arguments = shlex.split(line)
    assert program == "phasegate"
    command: click.Command = cli.group
    context = click.Context(command, info_name=program)
    while True:
        values, rest, _ = command.make_parser(context).parse_args(list(arguments))
        for parameter in command.params:
            value = values.get(str(parameter.name))
            assert value is not None or not parameter.required, parameter.name
            if isinstance(parameter.type, click.Choice):
                parameter.type_cast_value(context, value)
        if not isinstance(command, click.Group):
            break
        if not rest and command.invoke_without_command:
            return
        assert rest, "a sub-command is missing"
        name, found, arguments = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, context, info_name=name)
    assert rest == []


@pytest.mark.parametrize(
    "line",
    [
        "phasegate migrat run",
        "phasegate migrate resum",
        "phasegate migrate resume --untill schema",
        "phasegate migrate resume --until nowhere",
        "phasegate migrate",
        "phasegate migrate partitions now",
        "phasegate init --nowhere",
    ],
)
def test_a_command_that_is_none_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        read_command(line)


def test_a_shell_can_read_each_block_that_is_for_it() -> None:
    for section, text in find_sections_with("sh"):
        read = subprocess.run(["sh", "-n"], input=text, text=True, check=False, capture_output=True)
        assert read.returncode == 0, f"{section.place}: {read.stderr}"


def selected_series(expression: str) -> set[str]:
    """The names of all series that an expression selects."""
    found: set[str] = set()

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.add(node.name or str(node))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def known_series() -> set[str]:
    """Of the exporter, of Prometheus itself, and what the rules record."""
    known = {record.name for record in GROUP.records} | OF_PROMETHEUS
    for metric in metrics.METRICS:
        endings = ("_bucket", "_count", "_sum") if metric.kind is Kind.HISTOGRAM else ("",)
        known |= {metric.name + ending for ending in endings}
    return known


def test_each_query_to_prometheus_names_series_that_there_are() -> None:
    found = find_sections_with("promql")
    assert found
    for section, text in found:
        assert selected_series(text) <= known_series(), section.place


def test_a_series_that_there_is_not_is_found() -> None:
    assert selected_series("rate(phasegate_upp[5m]) > 0 or up") - known_series() == {
        "phasegate_upp"
    }
